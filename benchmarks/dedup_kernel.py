"""The kernel of dedup on hashes in memory: keys, candidates, verification and choice, no engine.

`python -m benchmarks.dedup_kernel KIND ROWS` measures it in a process of its own and prints JSON.
"""

import functools
import json
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.dedup_rows import crowded_hashes, skewed_hashes, uniform_hashes
from benchmarks.harness import peak_bytes, reset_peak
from filters.hashes.lfmis import KEPT, first_independent_set
from filters.hashes.matching import Counts, Probes, match
from pipeline.dedup.settings import DedupSettings

BUCKET_ROWS = 1 << 16
_ODD = np.uint64(0x9E3779B97F4A7C15)


def near_pairs(probes: Probes, settings: DedupSettings, counts: Counts) -> NDArray[np.uint64]:
    """Return the edges of all tables as better << 32 | worse row, each once.

    Args:
        probes: in the order of their ranks.
        settings: thresholds and bands.
        counts: grows by what was done.
    """
    hashes = probes.hashes
    bands, found = settings.bands(len(hashes)), [np.zeros(0, np.uint64)]
    for table in range(bands.tables):
        for keys, rows in _buckets(*bands.of_table(hashes, table)):
            mine = probes.take(rows)
            for left, right, _ in match(bands, table, keys, mine, settings.nearness, counts):
                better, worse = (rows[side].astype(np.uint64) for side in (left, right))
                found.append(better << np.uint64(32) | worse)
        found = [_distinct(np.concatenate(found))]
    return found[0]


def _distinct(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values.sort()  # numpy.unique hashes, ten times as slow
    return values[np.concatenate([[True], values[1:] != values[:-1]])[: len(values)]]


def _buckets(
    keys: NDArray[np.uint32], rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.int64]]]:
    """Yield the keys that two rows share, and their rows, in the order of both."""
    packed = keys.astype(np.uint64) << np.uint64(32)
    packed |= rows.astype(np.uint64)
    packed.sort()
    is_same = np.zeros(len(packed) + 1, np.bool_)
    is_same[1:-1] = (packed[1:] ^ packed[:-1]) >> np.uint64(32) == 0
    packed = packed[is_same[1:] | is_same[:-1]]
    start = 0
    while start < len(packed):
        stop = min(start + BUCKET_ROWS, len(packed))
        last = packed[stop - 1] | np.uint64(0xFFFFFFFF)
        stop = int(np.searchsorted(packed, last, side="right"))
        mine = packed[start:stop]
        yield (
            (mine >> np.uint64(32)).astype(np.uint32),
            (mine & np.uint64(0xFFFFFFFF)).astype(np.int64),
        )
        start = stop


def drop_copies(hashes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the distinct hashes in the order of their first places, as nodes are made."""
    words = hashes.view(np.uint64)
    mixed = words[:, 0].copy()
    for column in words.T[1:]:
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _ODD + column
    _, first = np.unique(mixed, return_index=True)
    return hashes if len(first) == len(hashes) else hashes[np.sort(first)]


def choose(hashes: NDArray[np.uint8], settings: DedupSettings) -> tuple[int, int, Counts]:
    """Return how many images stay, how many edges were found, and what was compared."""
    counts = Counts()
    distinct = drop_copies(hashes)
    probes = Probes(
        hashes=distinct,
        chroma=np.full((len(distinct), 32), 128, np.uint8),
        flags=np.zeros(len(distinct), np.uint8),
        ranks=np.arange(1, len(distinct) + 1, dtype=">u4").view("S4"),
        texts=np.zeros(len(distinct), np.uint64),
        fixed=np.zeros(len(distinct), np.bool_),
    )
    edges = near_pairs(probes, settings, counts)
    better = (edges >> np.uint64(32)).astype(np.int64)
    worse = (edges & np.uint64(0xFFFFFFFF)).astype(np.int64)
    dup_of = first_independent_set(better, worse, len(distinct))
    return int((dup_of == KEPT).sum()), len(edges), counts


def measure(kind: str, rows: int) -> dict[str, float]:
    """Return CPU seconds, candidates and peak memory of one set of hashes."""
    make: dict[str, Callable[[int], NDArray[np.uint8]]] = {
        "uniform": uniform_hashes,
        "skewed": skewed_hashes,
        "copies": functools.partial(crowded_hashes, equal=True),
        "crowded": functools.partial(crowded_hashes, equal=False),
    }
    choose(uniform_hashes(1000), DedupSettings())  # warm caches and imports
    before = peak_bytes()
    hashes = make[kind](rows)
    reset_peak()
    start = time.process_time()
    kept, edges, counts = choose(hashes, DedupSettings())
    return {
        "cpu_s": time.process_time() - start,
        "rows": rows,
        "kept": kept,
        "edges": edges,
        "candidates": counts.candidates,
        "hot_keys": counts.hot_keys,
        "overflow_rows": counts.overflow_rows,
        "bytes": peak_bytes() - before,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
