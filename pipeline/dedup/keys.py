"""Nodes to rows of the edge shuffle: each probe of a node under each key that another one shares.

Most keys of a hash are its own alone. Which are shared is found beforehand, in one pass over the
nodes, by counting hashes in slots that keys are spread over; a slot with two is sent, the others
cannot make a pair. Measured on hashes with 30 % near-duplicates: a quarter of the rows is sent.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.hashes.bands import Bands
from filters.hashes.matching import Probes
from filters.hashes.perceptual import FLAT
from pipeline.dedup.nodes import NODES, RANK
from pipeline.engine.parts import Sink, one_batch, read_batches
from pipeline.engine.units import Unit
from pipeline.hashes.columns import bytes_of, fixed, keys_of, read_table
from pipeline.hashes.files import published_nodes

PROBES = pa.schema(
    [
        pa.field("band", pa.uint64(), nullable=False),
        pa.field("rank", RANK, nullable=False),
        pa.field("flags", pa.uint8(), nullable=False),
        pa.field("text", pa.uint64(), nullable=False),
        pa.field("hash", pa.binary(64), nullable=False),
        pa.field("chroma", pa.binary(32), nullable=False),
        pa.field("unit", pa.int32(), nullable=False),
        pa.field("home", pa.int32(), nullable=False),
    ]
)
"""A probe under one of its keys. `band` is table * 2^32 + key, `rank` the node's, `unit` the number
of the part of fetch with its best row, `home` that of the part of nodes it is in; both are -1 in a
published set. Sorted by the first three columns, rows have one order."""
SHARED = pa.schema([pa.field("bits", pa.binary(), nullable=False)])
"""One row per table: for each slot whether two hashes have keys in it, eight a byte."""
PROBE_BYTES = 141
TRIMMED = 128
"""Bit in `flags` of a second probe, the image without its borders."""
MIN_SLOT_BITS, MAX_SLOT_BITS = 16, 26
"""Beyond 2^26 slots a table, the fewer rows are saved the more there are: 128 MiB for 16 tables."""
SLOTS_OF_PROBE = 4
_SPREAD = np.uint64(2654435761)  # Knuth's multiplier: 2^32 / golden ratio
_KEY = np.uint64(0xFFFFFFFF)
_FLAT_TABLE = 0


@dataclasses.dataclass(frozen=True)
class NodeProbes:
    """The probes of some nodes."""

    rows: NDArray[np.int64]
    """Shape (n,): the node of each."""
    data: NDArray[np.uint8]
    """Shape (n, 97): hash, chroma, flags."""
    keys: NDArray[np.uint32]
    """Shape (n, tables)."""
    emitted: NDArray[np.bool_]
    """The same shape."""


def node_probes(nodes: pa.RecordBatch, bands: Bands, *, flats: bool) -> NodeProbes:
    """Return the one or two probes of each node with their keys.

    Args:
        nodes: columns of `NODES`.
        bands: how hashes are cut.
        flats: whether flat images have a key as well, of their pixels.
    """
    trimmed = np.flatnonzero(np.array(nodes["trim"].is_valid()))
    second = bytes_of(nodes["trim"].take(pa.array(trimmed)).cast(pa.binary(97))).copy()
    second[:, 96] |= TRIMMED
    columns = [bytes_of(nodes["hash"]), bytes_of(nodes["chroma"])]
    first = np.concatenate([*columns, nodes["flags"].to_numpy()[:, None]], axis=1)
    rows = np.concatenate([np.arange(len(first)), trimmed])
    data = np.concatenate([first, second])
    keys, emitted = bands.of(data[:, :64])
    is_flat = (data[:, 96] & FLAT) != 0
    emitted[is_flat] = False
    if flats and is_flat.any():
        # Four equal digests: the table takes any of its words for the key.
        emitted[is_flat, _FLAT_TABLE] = True
    texts = nodes["text"].to_numpy()
    keys ^= (texts >> np.uint64(32)).astype(np.uint32)[rows, None]
    return NodeProbes(rows, data, keys, emitted)


def slot_bits(probes: int) -> int:
    """Return the bits of a slot number, for four slots a probe."""
    wanted = math.ceil(math.log2(max(1, SLOTS_OF_PROBE * probes)))
    return min(MAX_SLOT_BITS, max(MIN_SLOT_BITS, wanted))


def slots_of(keys: NDArray[np.uint32], bits: int) -> NDArray[np.int64]:
    """Return the slot of each key."""
    spread = (keys.astype(np.uint64) * _SPREAD) & _KEY
    return (spread >> np.uint64(32 - bits)).astype(np.int64)


def count_slots(seen: NDArray[np.uint8], slots: NDArray[np.int64]) -> None:
    """Add hashes to slots, in place; each slot counts to two."""
    values, counts = np.unique(slots, return_counts=True)
    seen[values] = np.minimum(seen[values] + np.minimum(counts, 2), 2)


def is_shared(shared: NDArray[np.uint8], slots: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which slots have their bit set, in bits packed eight a byte."""
    bits = np.uint8(1) << (7 - (slots & 7)).astype(np.uint8)
    return (shared[slots >> 3] & bits) != 0


