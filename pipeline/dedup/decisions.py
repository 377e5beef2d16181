"""What parts of nodes tell parts of fetch: what goes and why, and what duplicates leave behind."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.hashes.rank import NEW
from filters.verdict import DropReason
from pipeline.dedup.settings import DedupSettings
from pipeline.dedup.texts import CLUSTERS, TEXTS, flat, merged
from pipeline.engine.parts import one_batch
from pipeline.hashes.columns import Keys, as_keys, bytes_of, find, fixed, keys_of
from pipeline.records import ID

DECISIONS = pa.schema(
    [
        pa.field("node_key", ID, nullable=False),
        pa.field("best_id", ID, nullable=False),
        pa.field("best_sha256", pa.binary(32), nullable=False),
        pa.field("kept_id", ID, nullable=False),
        pa.field("distance", pa.uint16(), nullable=False),
        ("reason", pa.string()),
        ("value", pa.string()),
    ]
)
"""What a part is told of a node of which it drops rows: all for one reason, or, if there is none,
all but `best_id` as copies of it. `value` is set where a fixed set names no pair."""
LEFT = pa.schema(
    [
        pa.field("kept_id", ID, nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("texts", TEXTS, nullable=False),
    ]
)
"""What duplicates leave to the part with the pair that stays: their number and texts."""
FLAGGED = pa.schema(
    [
        pa.field("pair_id", ID, nullable=False),
        pa.field("hit", pa.string(), nullable=False),
    ]
)
"""What a pair shows of an evaluation set, if such pairs stay."""


@dataclasses.dataclass(frozen=True)
class Sent:
    """Rows and the part of fetch that each goes to."""

    batch: pa.RecordBatch
    units: NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """What becomes of the node of each member."""

    kept_ids: NDArray[np.uint8]
    """Shape (n, 16): the pair that stays for it, its own best one if it stays."""
    units: NDArray[np.int64]
    """Shape (n,): the part of fetch with that pair, -1 if it is none of this run."""
    distance: NDArray[np.uint16]
    reasons: NDArray[np.object_]
    """Shape (n,): why the node goes, None if it stays."""
    values: NDArray[np.object_]
    """Shape (n,): what of a fixed set it shows, or None."""


def judge(members: pa.Table, gone: pa.Table, hits: pa.Table | None) -> Verdicts:
    """Return what becomes of the node of each member.

    Args:
        members: columns of `MEMBERS`.
        gone: columns of `GONE`, those of the same part, sorted by rank.
        hits: columns of `HITS`, those of the same part, sorted by rank; one a node of those that
            drop.
    """
    best = keys_of(members["best"])
    place, is_near = find(keys_of(gone["rank"]), best)
    kept_ids = np.ascontiguousarray(bytes_of(members["best"])[:, 4:])
    units = members["best_unit"].to_numpy().astype(np.int64)
    distance = np.zeros(len(best), np.uint16)
    reasons, values = np.full(len(best), None, object), np.full(len(best), None, object)
    near = np.flatnonzero(is_near)
    kept_ids[near] = bytes_of(gone["kept_id"])[place[near]]
    units[near] = gone["kept_unit"].to_numpy()[place[near]]
    distance[near] = gone["distance"].to_numpy()[place[near]]
    is_new = gone["generation"].to_numpy()[place[near]] == NEW
    reasons[near] = np.where(is_new, DropReason.DUP_NEAR.value, DropReason.DUP_STORE.value)
    if hits is not None:
        drops = hits.filter(hits["drops"])
        place, is_hit = find(keys_of(drops["rank"]), best)
        hit = np.flatnonzero(is_hit)
        rows = drops.take(pa.array(place[hit]))
        reasons[hit], values[hit] = rows["reason"].to_pylist(), rows["value"].to_pylist()
        distance[hit], units[hit] = rows["distance"].to_numpy(), -1
    return Verdicts(kept_ids, units, distance, reasons, values)


def decide(
    members: pa.Table, gone: pa.Table, hits: pa.Table | None, settings: DedupSettings
) -> dict[str, Sent]:
    """Return what one part of nodes tells parts of fetch, by tag.

    A member that drops no row says nothing: what a part hears nothing of stays.

    Args:
        members: as for `judge`.
        gone: as for `judge`.
        hits: as for `judge`.
        settings: how many texts go on.
    """
    verdicts = judge(members, gone, hits)
    best = keys_of(members["best"])
    stays = pc.is_null(pa.array(verdicts.reasons, pa.string())).to_numpy(False)
    stays &= keys_of(members["rank"]) == best
    dropped = members["rows"].to_numpy() - stays
    rows = np.flatnonzero(dropped)
    taken = members.take(pa.array(rows))
    columns = [
        taken["node_key"],
        fixed(bytes_of(taken["best"])[:, 4:]),
        taken["best_sha256"],
        fixed(verdicts.kept_ids[rows]),
        pa.array(verdicts.distance[rows]),
        pa.array(verdicts.reasons[rows], pa.string()),
        pa.array(verdicts.values[rows], pa.string()),
    ]
    batch = one_batch(pa.table(columns, schema=DECISIONS))
    found = {"decision": Sent(batch, taken["unit"].to_numpy().astype(np.int64))}
    if hits is not None:
        found["flag"] = _flags(members, best, hits.filter(pc.invert(hits["drops"])))
    heirs = verdicts.units[rows] >= 0
    mine = rows[heirs]
    found["left"] = _left(
        as_keys(verdicts.kept_ids[mine]),
        verdicts.units[mine],
        dropped[mine],
        taken["texts"].filter(pa.array(heirs)),
        settings.node_texts,
    )
    return found


def cluster_rows(
    members: pa.Table, gone: pa.Table, hits: pa.Table | None, shared: Keys
) -> pa.RecordBatch:
    """Return the texts of images of more than one row, as `CLUSTERS`.

    Args:
        members: as for `judge`, all of each node.
        gone: as for `judge`.
        hits: as for `judge`.
        shared: sorted ids of the pairs that others of other nodes go for.
    """
    verdicts = judge(members, gone, hits)
    best = keys_of(members["best"])
    _, node, parts = np.unique(best, return_inverse=True, return_counts=True)
    alone = (members["rows"].to_numpy() == 1) & (parts[node] == 1)
    alone &= ~find(shared, as_keys(verdicts.kept_ids))[1]
    rows = np.flatnonzero((verdicts.units >= 0) & ~alone)
    columns = [
        fixed(verdicts.kept_ids[rows]),
        members["unit"].take(pa.array(rows)),
        pa.array(verdicts.units[rows].astype(np.int32)),
        members["texts"].take(pa.array(rows)),
    ]
    return one_batch(pa.table(columns, schema=CLUSTERS))


def _flags(members: pa.Table, best: Keys, flags: pa.Table) -> Sent:
    """Return the sets that the best row of each node shows, for the part that has it."""
    own = np.flatnonzero(keys_of(members["rank"]) == best)
    own = own[np.argsort(best[own], kind="stable")]
    place, found = find(best[own], keys_of(flags["rank"]))
    rows = own[place[found]]
    columns = [
        fixed(np.ascontiguousarray(bytes_of(members["best"])[rows, 4:])),
        flags.filter(pa.array(found))["value"],
    ]
    units = members["best_unit"].to_numpy()[rows].astype(np.int64)
    return Sent(one_batch(pa.table(columns, schema=FLAGGED)), units)


def _left(
    kept_ids: Keys,
    units: NDArray[np.int64],
    dropped: NDArray[np.int64],
    lists: pa.ChunkedArray,
    most: int,
) -> Sent:
    """Return one row a kept pair; one text more than it may have, for one may be its own."""
    names, first, group = np.unique(kept_ids, return_index=True, return_inverse=True)
    sums = np.zeros(len(names), np.int64)
    np.add.at(sums, group, dropped)
    number, values = flat(lists)
    texts = merged(group[number], values, len(names), most)
    arrays = [fixed(names), pa.array(sums), texts]
    return Sent(pa.RecordBatch.from_arrays(arrays, schema=LEFT), units[first])
