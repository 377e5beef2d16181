"""Nodes that show an image of a fixed set: an evaluation set or a block list.

Up to `max_pairs` all pairs are compared. Beyond, a node's keys and their one-bit neighbours are
looked up among the set's keys, which finds every pair that differs in fewer than twice the bits of
keys that the set's image emits: all within 31 of 512, if it emits all 16.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.hashes.bands import Bands, wide_bands
from filters.hashes.hamming import hamming_distance, near_pairs, words
from filters.hashes.matching import Nearness, agree
from filters.hashes.perceptual import FLAT, GRAPHIC
from filters.verdict import DropReason
from pipeline.dedup.audit import by_distance
from pipeline.dedup.keys import node_probes
from pipeline.dedup.nodes import NODES, RANK
from pipeline.dedup.settings import CHROMA_OFF, NORMAL_TABLES, DecontaminateSettings, DedupSettings
from pipeline.engine.parts import Sink, one_batch, read_batches
from pipeline.engine.units import Unit
from pipeline.hashes.columns import keys_of
from pipeline.hashes.files import compared, read_hashes

HITS = pa.schema(
    [
        pa.field("rank", RANK, nullable=False),
        pa.field("drops", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
        pa.field("set", pa.string(), nullable=False),
        pa.field("item", pa.string(), nullable=False),
        pa.field("variant", pa.string(), nullable=False),
        pa.field("distance", pa.uint16(), nullable=False),
    ]
)
"""A node and the image of a fixed set that it shows, its nearest one: one row a node of those that
drop, and one a node and set of those that do not. Sorted by (rank, set)."""
_FLIPS = np.concatenate([[0], 1 << np.arange(32)]).astype(np.uint32)


@dataclasses.dataclass(frozen=True, eq=False)
class FixedSet:
    """The probes of one kind of fixed set."""

    kind: str
    names: pa.Table
    """Set, item and variant of each."""
    hashes: NDArray[np.uint8]
    chroma: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    nearness: Nearness


def load_set(kind: str, paths: Sequence[str], settings: DedupSettings) -> FixedSet:
    """Read hash files of one kind.

    Args:
        kind: `block`, compared as copies are, or `eval`, within its own radius in any colours.
        paths: of the files.
        settings: thresholds and radii.
    """
    batches = [batch for path in paths for batch in read_hashes(path)]
    columns = [compared(batch) for batch in batches]
    hashes, chroma, flags = (np.concatenate([each[side] for each in columns]) for side in range(3))
    nearness, inner = settings.nearness, settings.decontaminate
    if kind == "eval":
        nearness = Nearness(
            threshold=inner.radius,
            threshold_graphic=inner.radius_graphic,
            chroma_max=CHROMA_OFF,
            chroma_max_graphic=CHROMA_OFF,
        )
    names = pa.Table.from_batches(batches).select(["set", "item", "variant"])
    return FixedSet(kind, names, hashes, chroma, flags, nearness)


def key_candidates(
    keys: NDArray[np.uint32], fixed_set: FixedSet, bands: Bands
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs of keys, shape (n, tables), and probes that share a band up to one bit."""
    theirs, emitted = bands.of(fixed_set.hashes)
    for table in range(bands.tables):
        rows = np.flatnonzero(emitted[:, table])
        rows = rows[np.argsort(theirs[rows, table], kind="stable")]
        index = theirs[rows, table]
        looked_up = (keys[:, table, None] ^ _FLIPS).reshape(-1)
        first = np.searchsorted(index, looked_up, side="left")
        counts = np.searchsorted(index, looked_up, side="right") - first
        node = np.repeat(np.arange(len(looked_up)) // len(_FLIPS), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        if len(node):
            yield node, rows[np.repeat(first, counts) + within]


@dataclasses.dataclass(frozen=True)
class ScreenNodes:
    """Nodes to those that show no image of a fixed set."""

    settings: DedupSettings
    nodes: int
    """Number of all nodes, which decides how they are compared."""

    def run(self, unit: Unit, sink: Sink) -> None:
        """Write the nodes that go on, and what the others, or some of them, show."""
        kinds = dict.fromkeys(kind for kind, _ in self.settings.fixed_sets)
        sets = [
            load_set(kind, [p for k, p in self.settings.fixed_sets if k == kind], self.settings)
            for kind in kinds
        ]
        exhaustive = is_exhaustive(
            self.settings.decontaminate, self.nodes, sum(len(each.flags) for each in sets)
        )
        hits = [HITS.empty_table()]
        for source in unit.sources:
            for nodes in read_batches(source.path, NODES.names):
                near = [_hits(nodes, each, exhaustive, self.settings) for each in sets]
                found = _nearest(pa.concat_tables([HITS.empty_table(), *near]))
                hits.append(found)
                gone = keys_of(found.filter(found["drops"])["rank"])
                sink.write(nodes.filter(pa.array(~np.isin(keys_of(nodes["rank"]), gone))))
        table = pa.concat_tables(hits).sort_by([("rank", "ascending"), ("set", "ascending")])
        sink.note("sets", _by_set(table))
        sink.write(one_batch(table), "hits")


def _by_set(hits: pa.Table) -> dict[str, dict[str, Any]]:
    """Return for each set how many nodes show it, by variant and by distance."""
    found = {}
    for name in sorted(set(hits["set"].to_pylist())):
        mine = hits.filter(pc.equal(hits["set"], name))
        variants = mine["variant"].to_pylist()
        found[name] = {
            "nodes": mine.num_rows,
            "items": len(set(mine["item"].to_pylist())),
            "variants": {each: variants.count(each) for each in sorted(set(variants))},
            "distances": by_distance(mine["distance"].to_numpy()),
        }
    return found


def is_exhaustive(settings: DecontaminateSettings, nodes: int, probes: int) -> bool:
    """Tell whether all pairs are compared."""
    if settings.mode == "auto":
        return nodes * probes <= settings.max_pairs
    return settings.mode == "exhaustive"


def _hits(
    nodes: pa.RecordBatch, fixed_set: FixedSet, exhaustive: bool, settings: DedupSettings
) -> pa.Table:
    """Return all pairs of nodes and images of a fixed set that are near, as `HITS`."""
    bands = wide_bands(NORMAL_TABLES)
    probes = node_probes(nodes, bands, flats=False)
    mine, theirs = words(probes.data[:, :64]), words(fixed_set.hashes)
    rule, tables = fixed_set.nearness, [HITS.empty_table()]
    most = max(rule.threshold, rule.threshold_graphic)
    candidates = (
        near_pairs(mine, theirs, most)
        if exhaustive
        else key_candidates(probes.keys, fixed_set, bands)
    )
    drops = fixed_set.kind == "block" or settings.decontaminate.action == "drop"
    reason = DropReason.BLOCKED_HASH if fixed_set.kind == "block" else DropReason.CONTAMINATED
    for left, right in candidates:
        distance = hamming_distance(mine.take(left, axis=0), theirs.take(right, axis=0))
        one, other = probes.data[left, 96], fixed_set.flags[right]
        both = one & other if fixed_set.kind == "block" else one | other
        graphic = (both & GRAPHIC) != 0
        near = distance <= np.where(graphic, rule.threshold_graphic, rule.threshold)
        near &= np.where((one & FLAT) != 0, distance == 0, True) & (((one ^ other) & FLAT) == 0)
        chroma = probes.data[left, 64:96], fixed_set.chroma[right]
        near &= agree(*chroma, one, other, rule)
        rows, hit = probes.rows[left[near]], right[near]
        names = fixed_set.names.take(pa.array(hit))
        named = zip(*(names[each].to_pylist() for each in ("set", "item")), strict=True)
        columns = {
            "rank": nodes["rank"].take(pa.array(rows)),
            "drops": pa.repeat(drops, len(rows)),
            "reason": pa.repeat(reason.value, len(rows)),
            "value": pa.array(
                [
                    f"{name}:{item}:{bits}"
                    for (name, item), bits in zip(named, distance[near].tolist(), strict=True)
                ],
                pa.string(),
            ),
            "distance": pa.array(distance[near]),
            **{each: names[each] for each in ("set", "item", "variant")},
        }
        tables.append(pa.table([columns[name] for name in HITS.names], schema=HITS))
    return pa.concat_tables(tables)


def _nearest(hits: pa.Table) -> pa.Table:
    """Keep the nearest hit of a node if it drops, else the nearest of each set."""
    order = ("rank", "distance", "reason", "set", "item", "variant")
    hits = hits.sort_by([(name, "ascending") for name in order])
    seen: set[tuple[object, ...]] = set()
    rows = []
    columns = (hits[name].to_pylist() for name in ("rank", "drops", "set"))
    for row, (rank, drops, name) in enumerate(zip(*columns, strict=True)):
        key = (rank, drops, "" if drops else name)
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return hits.take(pa.array(rows, pa.int64()))
