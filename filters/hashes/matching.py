"""Which hashes that share a key are near: candidates of a table, then distance, colour and text.

A key that few hashes share is compared in full. Of a hot key, one with more than `max_bucket`
hashes, each is compared with the `stars` best ones and, in each of 16 further bands, with those
that share it; a further band that is crowded as well gets stars only and is an overflow. So the
work of a hash and table is at most stars + 16 (max_bucket / 2 + stars) comparisons, and of a hot
key no pair within 15 bits is missed outside the overflows.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from filters.hashes.bands import Bands
from filters.hashes.hamming import hamming_distance, near_pairs, words
from filters.hashes.perceptual import FLAT, GRAPHIC, GRAY

PAIRS_AT_ONCE = 1 << 14
"""Pairs of one vectorised step: their hashes stay in the cache (measured 57 to 74 million
comparisons a second and core, against 21 million when they do not)."""
CHROMA_BYTES = 32
LARGE_RUN = 64
"""Rows from which on each is compared with each, twice as many comparisons but ten times as fast:
what differs in a few words goes at once."""

Rows = NDArray[np.int64]
Pairs = Iterator[tuple[Rows, Rows]]
"""Better and worse places, in arrays of at most `PAIRS_AT_ONCE`."""
Found = tuple[Rows, Rows, NDArray[np.uint16]]
"""Better rows, worse rows, distances."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nearness:
    """When two probes are near, and how many are compared to find out."""

    threshold: int
    """Bits in which two photographs may differ."""
    threshold_graphic: int
    """The same if both are graphic: drawings of one series differ in little."""
    chroma_max: int
    """Levels by which their colours may differ in the mean."""
    chroma_max_graphic: int
    """The same if both are graphic."""
    match_gray: bool = False
    """Whether a gray and a coloured probe, unless both are graphic, may be near whatever their
    colours: two flags may differ in nothing else."""
    max_bucket: int = 512
    stars: int = 64


@dataclasses.dataclass(frozen=True)
class Probes:
    """Hashes to compare; those of equal key stand in the order of their ranks."""

    hashes: NDArray[np.uint8]
    """Shape (n, 64)."""
    chroma: NDArray[np.uint8]
    """Shape (n, 32)."""
    flags: NDArray[np.uint8]
    """Shape (n,), `FLAT`, `GRAPHIC` and `GRAY` among its bits."""
    ranks: NDArray[np.bytes_]
    """Shape (n,); two probes of one image have one rank."""
    texts: NDArray[np.uint64]
    """Shape (n,); only probes of equal texts are near."""
    fixed: NDArray[np.bool_]
    """Shape (n,): probes that stay whatever happens, and are not compared with each other."""

    def take(self, rows: NDArray[np.int64]) -> "Probes":
        """Return some of the probes, in the given order."""
        fields = dataclasses.fields(self)
        return Probes(*(getattr(self, field.name).take(rows, axis=0) for field in fields))


@dataclasses.dataclass
class Counts:
    """What was compared, for the record."""

    candidates: int = 0
    """Pairs compared; a pair that shares several bands counts for each."""
    hot_keys: int = 0
    """Keys of more than `max_bucket` hashes."""
    hot_rows: int = 0
    """Hashes under those keys."""
    overflow_groups: int = 0
    """Further bands of hot keys that more than `max_bucket` hashes share."""
    overflow_rows: int = 0
    """Hashes in those groups."""
    overflow_pairs: int = 0
    """Pairs of those groups that were not compared there."""
    overflows: list[tuple[int, NDArray[np.uint64]]] = dataclasses.field(default_factory=list)
    """The groups: number of the further band, and key << 30 | its value."""


