"""What comparing will cost, from a sample of the nodes, and when it is refused."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.hashes.bands import Bands
from filters.hashes.matching import Nearness
from manifests.base.errors import RefusedError
from pipeline.dedup.keys import PROBE_BYTES, node_probes
from pipeline.dedup.settings import DedupSettings

SAMPLE_ROWS = 200_000
MAX_PASSES = 64
"""Each reads all nodes."""
PASS_BUCKETS = 8
"""A pass sends at most this many times `engine.bucket_bytes`: it passes through the memory of one
process, which takes 4.9 times as much (measured, Beam 2.77.0)."""
MAX_CHANCE = 16.0
"""Pairs of unrelated hashes that share a band, per probe."""
MAX_COMPARES = 2000.0
"""Comparisons per probe, 50 microseconds at 4e7 a second (measured); provisional."""
_SHORT_BITS, _SHORT_SET = 63, 31
"""A pHash of imagehash has 31 of its 63 bits behind the first one set, or 32."""


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a sample says of all nodes."""

    compares: NDArray[np.float64]
    """Shape (tables,): comparisons per probe in each table."""
    heavy: tuple[tuple[int, int], ...]
    """Tables and keys that more than `max_key_rows` probes are predicted to have."""


def chance_candidates(probes: int, bands: Bands) -> float:
    """Return how many pairs of unrelated hashes share a key, per probe: L R / 2^33 for 32 bits."""
    bits = np.minimum(32, (bands.keys >= 0).sum(axis=1))
    return float((probes / 2.0 ** (bits + 1.0)).sum())


def chance_pairs(images: float, distance: int) -> float:
    """Return how many pairs of unrelated images have pHashes of 64 bits within a distance.

    Distances between pHashes that have half of their bits set are even.
    """
    near = sum(
        math.comb(_SHORT_SET, bits) * math.comb(_SHORT_BITS - _SHORT_SET, bits)
        for bits in range(distance // 2 + 1)
    )
    return images * images / 2 * near / math.comb(_SHORT_BITS, _SHORT_SET)


def forecast(
    sample: Sequence[pa.RecordBatch], nodes: int, bands: Bands, settings: DedupSettings
) -> Forecast:
    """Predict comparisons and crowded keys.

    Args:
        sample: nodes with the smallest keys, columns of `NODES`.
        nodes: number of all nodes.
        bands: how hashes are cut.
        settings: what a crowded key is.
    """
    found = [node_probes(batch, bands, flats=False) for batch in sample]
    sampled = max(1, sum(batch.num_rows for batch in sample))
    scale = nodes / sampled
    compares = np.zeros(bands.tables)
    heavy: list[tuple[int, int]] = []
    for table in range(bands.tables):
        each = [probes.keys[probes.emitted[:, table], table] for probes in found]
        keys, counts = np.unique(
            np.concatenate([np.zeros(0, np.uint32), *each]), return_counts=True
        )
        rows = counts * scale
        work = np.where(
            counts > 1,
            np.minimum((counts - 1) * scale / 2, _most_compares(bands, settings.nearness)),
            0,
        )
        compares[table] = float((counts * work).sum()) / max(1, int(counts.sum()))
        heavy.extend((table, int(key)) for key in keys[rows > settings.max_key_rows])
    return Forecast(compares, tuple(heavy))


def _most_compares(bands: Bands, nearness: Nearness) -> float:
    return nearness.stars + bands.sub_bands * (nearness.max_bucket / 2 + nearness.stars)


def refusals(
    predicted: Forecast, probes: int, nodes: int, bands: Bands, settings: DedupSettings
) -> Iterator[str]:
    """Yield what stands against comparing these nodes."""
    chance = chance_candidates(probes, bands)
    if chance > MAX_CHANCE:
        yield (
            f"dedup: {chance:.1f} chance candidates per hash with {probes} hashes, at most "
            f"{MAX_CHANCE:.0f}: take fewer pairs, or preset openwit"
        )
    if (total := float(predicted.compares.sum())) > MAX_COMPARES:
        tables = np.argsort(-predicted.compares, kind="stable")[:3]
        named = ", ".join(f"{table} ({predicted.compares[table]:.0f})" for table in tables)
        yield (
            f"dedup: about {total:.0f} comparisons per hash, at most {MAX_COMPARES:.0f}; the "
            f"hottest tables are {named}: lower dedup.max_bucket or dedup.stars"
        )
    if settings.preset == "exact" and predicted.heavy:
        table, key = predicted.heavy[0]
        yield (
            f"dedup: key {key:08x} of table {table} of more than {settings.max_key_rows} hashes: "
            "the preset exact leaves none out: raise dedup.max_key_rows or take preset openwit"
        )
    if settings.preset == "imagehash64":
        pairs = chance_pairs(nodes, settings.nearness.threshold)
        if pairs > nodes / 1000:
            yield (
                f"dedup: {pairs:.0f} of {nodes} images would be merged by chance, at most one in "
                "1000: lower dedup.threshold or take preset openwit"
            )


def pass_count(rows: int, bucket_bytes: int) -> int:
    """Return over how many passes rows of `PROBES` are spread: a power of two.

    Raises:
        RefusedError: if there are too many.
    """
    most = PASS_BUCKETS * bucket_bytes
    passes = 1 << max(0, -(-rows * PROBE_BYTES // most) - 1).bit_length()
    if passes > MAX_PASSES:
        raise RefusedError(
            f"dedup: {rows} hashes to compare, {rows * PROBE_BYTES} bytes: {passes} passes of "
            f"{most} bytes, at most {MAX_PASSES}: raise engine.bucket_bytes on a machine with more "
            "memory, or give the run fewer pairs"
        )
    return passes
