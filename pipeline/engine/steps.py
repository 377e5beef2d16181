"""What a stage gives the engine: steps, and the kernels that do their work. No Beam here.

A stage runs one or more steps; each step is one Beam job with a committed directory. A map step
turns each unit into files of its own. A shuffle step cuts the rows of all units into buckets and
turns each bucket into files. Kernels are frozen dataclasses of settings in importable modules:
Beam pickles them.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.engine.parts import Sink
from pipeline.engine.units import Unit


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """Rows on their way to buckets."""

    tag: str
    """Which of the step's inputs they are; a reducer gets one table for each tag."""
    buckets: NDArray[np.int64]
    """Shape (rows,), 0 to the step's number of buckets minus 1."""
    batch: pa.RecordBatch


class MapKernel(Protocol):
    """The work of a map step."""

    def run(self, unit: Unit, sink: Sink) -> None:
        """Read the unit's sources and write rows, drops and notes to `sink`."""


class ShuffleKernel(Protocol):
    """The work of a shuffle step."""

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Yield the unit's rows with their buckets."""

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Turn one bucket, each tag's rows sorted as the step says, into files."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Step:
    name: str
    """The step's directory is `<name>-<spec12>`; the last step of a stage has the stage's name."""
    stage: str
    """The stage in whose funnel its drops count."""
    version: int
    """Raised by hand when output bytes may change."""
    parameters: Mapping[str, Any]
    """JSON values; everything that can change output bytes, and nothing else."""
    outputs: Mapping[str, pa.Schema]
    """Schema of each role that the kernel writes; the role `part` holds the rows that go on."""
    accounts: bool = True
    """Whether rows in = rows out + drops must hold; False for steps that count other things."""
    content_names: bool = False
    """Whether part names carry a digest of their content: for steps that ask the network."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapStep(_Step):
    """Each unit by itself; adding a unit redoes no other."""

    kernel: MapKernel


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShuffleStep(_Step):
    """All units cut into `buckets`; another set of units makes another generation of parts."""

    kernel: ShuffleKernel
    buckets: int
    sort_keys: Mapping[str, Sequence[str]]
    """For each tag its schema's columns, by which a reducer's rows are in one order only."""
    schemas: Mapping[str, pa.Schema]
    """The schema of each tag's rows."""


def bucket_count(rows: int, row_bytes: int, bucket_bytes: int) -> int:
    """Return the number of buckets: the smallest power of two that keeps a mean bucket in bounds.

    It depends on the rows alone, never on memory or workers.
    """
    wanted = max(1, -(-rows * row_bytes // bucket_bytes))
    return 1 << (wanted - 1).bit_length()


def top_bits(keys: pa.Array, buckets: int) -> NDArray[np.int64]:
    """Return the bucket of each key: the top bits of its first 4 bytes, so buckets are key ranges.

    Args:
        keys: fixed-size binary of at least 4 bytes, without nulls; uniform (ids or hashes).
        buckets: a power of two, at most 2^31.
    """
    bits = (buckets - 1).bit_length()
    if not bits:
        return np.zeros(len(keys), np.int64)
    return leading(keys, np.dtype(">u4")).astype(np.int64) >> (32 - bits)


def leading(keys: pa.Array, kind: np.dtype[Any]) -> NDArray[Any]:
    """Return the first bytes of each key as a number; such numbers are in the keys' own order.

    Args:
        keys: fixed-size binary, without nulls, at least as wide as `kind`.
        kind: a big-endian unsigned integer.
    """
    width = keys.type.byte_width
    data = np.frombuffer(
        keys.buffers()[1], np.uint8, count=len(keys) * width, offset=keys.offset * width
    )
    head = data.reshape(-1, width)[:, : kind.itemsize]
    return np.ascontiguousarray(head).view(kind).reshape(-1)