def probe_rows(
    nodes: pa.RecordBatch, probes: NodeProbes, chosen: NDArray[np.bool_], home: int
) -> pa.RecordBatch:
    """Return probes under their chosen keys, as `PROBES`.

    Args:
        nodes: columns of `NODES`.
        probes: of these nodes.
        chosen: shape (n, tables).
        home: number of the part they are in.
    """
    rows, table = np.nonzero(chosen)
    data = probes.data.take(rows, axis=0)
    taken = nodes.select(["rank", "unit", "text"]).take(pa.array(probes.rows[rows]))
    columns = {
        "band": pa.array(table.astype(np.uint64) << np.uint64(32) | probes.keys[rows, table]),
        "rank": taken["rank"],
        "flags": pa.array(data[:, 96]),
        "text": taken["text"],
        "hash": fixed(data[:, :64]),
        "chroma": fixed(data[:, 64:96]),
        "unit": taken["unit"],
        "home": pa.repeat(pa.scalar(home, pa.int32()), len(rows)),
    }
    return one_batch(pa.table([columns[name] for name in PROBES.names], schema=PROBES))


def as_probes(rows: pa.Table) -> Probes:
    """Return rows of `PROBES` for comparison; ranks of a generation before this run are fixed."""
    return Probes(
        hashes=bytes_of(rows["hash"]),
        chroma=bytes_of(rows["chroma"]),
        flags=rows["flags"].to_numpy(),
        ranks=keys_of(rows["rank"]),
        texts=rows["text"].to_numpy(),
        fixed=rows["home"].to_numpy() < 0,
    )


def table_bits(tables: int) -> int:
    """Return the bits of a table's number."""
    return max(0, tables - 1).bit_length()


def band_buckets(band: NDArray[np.uint64], tables: int, buckets: int) -> NDArray[np.int64]:
    """Return the bucket of each band: the table, then top bits of the spread key.

    Args:
        band: shape (n,), table * 2^32 + key.
        tables: number of tables.
        buckets: a power of two.
    """
    mixed = (band & ~_KEY) | ((band & _KEY) * _SPREAD & _KEY)
    bits = (buckets - 1).bit_length()
    return (mixed >> np.uint64(32 + table_bits(tables) - bits)).astype(np.int64)


def pass_tables(tables: int, number: int, passes: int) -> slice:
    """Return the tables of which a pass has keys.

    Args:
        tables: number of tables.
        number: of the pass.
        passes: a power of two.
    """
    padded = 1 << table_bits(tables)
    return slice(number * padded // passes, -(-(number + 1) * padded // passes))


@dataclasses.dataclass(frozen=True)
class FindShared:
    """All nodes to the keys that two of them share."""

    bands: Bands
    probes: int
    """Number of probes, for the number of slots."""
    flats: bool
    """Whether flat images are compared: with those of published sets."""
    skipped: tuple[tuple[int, int], ...]
    """Tables and keys that are left out as saying nothing."""

    def run(self, unit: Unit, sink: Sink) -> None:
        """Count the hashes in each slot, then the rows that will be sent."""
        bits = slot_bits(self.probes)
        seen = np.zeros((self.bands.tables, 1 << bits), np.uint8)
        # Published hashes come last: they meet new ones, not each other.
        for source in sorted(unit.sources, key=lambda source: source.role == "store"):
            for slots, table in self._slots(source.path, source.role, bits):
                if source.role == "store":
                    seen[table, slots] = np.where(seen[table, slots] > 0, 2, 0)
                else:
                    count_slots(seen[table], slots)
        shared = np.packbits(seen == 2, axis=1)
        del seen
        sink.write(pa.RecordBatch.from_arrays([pa.array(list(map(bytes, shared)))], schema=SHARED))
        sent = [0] * self.bands.tables
        for source in unit.sources:
            for slots, table in self._slots(source.path, source.role, bits):
                sent[table] += int(np.count_nonzero(is_shared(shared[table], slots)))
        sink.note("sent", sent)

    def _slots(self, path: str, role: str, bits: int) -> Iterator[tuple[NDArray[np.int64], int]]:
        for nodes in read_nodes(path, role):
            probes = node_probes(nodes, self.bands, flats=self.flats)
            emitted = without(probes.keys, probes.emitted, self.skipped)
            for table in range(self.bands.tables):
                yield slots_of(probes.keys[emitted[:, table], table], bits), table


def without(
    keys: NDArray[np.uint32], emitted: NDArray[np.bool_], skipped: Sequence[tuple[int, int]]
) -> NDArray[np.bool_]:
    """Return which keys are emitted but for those that say nothing."""
    for table, key in skipped:
        emitted = emitted.copy()
        emitted[:, table] &= keys[:, table] != key
    return emitted


@functools.lru_cache(maxsize=1)
def shared_bits(path: str) -> list[NDArray[np.uint8]]:
    """Return the rows of `SHARED`, read once a process."""
    return [np.frombuffer(bits.as_py(), np.uint8) for bits in read_table(path)["bits"]]


def read_nodes(path: str, role: str) -> Iterator[pa.RecordBatch]:
    """Yield the nodes of a part, or the hashes of a published set as nodes."""
    return published_nodes(path) if role == "store" else read_batches(path, NODES.names)
