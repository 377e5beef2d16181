"""Made-up hashes and fetched rows of any number, for the benchmark of dedup."""

import dataclasses
import hashlib

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.engine.context import Engine
from pipeline.engine.parts import Sink
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep
from pipeline.engine.units import Unit
from pipeline.hashes.columns import as_keys, fixed
from pipeline.records import FETCHED

CLUSTER = 3
PLANTED = 0.3
"""Share of hashes that stand in clusters of three; the others are unrelated."""
FLIPPED_BITS = 8
"""Bits of 512 by which the second and third of a cluster differ from the first."""
CROWDED = 0.3
"""Share of a skewed set's hashes with crowded bands."""
POOL = 16
"""Values that a crowded band takes in a skewed set."""
ROWS_OF_PART = 16_384


def uniform_hashes(rows: int, seed: int = 1) -> NDArray[np.uint8]:
    """Return shape (rows, 64): random hashes, 30 % of them in planted clusters of three."""
    random = np.random.default_rng(seed)
    hashes = np.frombuffer(random.bytes(64 * rows), np.uint8).reshape(-1, 64).copy()
    clusters = int(rows * PLANTED) // CLUSTER
    for copy in range(1, CLUSTER):
        places = random.integers(0, 512, (clusters, FLIPPED_BITS))
        mine = hashes[copy * clusters : (copy + 1) * clusters]
        mine[:] = hashes[:clusters]
        for column in places.T:  # a bit hit twice flips back, which no figure depends on
            mine[np.arange(clusters), column // 8] ^= (1 << (column % 8)).astype(np.uint8)
    return hashes


def skewed_hashes(rows: int, seed: int = 1) -> NDArray[np.uint8]:
    """Return hashes of which 30 % have a band from small pools, the first values most often.

    The values' popularity falls as 1 / rank, so that bands are shared by hundreds to hundreds of
    thousands, as those of clip art are.
    """
    random = np.random.default_rng(seed)
    hashes = uniform_hashes(rows, seed)
    words = hashes.view(np.uint32)
    chosen = np.flatnonzero(random.random(rows) < CROWDED)
    share = 1 / np.arange(1, POOL + 1)
    drawn = random.choice(POOL, len(chosen), p=share / share.sum())
    table = 8 + random.integers(0, 4, len(chosen))
    pool = random.integers(0, 1 << 32, (16, POOL), dtype=np.uint32)
    words[chosen, table] = pool[table, drawn]
    return hashes


def crowded_hashes(rows: int, *, equal: bool, seed: int = 1) -> NDArray[np.uint8]:
    """Return hashes of which 30 % are equal, or are unrelated but for one common band."""
    hashes = uniform_hashes(rows, seed)
    last = hashes[-int(rows * CROWDED) :]
    last[:, slice(None) if equal else slice(32, 36)] = 7
    return hashes


@dataclasses.dataclass(frozen=True)
class _WriteParts:
    """Stands for fetch: writes one part of made-up rows."""

    rows: int
    skewed: bool

    def run(self, unit: Unit, sink: Sink) -> None:
        start = int(unit.id) * ROWS_OF_PART
        make = skewed_hashes if self.skewed else uniform_hashes
        hashes = make(self.rows)[start : start + ROWS_OF_PART]
        sink.rows_in(len(hashes))
        sink.write(_fetched(hashes, start))


def write_fetched(engine: Engine, rows: int, *, skewed: bool = False) -> StageRecord:
    """Write made-up fetched rows in parts of 16,384 and return them as a committed step."""
    step = MapStep(
        name="fetch",
        stage="fetch",
        version=1,
        parameters={"rows": rows, "skewed": skewed},
        outputs={"part": FETCHED},
        kernel=_WriteParts(rows, skewed),
    )
    units = -(-rows // ROWS_OF_PART)
    return engine.run(step, [Unit(id=f"{number:05d}", sources=()) for number in range(units)])


def _fetched(hashes: NDArray[np.uint8], start: int) -> pa.RecordBatch:
    rows = len(hashes)
    numbers = range(start, start + rows)
    digests = [hashlib.blake2b(b"%d" % number, digest_size=32).digest() for number in numbers]
    ids = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    order = np.argsort(as_keys(np.ascontiguousarray(ids[:, :16])))
    made = {
        "pair_id": fixed(np.ascontiguousarray(ids[:, :16])),
        "url": pa.array([f"https://images.example.com/{d.hex()[:24]}.jpg" for d in digests]),
        "page_url": pa.array([f"https://www.example.com/pages/{n // 4:09d}.html" for n in numbers]),
        "text": pa.array([f"a picture of a thing on a table, number {n}" for n in numbers]),
        "matched_query_ids": pa.array([[n % 1000] for n in numbers], pa.list_(pa.int32())),
        "original_sha256": fixed(ids),
        "sha256": fixed(ids),
        "original_width": _same(640, pa.int32(), rows),
        "original_height": _same(480, pa.int32(), rows),
        "hash_version": _same("ow1/p12", pa.string(), rows),
        "dedup_hash": fixed(hashes),
        "dedup_chroma": fixed(np.full((rows, 32), 128, np.uint8)),
    }
    arrays = [made.get(field.name, _default(field, rows)) for field in FETCHED]
    return pa.RecordBatch.from_arrays(arrays, schema=FETCHED).take(pa.array(order))


def _same(value: object, kind: pa.DataType, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), rows)


def _default(field: pa.Field, rows: int) -> pa.Array:
    if field.nullable:
        return pa.nulls(rows, field.type)
    if pa.types.is_list(field.type):
        return pa.array([[]] * rows, field.type)
    if pa.types.is_fixed_size_binary(field.type):
        return fixed(np.zeros((rows, field.type.byte_width), np.uint8))
    value = "" if pa.types.is_string(field.type) else 0
    return (
        pa.array([value], pa.int64() if value == 0 else pa.string())
        .cast(field.type)
        .take(pa.array(np.zeros(rows, np.int64)))
    )
