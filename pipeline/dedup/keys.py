"""Nodes to rows of the edge shuffle: each probe of a node under each of its band keys."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.hashes.bands import band_keys
from pipeline.dedup.columns import bytes_of, one_batch
from pipeline.dedup.nodes import RANK

PROBES = pa.schema(
    [
        pa.field("band", pa.uint64(), nullable=False),
        pa.field("rank", RANK, nullable=False),
        pa.field("flags", pa.uint8(), nullable=False),
        pa.field("hash", pa.binary(64), nullable=False),
        pa.field("chroma", pa.binary(32), nullable=False),
        pa.field("unit", pa.int32(), nullable=False),
        pa.field("home", pa.int32(), nullable=False),
    ]
)
"""A probe under one of its keys. `band` is table * 2^32 + key, `rank` the node's, `unit` the number
of the part of fetch with its best row, `home` that of the part of nodes it is in. Sorted by the
first three columns, rows have one order."""
PROBE_BYTES = 133
TRIMMED = 128
"""Bit in `flags` of a second probe, the image without its borders."""
_HASH, _CHROMA = slice(0, 64), slice(64, 96)
_SPREAD = np.uint64(2654435761)  # Knuth's multiplier: 2^32 / golden ratio
_KEY = np.uint64(0xFFFFFFFF)


def probe_rows(nodes: pa.RecordBatch, home: int, tables: int) -> pa.RecordBatch:
    """Return the one or two probes of nodes under each of their keys, as `PROBES`.

    Args:
        nodes: columns of `NODES`.
        home: number of the part they are in.
        tables: number of tables.
    """
    trimmed = nodes.filter(nodes["trim"].is_valid())
    second = bytes_of(trimmed["trim"].cast(pa.binary(97)))
    first = np.concatenate(
        [bytes_of(nodes["hash"]), bytes_of(nodes["chroma"]), nodes["flags"].to_numpy()[:, None]],
        axis=1,
    )
    second = np.concatenate([second[:, :96], second[:, 96:] | TRIMMED], axis=1)
    made = [
        _keyed(batch, probes, home, tables) for batch, probes in ((nodes, first), (trimmed, second))
    ]
    return one_batch(pa.Table.from_batches(made, schema=PROBES))


def _keyed(
    nodes: pa.RecordBatch, probes: NDArray[np.uint8], home: int, tables: int
) -> pa.RecordBatch:
    keys, emitted = band_keys(probes[:, _HASH], tables)
    rows, table = np.nonzero(emitted)
    band = table.astype(np.uint64) << np.uint64(32) | keys[rows, table]
    taken = nodes.select(["rank", "unit"]).take(pa.array(rows))
    columns = {
        "band": pa.array(band),
        "rank": taken["rank"],
        "flags": pa.array(probes[rows, 96]),
        "hash": _column(probes[:, _HASH], rows),
        "chroma": _column(probes[:, _CHROMA], rows),
        "unit": taken["unit"],
        "home": pa.repeat(pa.scalar(home, pa.int32()), len(rows)),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in PROBES.names], schema=PROBES)


def _column(data: NDArray[np.uint8], rows: NDArray[np.int64]) -> pa.Array:
    buffer = pa.py_buffer(np.ascontiguousarray(data).take(rows, axis=0))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(data.shape[1]), len(rows), [None, buffer])


def band_buckets(band: NDArray[np.uint64], tables: int, buckets: int) -> NDArray[np.int64]:
    """Return the bucket of each band: the table, then top bits of the spread key.

    Args:
        band: shape (n,), table * 2^32 + key.
        tables: a power of two.
        buckets: a power of two.
    """
    mixed = (band & ~_KEY) | ((band & _KEY) * _SPREAD & _KEY)
    bits = (buckets - 1).bit_length()
    width = 32 + (tables - 1).bit_length()
    return (mixed >> np.uint64(width - bits)).astype(np.int64)
