"""Columns of fixed-size bytes as numpy arrays and back, without a copy where it can be."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Keys = NDArray[np.bytes_]
"""Fixed-size bytes that sort and compare as bytes do. Equal sizes make numpy's blind eye for zero
bytes at the end harmless."""


def bytes_of(column: pa.Array | pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return a fixed-size binary column as shape (rows, width); nulls give any bytes."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    width = array.type.byte_width
    data = np.frombuffer(array.buffers()[1] or b"", np.uint8)
    return data[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)


def keys_of(column: pa.Array | pa.ChunkedArray) -> Keys:
    """Return a fixed-size binary column without nulls as keys of shape (rows,)."""
    return as_keys(bytes_of(column))


def as_keys(data: NDArray[np.uint8]) -> Keys:
    """Return bytes of shape (rows, width) as keys of shape (rows,)."""
    return np.ascontiguousarray(data).view(f"S{data.shape[1]}").reshape(-1)


def fixed(data: NDArray[np.uint8] | Keys) -> pa.Array:
    """Return bytes of shape (rows, width), or keys, as a fixed-size binary column."""
    width = data.dtype.itemsize if data.ndim == 1 else data.shape[1]
    buffer = pa.py_buffer(np.ascontiguousarray(data).tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(data), [None, buffer])


def runs(values: Keys | NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each run of equal values starts, and its length."""
    starts = np.flatnonzero(np.concatenate([[len(values) > 0], values[1:] != values[:-1]]))
    starts = starts[: len(values)]
    return starts, np.diff(np.append(starts, len(values)))


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """Return a table as one batch, also if it has no rows."""
    batches = table.combine_chunks().to_batches()
    if not batches:
        return pa.RecordBatch.from_pylist([], schema=table.schema)
    return batches[0]