def match(
    bands: Bands,
    table: int,
    keys: NDArray[np.uint32],
    probes: Probes,
    nearness: Nearness,
    counts: Counts,
) -> Iterator[Found]:
    """Yield the near pairs among hashes that share a key: better rows, worse rows, distances.

    Args:
        bands: how hashes are cut.
        table: number of the table.
        keys: shape (n,), of `Bands.of`.
        probes: the n hashes.
        nearness: thresholds, and what a crowded key is.
        counts: grows by what was done.
    """
    packed = np.sort(
        keys.astype(np.uint64) << np.uint64(32) | np.arange(len(keys), dtype=np.uint64)
    )
    rows = (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
    starts, sizes = runs(packed >> np.uint64(32))
    is_hot = sizes > nearness.max_bucket
    work = _Work(probes, words(probes.hashes), nearness, counts)
    yield from work.all_of(rows, starts[~is_hot], sizes[~is_hot])
    if is_hot.any():
        starts, sizes = starts[is_hot], sizes[is_hot]
        counts.hot_keys += len(sizes)
        counts.hot_rows += int(sizes.sum())
        yield from work.best_of(rows, starts, sizes)
        places, run = _spread(starts, sizes)
        of_run = keys[rows[starts]].astype(np.uint64)
        hot = rows[places]
        further = bands.sub_keys(probes.hashes.take(hot, axis=0), table).astype(np.uint64)
        for number in range(bands.sub_bands):
            values = of_run[run] << np.uint64(30) | further[:, number]
            order = np.argsort(values, kind="stable")
            starts_of, sizes_of = runs(values[order])
            yield from work.sub_band(number, values[order], hot[order], starts_of, sizes_of)


@dataclasses.dataclass(frozen=True)
class _Work:
    """Pairs of probes to those that are near; rows of a run stand in the order of their ranks."""

    probes: Probes
    bits: NDArray[np.uint64]
    nearness: Nearness
    counts: Counts

    def sub_band(
        self, number: int, values: NDArray[np.uint64], rows: Rows, starts: Rows, sizes: Rows
    ) -> Iterator[Found]:
        """Compare the rows of one further band; of its crowded groups those with the best only."""
        crowded = sizes > self.nearness.max_bucket
        yield from self.all_of(rows, starts[~crowded], sizes[~crowded])
        if crowded.any():
            _count_overflow(number, values[starts[crowded]], sizes[crowded], self)
            yield from self.best_of(rows, starts[crowded], sizes[crowded])

    def all_of(self, rows: Rows, starts: Rows, sizes: Rows) -> Iterator[Found]:
        """Compare all rows of each run with each other."""
        large = sizes >= LARGE_RUN
        for left, right in all_pairs(starts[~large], sizes[~large]):
            self.counts.candidates += len(left)
            yield near(self.probes, self.bits, rows[left], rows[right], self.nearness)
        yield from self._blocks(rows, starts[large], sizes[large], sizes[large])

    def best_of(self, rows: Rows, starts: Rows, sizes: Rows) -> Iterator[Found]:
        """Compare all rows of each run with its first ones."""
        stars = np.minimum(sizes, self.nearness.stars)
        yield from self._blocks(rows, starts, sizes, stars)

    def _blocks(self, rows: Rows, starts: Rows, sizes: Rows, firsts: Rows) -> Iterator[Found]:
        most = max(self.nearness.threshold, self.nearness.threshold_graphic)
        self.counts.candidates += int((firsts * sizes - firsts * (firsts + 1) // 2).sum())
        for start, size, first in zip(
            starts.tolist(), sizes.tolist(), firsts.tolist(), strict=True
        ):
            mine = rows[start : start + size]
            bits = self.bits.take(mine, axis=0)
            for left, right in near_pairs(bits[:first], bits, most):
                behind = right > left
                better, worse = mine[left[behind]], mine[right[behind]]
                yield near(self.probes, self.bits, better, worse, self.nearness)


def _count_overflow(number: int, groups: NDArray[np.uint64], sizes: Rows, work: _Work) -> None:
    counts, nearness = work.counts, work.nearness
    counts.overflow_groups += len(groups)
    counts.overflow_rows += int(sizes.sum())
    others = np.maximum(sizes - nearness.stars, 0)
    counts.overflow_pairs += int((others * (others - 1) // 2).sum())
    counts.overflows.append((number, groups))


def runs(values: NDArray[np.bytes_] | NDArray[np.uint64]) -> tuple[Rows, Rows]:
    """Return where each run of equal values starts, and its length."""
    starts = np.flatnonzero(np.concatenate([[len(values) > 0], values[1:] != values[:-1]]))
    starts = starts[: len(values)]
    return starts, np.diff(np.append(starts, len(values)))


def all_pairs(starts: Rows, sizes: Rows) -> Pairs:
    """Yield each pair of each run, by how far apart the two stand."""
    shared = sizes > 1
    starts, sizes = starts[shared], sizes[shared]
    left, run = _spread(starts, sizes)
    ends = (starts + sizes)[run]
    lag = 0
    while len(left):
        lag += 1
        inside = left + lag < ends
        left, ends = left[inside], ends[inside]
        yield from _cut(left, left + lag)


def _spread(starts: Rows, sizes: Rows) -> tuple[Rows, Rows]:
    """Return the places of all runs, and the run of each."""
    run = np.repeat(np.arange(len(sizes)), sizes)
    before = np.cumsum(sizes) - sizes
    return np.arange(len(run)) + (starts - before)[run], run


def _cut(left: Rows, right: Rows) -> Pairs:
    for start in range(0, len(left), PAIRS_AT_ONCE):
        stop = start + PAIRS_AT_ONCE
        yield left[start:stop], right[start:stop]


def near(
    probes: Probes, bits: NDArray[np.uint64], left: Rows, right: Rows, nearness: Nearness
) -> Found:
    """Return which pairs of probes are near and of two images, with their distances.

    Args:
        probes: all of them.
        bits: `words` of their hashes.
        left: shape (n,), the better rows.
        right: shape (n,), the worse rows.
        nearness: thresholds.
    """
    # `take` gathers rows four times as fast as indexing does.
    distance = hamming_distance(bits.take(left, axis=0), bits.take(right, axis=0))
    close = np.flatnonzero(distance <= max(nearness.threshold, nearness.threshold_graphic))
    left, right, distance = left[close], right[close], distance[close]
    one, other = probes.flags[left], probes.flags[right]
    graphic = (one & other & GRAPHIC) != 0
    found = distance <= np.where(graphic, nearness.threshold_graphic, nearness.threshold)
    # A flat image's probe is the digest of its pixels: equal or not.
    found &= np.where((one & FLAT) != 0, distance == 0, True) & (((one ^ other) & FLAT) == 0)
    found &= probes.ranks[left] != probes.ranks[right]
    found &= probes.texts[left] == probes.texts[right]
    found &= ~(probes.fixed[left] & probes.fixed[right])
    colours = probes.chroma
    found &= agree(colours.take(left, axis=0), colours.take(right, axis=0), one, other, nearness)
    return left[found], right[found], distance[found]


def agree(
    left: NDArray[np.uint8],
    right: NDArray[np.uint8],
    one: NDArray[np.uint8],
    other: NDArray[np.uint8],
    nearness: Nearness,
) -> NDArray[np.bool_]:
    """Tell which pairs agree in colour: colours of shape (n, 32), then flags of shape (n,)."""
    graphic = (one & other & GRAPHIC) != 0
    difference = np.abs(left.astype(np.int16) - right.astype(np.int16)).sum(axis=1)
    levels = np.where(graphic, nearness.chroma_max_graphic, nearness.chroma_max)
    gray = nearness.match_gray & ~graphic & (((one ^ other) & GRAY) != 0)
    return (difference <= CHROMA_BYTES * levels) | gray
