"""Columns of fixed-size bytes as numpy arrays and back, without a copy where it can be."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.engine import files

Keys = NDArray[np.bytes_]
"""Fixed-size bytes that sort and compare as bytes do. Equal sizes make numpy's blind eye for zero
bytes at the end harmless."""


def bytes_of(column: pa.Array | pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return a fixed-size binary column as shape (rows, width); nulls give any bytes."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    width = array.type.byte_width
    buffer = array.buffers()[1]
    if buffer is None or not buffer.size:
        return np.zeros((len(array), width), np.uint8)
    data = np.frombuffer(buffer, np.uint8)
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


def find(among: Keys, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the place of each key among sorted ones, and whether it is there."""
    if not len(among):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.bool_)
    place = np.minimum(np.searchsorted(among, keys), len(among) - 1)
    return place, among[place] == keys


def read_table(path: str, columns: list[str] | None = None) -> pa.Table:
    """Return the rows of a file of a step, all at once."""
    with files.open_read(path) as file:
        return pq.read_table(file, columns=columns)
