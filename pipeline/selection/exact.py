"""Exact caps: of each head query the hash that the last pair it selects has."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from filters.queries.select import exact_threshold
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.units import Source, Unit
from pipeline.selection.choose import BATCH_ROWS
from pipeline.selection.quotas import Draw, Listed, load_quotas, quota_rows

FEWEST_BINS, MOST_BINS = 16, 1024
HISTOGRAM_BYTES = 64 << 20
"""Of all histograms together, if that leaves each `FEWEST_BINS`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetExactThresholds:
    """`QUOTAS` of the head queries, from all their hashes.

    A histogram of the top bits of each head query's hashes says in which bin its threshold lies;
    only that bin is collected and sorted: of M matches about M / bins hashes. With a cap of 20,000
    and 35 million matches there are at most 1,750 head queries, whose histograms take 14 MB.
    """

    draw: Draw
    counts: Listed
    """`QUOTAS` of the survivors."""

    def run(self, unit: Unit, sink: Sink) -> None:
        """Set the thresholds from the hashes of all units."""
        caps = self.draw.cap_of_each()
        quotas = load_quotas(self.counts, len(caps))
        ids = np.flatnonzero(quotas.pairs > caps)
        head_of = np.full(len(caps), -1, np.int32)
        head_of[ids] = np.arange(len(ids))
        bits = bin_bits(len(ids))
        wanted, left = _wanted_bins(unit, head_of, caps[ids], bits)
        heads, hashes = _collect(unit, head_of, wanted, bits)
        starts = np.searchsorted(heads, np.arange(len(ids) + 1)).tolist()
        thetas = np.empty(len(ids), np.uint64)
        for head, rest in enumerate(left.tolist()):
            found = hashes[starts[head] : starts[head + 1]]
            thetas[head] = found[rest - 1]
            if rest < len(found) and found[rest] == thetas[head]:  # a tie at the cap
                every = _all_hashes(unit, int(ids[head]))
                thetas[head] = exact_threshold(every, int(caps[ids[head]]))
        sink.write(quota_rows(ids, quotas.pairs[ids], quotas.base[ids], thetas))


def bin_bits(heads: int) -> int:
    """Return the logarithm of the number of bins of each of so many histograms."""
    fitting = max(FEWEST_BINS, min(MOST_BINS, HISTOGRAM_BYTES // (8 * heads)))
    return fitting.bit_length() - 1


def _bins(u: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    return (u >> np.uint64(64 - bits)).astype(np.int64)


def _read(
    unit: Unit, head_of: NDArray[np.int32]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.uint64]]]:
    """Yield (head query, hash) columns; a head query's number is its place among them."""
    for source in unit.sources:
        for batch in read_batches(source.path, batch_rows=BATCH_ROWS):
            heads = head_of[batch["query_id"].to_numpy()]
            is_head = heads >= 0
            yield heads[is_head], batch["u"].to_numpy()[is_head]


def _wanted_bins(
    unit: Unit, head_of: NDArray[np.int32], caps: NDArray[np.int64], bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return in which bin the hash number `cap` of each head query is, and which one of it."""
    counts = np.zeros((len(caps), 1 << bits), np.int64)
    for heads, u in _read(unit, head_of):
        np.add.at(counts.reshape(-1), heads.astype(np.int64) << bits | _bins(u, bits), 1)
    np.cumsum(counts, axis=1, out=counts)
    wanted = (counts < caps[:, None]).sum(axis=1)
    before = np.where(wanted > 0, counts[np.arange(len(caps)), wanted - 1], 0)
    return wanted, caps - before


def _collect(
    unit: Unit, head_of: NDArray[np.int32], wanted: NDArray[np.int64], bits: int
) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """Return the hashes of the wanted bins, sorted by head query and hash."""
    parts = [(np.zeros(0, np.int32), np.zeros(0, np.uint64))]
    for heads, u in _read(unit, head_of):
        is_wanted = _bins(u, bits) == wanted[heads]
        parts.append((heads[is_wanted], u[is_wanted]))
    heads = np.concatenate([each for each, _ in parts])
    hashes = np.concatenate([each for _, each in parts])
    order = np.lexsort((hashes, heads))
    return heads[order], hashes[order]


def _all_hashes(unit: Unit, query: int) -> list[int]:
    found = [
        batch["u"].to_numpy()[batch["query_id"].to_numpy() == query]
        for source in unit.sources
        for batch in read_batches(source.path, batch_rows=BATCH_ROWS)
    ]
    return np.sort(np.concatenate(found)).tolist()


class HashReader:
    """Reads a unit's `HASHES` in the order in which its matches come."""

    def __init__(self, sources: tuple[Source, ...]) -> None:
        """Open nothing yet."""
        self._batches = (
            batch["u"].to_numpy()
            for source in sources
            for batch in read_batches(source.path, ["u"], BATCH_ROWS)
        )
        self._rest = np.zeros(0, np.uint64)

    def take(self, wanted: int) -> NDArray[np.uint64]:
        """Return the next `wanted` hashes."""
        held = [self._rest]
        size = len(self._rest)
        while size < wanted:
            held.append(next(self._batches))
            size += len(held[-1])
        joined = np.concatenate(held) if len(held) > 1 else self._rest
        self._rest = joined[wanted:]
        return joined[:wanted]
