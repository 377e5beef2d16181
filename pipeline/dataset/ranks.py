"""Ranks of pairs in a dataset: which shards a row goes to, and which of its rows a shard keeps."""

import dataclasses

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.dataset.selected import read_selected
from pipeline.engine.parts import Sink
from pipeline.engine.steps import top_bits
from pipeline.engine.units import Unit

MAX_PREFIX_BITS = 19
COUNTS = pa.schema(
    [
        pa.field("prefix", pa.int64(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("image_bytes", pa.int64(), nullable=False),
    ]
)
"""Rows and image bytes by the top bits of the pair id; prefixes without rows are left out."""


def prefix_bits(shards: int) -> int:
    """Return how many bits of the pair id are counted: enough for 8 prefixes a shard."""
    return min(MAX_PREFIX_BITS, max(1, 8 * shards - 1).bit_length())


@dataclasses.dataclass(frozen=True)
class CountPrefixes:
    """The kernel that counts a unit's selected rows by the top bits of their pair ids."""

    bits: int

    def run(self, unit: Unit, sink: Sink) -> None:
        """Write one row per prefix that occurs."""
        rows = np.zeros(1 << self.bits, np.int64)
        image_bytes = np.zeros(1 << self.bits, np.int64)
        for batch in read_selected(unit, ["pair_id", "blob_bytes"]):
            prefixes = top_bits(batch["pair_id"], 1 << self.bits)
            np.add.at(rows, prefixes, 1)
            np.add.at(image_bytes, prefixes, batch["blob_bytes"].to_numpy())
        found = np.flatnonzero(rows)
        columns = [pa.array(values) for values in (found, rows[found], image_bytes[found])]
        sink.write(pa.RecordBatch.from_arrays(columns, schema=COUNTS))


@dataclasses.dataclass(frozen=True)
class Ranks:
    """The ranks that each prefix of the pair ids has, in ascending order of ids."""

    bits: int
    starts: NDArray[np.int64]
    """Shape (2^bits + 1,): the rank of the first row of each prefix; the last is the row count."""
    samples_per_shard: int

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return int(self.starts[-1])

    @property
    def shards(self) -> int:
        """Number of shards; only the last is not full."""
        return -(-self.rows // self.samples_per_shard)

    def shard_range(self, pair_ids: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first and the last shard that each row may be in.

        A prefix whose ranks meet several shards is sent to all of them: its rows' own ranks are
        known only once they are sorted.
        """
        prefixes = top_bits(pair_ids, 1 << self.bits)
        first = self.starts[prefixes] // self.samples_per_shard
        last = (self.starts[prefixes + 1] - 1) // self.samples_per_shard
        return first, last

    def sent(self, shard: int) -> range:
        """Return the ranks of the rows that are sent to a shard: whole prefixes."""
        kept = self.kept(shard)
        if not kept:
            return kept
        low = int(np.searchsorted(self.starts, kept.start, "right")) - 1
        high = int(np.searchsorted(self.starts, kept.stop, "left"))
        return range(int(self.starts[low]), int(self.starts[high]))

    def kept(self, shard: int) -> range:
        """Return the ranks of the rows that a shard keeps."""
        first = shard * self.samples_per_shard
        return range(first, max(first, min(first + self.samples_per_shard, self.rows)))
