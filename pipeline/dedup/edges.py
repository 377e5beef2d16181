"""Which hashes of a bucket are near: candidates that share a key, then distance and colour.

A key that few hashes share is compared in full. Of a hot key, one with more than `max_bucket`
hashes, each is compared with the `stars` best ones and, in each of 16 further bands, with those
that share it; a further band that is crowded as well gets stars only and is counted as overflow. So
the work of a hash and table is at most stars + 16 (max_bucket / 2 + stars) comparisons, and of a
hot key no pair within 15 bits is missed outside the counted overflow.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from filters.hashes.bands import SUB_BANDS, sub_bands
from filters.hashes.hamming import hamming_distance, words
from filters.hashes.perceptual import GRAPHIC, GRAY
from pipeline.dedup.columns import Keys, runs
from pipeline.dedup.settings import DedupSettings

PAIRS_AT_ONCE = 1 << 14
"""Pairs of one vectorised step: their hashes stay in the cache (measured 57 to 74 million
comparisons a second and core, against 21 million when they do not)."""
CHROMA_BYTES = 32

Rows = NDArray[np.int64]
Pairs = Iterator[tuple[Rows, Rows]]
"""Better and worse places, in arrays of at most `PAIRS_AT_ONCE`."""


@dataclasses.dataclass(frozen=True)
class Probes:
    """Hashes to compare; those of equal key stand in the order of their ranks."""

    hashes: NDArray[np.uint8]
    """Shape (n, 64)."""
    chroma: NDArray[np.uint8]
    """Shape (n, 32)."""
    flags: NDArray[np.uint8]
    """Shape (n,), `GRAPHIC` and `GRAY` among its bits."""
    ranks: Keys
    """Shape (n,); two probes of one image have one rank."""


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


def match(
    table: int,
    keys: NDArray[np.uint32],
    probes: Probes,
    settings: DedupSettings,
    counts: Counts,
) -> Iterator[tuple[Rows, Rows, NDArray[np.uint16]]]:
    """Yield the near pairs among hashes that share a key: better rows, worse rows, distances.

    Args:
        table: number of the table.
        keys: shape (n,), of `band_keys`.
        probes: the n hashes.
        settings: thresholds, and what a crowded key is.
        counts: grows by what was done.
    """
    packed = np.sort(
        keys.astype(np.uint64) << np.uint64(32) | np.arange(len(keys), dtype=np.uint64)
    )
    rows = (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
    bits = words(probes.hashes)
    starts, sizes = runs(packed >> np.uint64(32))
    for left, right in _candidates(table, rows, starts, sizes, probes, settings, counts):
        counts.candidates += len(left)
        better, worse, distance = _near(probes, bits, rows[left], rows[right], settings)
        if len(better):
            yield better, worse, distance


def _candidates(
    table: int,
    rows: Rows,
    starts: Rows,
    sizes: Rows,
    probes: Probes,
    settings: DedupSettings,
    counts: Counts,
) -> Pairs:
    """Yield the places, in the order of the keys, of each pair to compare."""
    is_hot = sizes > settings.max_bucket
    yield from _all_pairs(starts[~is_hot], sizes[~is_hot])
    if not is_hot.any():
        return
    starts, sizes = starts[is_hot], sizes[is_hot]
    counts.hot_keys += len(sizes)
    counts.hot_rows += int(sizes.sum())
    yield from _star_pairs(starts, sizes, settings.stars)
    places, key = _spread(starts, sizes)
    further = sub_bands(probes.hashes[rows[places]], table).astype(np.uint64)
    for number in range(SUB_BANDS):
        values = key.astype(np.uint64) << np.uint64(30) | further[:, number]
        order = np.argsort(values, kind="stable")
        for left, right in _within(*runs(values[order]), settings, counts):
            yield places[order[left]], places[order[right]]


def _within(starts: Rows, sizes: Rows, settings: DedupSettings, counts: Counts) -> Pairs:
    """Yield the pairs of one further band; of its crowded groups those with the best rows only."""
    crowded = sizes > settings.max_bucket
    yield from _all_pairs(starts[~crowded], sizes[~crowded])
    if crowded.any():
        counts.overflow_groups += int(crowded.sum())
        counts.overflow_rows += int(sizes[crowded].sum())
        others = np.maximum(sizes[crowded] - settings.stars, 0)
        counts.overflow_pairs += int((others * (others - 1) // 2).sum())
        yield from _star_pairs(starts[crowded], sizes[crowded], settings.stars)


def _all_pairs(starts: Rows, sizes: Rows) -> Pairs:
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


def _star_pairs(starts: Rows, sizes: Rows, stars: int) -> Pairs:
    """Yield each row of each run with the first rows of its run."""
    right, run = _spread(starts, sizes)
    first = starts[run]
    for star in range(stars):
        behind = right > first + star
        yield from _cut((first + star)[behind], right[behind])


def _spread(starts: Rows, sizes: Rows) -> tuple[Rows, Rows]:
    """Return the places of all runs, and the run of each."""
    run = np.repeat(np.arange(len(sizes)), sizes)
    before = np.cumsum(sizes) - sizes
    return np.arange(len(run)) + (starts - before)[run], run


def _cut(left: Rows, right: Rows) -> Pairs:
    for start in range(0, len(left), PAIRS_AT_ONCE):
        stop = start + PAIRS_AT_ONCE
        yield left[start:stop], right[start:stop]


def _near(
    probes: Probes,
    bits: NDArray[np.uint64],
    left: Rows,
    right: Rows,
    settings: DedupSettings,
) -> tuple[Rows, Rows, NDArray[np.uint16]]:
    """Return the candidates that are near and of two images, with their distances."""
    # `take` gathers rows four times as fast as indexing does.
    distance = hamming_distance(bits.take(left, axis=0), bits.take(right, axis=0))
    close = np.flatnonzero(distance <= max(settings.threshold, settings.threshold_graphic))
    left, right, distance = left[close], right[close], distance[close]
    graphic = ((probes.flags[left] | probes.flags[right]) & GRAPHIC) != 0
    near = distance <= np.where(graphic, settings.threshold_graphic, settings.threshold)
    near &= probes.ranks[left] != probes.ranks[right]
    near &= _agree(probes, left, right, graphic, settings)
    return left[near], right[near], distance[near]


def _agree(
    probes: Probes,
    left: Rows,
    right: Rows,
    graphic: NDArray[np.bool_],
    settings: DedupSettings,
) -> NDArray[np.bool_]:
    """Tell which pairs agree in colour."""
    first, second = (probes.chroma.take(rows, axis=0).astype(np.int16) for rows in (left, right))
    difference = np.abs(first - second).sum(axis=1)
    levels = np.where(graphic, settings.chroma_max_graphic, settings.chroma_max)
    agree = difference <= CHROMA_BYTES * levels
    if settings.match_gray:
        agree |= ((probes.flags[left] ^ probes.flags[right]) & GRAY) != 0
    return agree
