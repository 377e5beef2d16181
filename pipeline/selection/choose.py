"""Which pairs the queries select: thresholds against keyed hashes, hashed only where it matters."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.queries.select import PairHash, QueryKeys, smallest_cap
from pipeline.engine.parts import read_batches
from pipeline.engine.units import Source, Unit
from pipeline.records import SELECTION
from pipeline.selection.ledger import ledger_rows
from pipeline.selection.quotas import Quotas

SMALL_COUNT = 2**31
"""Counts below it are multiplied with hashes in two halves of 64-bit numbers."""
BATCH_ROWS = 65_536
"""Pairs read at once where only a few columns are."""
HASHES_AT_ONCE = 16_384
"""Hashes that are Python objects at one time, about 100 bytes each."""


@dataclasses.dataclass(frozen=True)
class Matches:
    """The (pair, query) matches of a batch."""

    rows: NDArray[np.int64]
    """Shape (matches,), ascending: the pair's row in the batch."""
    ids: NDArray[np.int32]
    """Shape (matches,), ascending within a pair: the query."""

    @classmethod
    def of(cls, lists: pa.ListArray) -> "Matches":
        """Read them from the column `matched_query_ids`."""
        rows = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
        return cls(rows, pc.list_flatten(lists).to_numpy())

    def open(self, quotas: Quotas) -> NDArray[np.int64]:
        """Return the places of matches whose query does not select all its pairs."""
        return np.flatnonzero(quotas.is_open[self.ids])


def hash_matches(
    pair_ids: pa.Array,
    matches: Matches,
    places: NDArray[np.int64],
    keys: QueryKeys,
    seed: int,
) -> NDArray[np.uint64]:
    """Return u(pair, query) of the matches at `places`, shape (len(places),)."""
    ids, pair_hash = id_bytes(pair_ids), PairHash(seed)
    found = np.empty(len(places), np.uint64)
    for start in range(0, len(places), HASHES_AT_ONCE):
        some = places[start : start + HASHES_AT_ONCE]
        messages = np.empty((len(some), 32), np.uint8)
        messages[:, :16] = ids[matches.rows[some]]
        messages[:, 16:] = keys.array[matches.ids[some]]
        found[start : start + len(some)] = np.frombuffer(pair_hash.digests(messages), ">u8")
    return found


def id_bytes(pair_ids: pa.Array) -> NDArray[np.uint8]:
    """Return pair ids without nulls as bytes, shape (pairs, 16)."""
    data = np.frombuffer(pair_ids.buffers()[1], np.uint8)
    return data[16 * pair_ids.offset : 16 * (pair_ids.offset + len(pair_ids))].reshape(-1, 16)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What the queries decided about a batch of pairs."""

    kept: NDArray[np.bool_]
    """Shape (pairs,)."""
    selects: NDArray[np.bool_]
    """Shape (matches,): whether this query selects this pair."""
    lost: NDArray[np.int64]
    """The rows that are not kept, ascending."""
    smallest: NDArray[np.int64]
    """Shape (lost,): the smallest cap that would be expected to keep each."""


def choose(matches: Matches, quotas: Quotas, u: NDArray[np.uint64], pairs: int) -> Choice:
    """Decide about pairs.

    Args:
        matches: their queries.
        quotas: threshold of each query.
        u: hashes of the matches at `matches.open(quotas)`.
        pairs: how many they are.
    """
    selects = np.ones(len(matches.ids), np.bool_)
    places = matches.open(quotas)
    selects[places] = u <= quotas.theta[matches.ids[places]]
    kept = np.zeros(pairs, np.bool_)
    kept[matches.rows[selects]] = True
    # Of a lost pair no query selects all, so all its queries have a hash.
    is_lost = ~kept[matches.rows[places]]
    rows = matches.rows[places[is_lost]]
    caps = smallest_caps(u[is_lost], quotas.base[matches.ids[places[is_lost]]])
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    smallest = np.minimum.reduceat(caps, starts) if len(starts) else caps
    return Choice(kept, selects, rows[starts], smallest)


def smallest_caps(u: NDArray[np.uint64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `smallest_cap` of many matches."""
    if (pairs >= SMALL_COUNT).any():
        each = zip(u.tolist(), pairs.tolist(), strict=True)
        return np.array([smallest_cap(*pair) for pair in each], np.int64)
    half, counts = np.uint64(32), pairs.astype(np.uint64)
    low = (u & np.uint64(0xFFFFFFFF)) * counts >> half
    return (((u >> half) * counts + low) >> half).astype(np.int64) + 1


def selected_rows(
    pair_ids: pa.Array, matches: Matches, choice: Choice, quotas: Quotas
) -> pa.RecordBatch:
    """Return the kept pairs of a batch, with the columns of `SELECTION`."""
    counts = np.bincount(matches.rows[choice.selects], minlength=len(choice.kept))[choice.kept]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    selected_by = pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(matches.ids[choice.selects], pa.int32())
    )
    probabilities = select_probabilities(matches, quotas, len(choice.kept))[choice.kept]
    arrays = [pair_ids.filter(pa.array(choice.kept)), selected_by, pa.array(probabilities)]
    return pa.RecordBatch.from_arrays(arrays, schema=SELECTION)


def select_probabilities(matches: Matches, quotas: Quotas, rows: int) -> NDArray[np.float64]:
    """Return each pair's probability to be kept: 1 - prod(1 - (theta + 1) / 2^64).

    The factors are taken one by one in ascending query id, so every machine rounds alike.
    """
    missed = np.ones(rows, np.float64)
    np.multiply.at(missed, matches.rows, quotas.misses[matches.ids])  # one by one, in order
    result: NDArray[np.float64] = 1.0 - missed
    return result


def dropped_rows(batch: pa.RecordBatch, choice: Choice, stage: str, reason: str) -> pa.RecordBatch:
    """Return the ledger rows of the pairs that were not kept."""
    rows = batch.select(["pair_id", "url", "text"]).take(pa.array(choice.lost))
    values = pa.array(choice.smallest).cast(pa.string())
    return ledger_rows(rows, stage, pa.repeat(reason, len(choice.lost)), values)


def read_pairs(unit: Unit, *more: str) -> Iterator[tuple[pa.RecordBatch, Matches]]:
    """Yield the pairs of a unit in order: their ids, their queries, and columns named in `more`."""
    columns = ["pair_id", "matched_query_ids", *more]
    for source in unit.sources:
        if source.role == "part":
            for batch in read_batches(source.path, columns, BATCH_ROWS):
                yield batch, Matches.of(batch["matched_query_ids"])


def more_sources(unit: Unit) -> tuple[Source, ...]:
    """Return what `paired_units` added to a unit."""
    return tuple(source for source in unit.sources if source.role == "more")
