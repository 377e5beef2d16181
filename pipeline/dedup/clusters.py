"""Edges to the nodes that go: who stays is decided over all edges at once, then rechecked.

Of bands crowded twice not all nodes were compared. Once it is known who stays, those that do are:
when kept nodes miss no edge among themselves, the choice is that of all edges.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filters.hashes.bands import Bands
from filters.hashes.hamming import words
from filters.hashes.lfmis import KEPT, first_independent_set
from filters.hashes.matching import Found, Probes, all_pairs, near, runs
from pipeline.dedup.keys import NodeProbes, as_probes, node_probes, probe_rows, read_nodes
from pipeline.dedup.nodes import RANK
from pipeline.dedup.settings import DedupSettings
from pipeline.engine import files
from pipeline.engine.parts import Sink, one_batch, read_batches
from pipeline.engine.steps import Packet
from pipeline.engine.units import Unit
from pipeline.hashes.columns import as_keys, bytes_of, fixed, keys_of, read_table
from pipeline.records import ID

EDGES = pa.schema(
    [
        pa.field("better", RANK, nullable=False),
        pa.field("worse", RANK, nullable=False),
        pa.field("distance", pa.uint16(), nullable=False),
        pa.field("better_unit", pa.int32(), nullable=False),
        pa.field("worse_home", pa.int32(), nullable=False),
    ]
)
"""Two nodes that are near; an edge is listed for each table in which they share a band.
`better_unit` is the part of fetch with the better one's best row, `worse_home` the part of nodes
that the worse one is in; -1 stands for a published set."""
GONE = pa.schema(
    [
        pa.field("home", pa.int32(), nullable=False),
        pa.field("rank", RANK, nullable=False),
        pa.field("kept_id", ID, nullable=False),
        pa.field("kept_unit", pa.int32(), nullable=False),
        pa.field("distance", pa.uint16(), nullable=False),
        pa.field("generation", pa.uint8(), nullable=False),
    ]
)
"""The nodes that are near-duplicates of a kept one, sorted by (home, rank); `generation` is that of
the kept one."""
HELD_EDGES = 1 << 22
"""Edges that a bucket holds before it merges and writes them: 18 bytes each."""
_SUB_BITS = np.uint64(30)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no two groups of one band share a number


def write_edges(rows: pa.Table, found: Iterable[Found], sink: Sink) -> None:
    """Write near pairs of rows of `PROBES`, a bounded number at a time."""
    held, held_edges = [], 0
    for each in found:
        if len(each[0]):
            held.append(each)
            held_edges += len(each[0])
        if held_edges >= HELD_EDGES:
            sink.write(edge_rows(rows, held))
            held, held_edges = [], 0
    if held:
        sink.write(edge_rows(rows, held))


def edge_rows(probes: pa.Table, found: Sequence[Found]) -> pa.RecordBatch:
    """Return edges, each once with its least distance, sorted by (better, worse).

    Args:
        probes: columns of `PROBES`.
        found: better rows, worse rows and distances.
    """
    better, worse = (np.concatenate([each[side] for each in found]) for side in (0, 1))
    distance = np.concatenate([each[2] for each in found])
    rows, numbers = np.unique(np.concatenate([better, worse]), return_inverse=True)
    taken = probes.select(["rank", "unit", "home"]).take(pa.array(rows))
    _, first, node = np.unique(keys_of(taken["rank"]), return_index=True, return_inverse=True)
    left, right = node[numbers[: len(better)]], node[numbers[len(better) :]]
    order = np.lexsort((distance, right, left))
    left, right, distance = left[order], right[order], distance[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    first_left, first_right = (taken.take(pa.array(first[side[new]])) for side in (left, right))
    columns = [
        first_left["rank"],
        first_right["rank"],
        pa.array(distance[new]),
        first_left["unit"],
        first_right["home"],
    ]
    return one_batch(pa.table(columns, schema=EDGES))


def choose_nodes(edges: pa.Table) -> pa.RecordBatch:
    """Return the nodes that go, with the kept node each matched, as `GONE`.

    Args:
        edges: columns of `EDGES`, in any order, each any number of times.
    """
    both = pa.chunked_array([*edges["better"].chunks, *edges["worse"].chunks], RANK)
    coded = both.combine_chunks().dictionary_encode()
    values = bytes_of(coded.dictionary)
    order = np.argsort(as_keys(values), kind="stable")
    ranks = values[order]
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    codes = number[coded.indices.to_numpy()]
    better, worse = codes[: edges.num_rows], codes[edges.num_rows :]
    dup_of = first_independent_set(better, worse, len(ranks))

    unit, home = np.zeros(len(ranks), np.int32), np.zeros(len(ranks), np.int32)
    unit[better] = edges["better_unit"].to_numpy()
    home[worse] = edges["worse_home"].to_numpy()
    distance = np.full(len(ranks), np.iinfo(np.uint16).max, np.uint16)
    used = dup_of[worse] == better
    np.minimum.at(distance, worse[used], edges["distance"].to_numpy()[used])

    gone = np.flatnonzero(dup_of != KEPT)
    gone = gone[np.argsort(home[gone], kind="stable")]
    kept = dup_of[gone]
    columns = [
        pa.array(home[gone]),
        fixed(ranks[gone]),
        fixed(ranks[kept][:, 4:]),
        pa.array(unit[kept]),
        pa.array(distance[gone]),
        pa.array(ranks[kept][:, 0]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=GONE)


@dataclasses.dataclass(frozen=True)
class SelectNodes:
    """All edges to the nodes that go."""

    def run(self, unit: Unit, sink: Sink) -> None:
        """Choose over the edges of all buckets at once."""
        batches = [batch for source in unit.sources for batch in read_batches(source.path)]
        edges = pa.Table.from_batches(batches, schema=EDGES)
        gone = choose_nodes(edges)
        sink.note("edges", edges.num_rows)
        sink.write(gone)


def read_gone(path: str, home: int) -> pa.Table:
    """Return the rows of `GONE` of one part of nodes, sorted by rank."""
    with files.open_read(path) as file:
        return pq.read_table(file, filters=[("home", "=", home)]).sort_by("rank")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recheck:
    """Kept nodes to further edges, by band crowded twice."""

    parts: tuple[str, ...]
    """Units of `dedup-nodes`."""
    overflows: tuple[str, ...]
    """Where the rows of `OVERFLOWS` are."""
    gone: str
    buckets: int
    bands: Bands
    settings: DedupSettings

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Send each probe of a kept node under each crowded band it is in."""
        home = self.parts.index(unit.id) if unit.id in self.parts else -1
        gone = np.sort(keys_of(read_gone(self.gone, home)["rank"]))
        crowded = [read_table(path) for path in self.overflows]
        groups = pa.concat_tables(crowded).group_by(["table", "number", "group"]).aggregate([])
        for source in unit.sources:
            for nodes in read_nodes(source.path, source.role):
                kept = nodes.filter(pa.array(~np.isin(keys_of(nodes["rank"]), gone)))
                probes = node_probes(kept, self.bands, flats=False)
                for group, rows in _in_groups(probes, self.bands, groups):
                    batch = _under(kept, probes, group, rows, home)
                    yield Packet(
                        "probe", (group[rows] % np.uint64(self.buckets)).astype(np.int64), batch
                    )

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Write the edges among the kept nodes of each crowded band that is not too large."""
        _ = bucket
        rows = tables["probe"].combine_chunks()
        starts, sizes = runs(rows["band"].to_numpy())
        fits = sizes <= self.settings.recheck_max
        sink.note("unchecked_groups", int((~fits).sum()))
        sink.note("unchecked_rows", int(sizes[~fits].sum()))
        sink.note("unchecked_pairs", int((sizes[~fits] * (sizes[~fits] - 1) // 2).sum()))
        found = _near(as_probes(rows), starts[fits], sizes[fits], self.settings)
        write_edges(rows, found, sink)


def _in_groups(
    probes: NodeProbes, bands: Bands, groups: pa.Table
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    """Yield the group of each probe, and the probes that are in a crowded one."""
    numbers = groups["table"].to_numpy().astype(np.int64) * 16 + groups["number"].to_numpy()
    values = groups["group"].to_numpy()
    for number in np.unique(numbers).tolist():
        table, part = divmod(number, 16)
        mine = np.sort(values[numbers == number])
        keys = probes.keys[:, table].astype(np.uint64)
        # Only the keys of crowded groups are worth their further bands.
        rows = np.flatnonzero(probes.emitted[:, table] & np.isin(keys, mine >> _SUB_BITS))
        further = bands.sub_keys(probes.data[rows, :64], table)[:, part]
        group = np.zeros(len(keys), np.uint64)
        group[rows] = keys[rows] << _SUB_BITS | further
        rows = rows[np.isin(group[rows], mine)]
        # A number for each group. Should two share one, more is compared, nothing is lost.
        yield (group + np.uint64(number)) * _SPREAD, rows


def _under(
    nodes: pa.RecordBatch,
    probes: NodeProbes,
    group: NDArray[np.uint64],
    rows: NDArray[np.int64],
    home: int,
) -> pa.RecordBatch:
    """Return probes as rows of `PROBES` whose band is the group."""
    chosen = np.zeros((len(group), 1), np.bool_)
    chosen[rows] = True
    batch = probe_rows(nodes, probes, chosen, home)
    return batch.set_column(0, batch.schema.field("band"), pa.array(group[rows]))


def _near(
    probes: Probes, starts: NDArray[np.int64], sizes: NDArray[np.int64], settings: DedupSettings
) -> Iterator[Found]:
    bits = words(probes.hashes)
    for left, right in all_pairs(starts, sizes):
        yield near(probes, bits, left, right, settings.nearness)
