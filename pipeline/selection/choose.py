"""Which pairs the queries select: thresholds against keyed hashes, hashed only where it matters."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.queries.select import ALL, PairHash, QueryKeys, smallest_cap
from pipeline.selection.ledger import ledger_rows
from pipeline.selection.quotas import Quotas


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


def hash_matches(
    pair_ids: pa.Array,
    matches: Matches,
    places: NDArray[np.int64],
    keys: QueryKeys,
    seed: int,
) -> NDArray[np.uint64]:
    """Return u(pair, query) of the matches at `places`, shape (len(places),)."""
    hashed = PairHash(seed)
    pairs = pair_ids.take(pa.array(matches.rows[places])).to_pylist()
    ids = matches.ids[places].tolist()
    digests = [hashed.digest(pair + keys[query]) for pair, query in zip(pairs, ids, strict=True)]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What the queries decided about a batch of pairs."""

    kept: NDArray[np.bool_]
    """Shape (pairs,)."""
    selects: NDArray[np.bool_]
    """Shape (matches,): whether this query selects this pair."""
    smallest: dict[int, int]
    """Of each row that is not kept: the smallest cap that would be expected to keep it."""


def choose(
    pair_ids: pa.Array, matches: Matches, quotas: Quotas, keys: QueryKeys, seed: int
) -> Choice:
    """Decide about pairs.

    Args:
        pair_ids: of each pair, 16 bytes.
        matches: their queries.
        quotas: pairs and threshold of each query.
        keys: of each query.
        seed: of the selection.
    """
    theta = quotas.theta[matches.ids]
    selects = theta == np.uint64(ALL)
    head = np.flatnonzero(~selects)
    u = hash_matches(pair_ids, matches, head, keys, seed)
    selects[head] = u <= theta[head]
    kept = np.zeros(len(pair_ids), np.bool_)
    kept[matches.rows[selects]] = True
    # Of a lost pair no query selects all, so all its queries have been hashed.
    lost = ~kept[matches.rows[head]]
    rows, ids = matches.rows[head[lost]].tolist(), matches.ids[head[lost]]
    smallest: dict[int, int] = {}
    for row, value, pairs in zip(rows, u[lost].tolist(), quotas.pairs[ids].tolist(), strict=True):
        cap = smallest_cap(value, pairs)
        smallest[row] = min(smallest.get(row, cap), cap)
    return Choice(kept, selects, smallest)


def selected_columns(
    matches: Matches, choice: Choice, quotas: Quotas, rows: int
) -> tuple[pa.ListArray, pa.Array]:
    """Return `selected_by` and `select_prob` of all rows of a batch."""
    counts = np.bincount(matches.rows[choice.selects], minlength=rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    selected_by = pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(matches.ids[choice.selects], pa.int32())
    )
    return selected_by, pa.array(select_probabilities(matches, quotas, rows), pa.float64())


def select_probabilities(matches: Matches, quotas: Quotas, rows: int) -> NDArray[np.float64]:
    """Return each pair's probability to be kept: 1 - prod(1 - (theta + 1) / 2^64).

    The factors are taken one by one in ascending query id, so every machine rounds alike.
    """
    theta = quotas.theta[matches.ids]
    sure = np.zeros(rows, np.bool_)
    sure[matches.rows[theta == np.uint64(ALL)]] = True
    missed = np.ones(rows, np.float64)
    open_matches = np.flatnonzero(~sure[matches.rows])
    for row, threshold in zip(
        matches.rows[open_matches].tolist(), theta[open_matches].tolist(), strict=True
    ):
        missed[row] *= 1.0 - (threshold + 1) / 2**64
    result: NDArray[np.float64] = np.where(sure, 1.0, 1.0 - missed)
    return result


def dropped_rows(batch: pa.RecordBatch, choice: Choice, stage: str, reason: str) -> pa.RecordBatch:
    """Return the ledger rows of the pairs that were not kept."""
    lost = np.flatnonzero(~choice.kept)
    rows = batch.select(["pair_id", "url", "text"]).take(pa.array(lost))
    values = [str(choice.smallest[row]) for row in lost.tolist()]
    return ledger_rows(rows, stage, [reason] * len(lost), values)
