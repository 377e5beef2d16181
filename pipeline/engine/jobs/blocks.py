"""Rows on their way through a shuffle: packed blocks of one bucket, checked on arrival."""

import struct
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from manifests.base.errors import AccountingError, OpenwitError
from pipeline.engine.steps import Packet, ShuffleStep

MAGIC = b"OWB2"
HEAD = struct.Struct("<4sIIIII40s")
"""Magic, crc32 of all that follows it, number of the tag, sequence number, rows, bytes of them as
Arrow has them, unit id."""
CODEC = pa.Codec("zstd", 1)
"""Rows of texts and URLs pass through the driver in a fifth of their bytes, at 0.5 GB a second."""
BLOCK_BYTES = 1 << 20
"""A block is cut in two while it is larger and has two rows; Beam flushes at 10 MB (read)."""
HELD_BYTES = 16 << 20
"""Rows that an emitter holds before it packs them, which takes a sorted copy of them."""


def pack(
    packets: Iterable[Packet],
    unit: str,
    schemas: Mapping[str, pa.Schema],
    sent: Mapping[str, NDArray[np.int64]],
) -> Iterator[tuple[int, bytes]]:
    """Yield a unit's rows as (bucket, block).

    Args:
        packets: what the kernel emits.
        unit: the id of the emitting unit, at most 40 bytes.
        schemas: the schema of each tag.
        sent: for each tag, shape (buckets,): rows per bucket; added to in place.

    Raises:
        OpenwitError: if a packet's schema or buckets are not what the step says.
    """
    held: dict[str, list[Packet]] = {}
    held_bytes = sequence = 0
    for packet in packets:
        _check(packet, schemas, len(sent[packet.tag]) if packet.tag in sent else 0)
        held.setdefault(packet.tag, []).append(packet)
        held_bytes += packet.batch.nbytes
        if held_bytes >= HELD_BYTES:
            sequence = yield from _flush(held, unit, sorted(schemas), sent, sequence)
            held_bytes = 0
    yield from _flush(held, unit, sorted(schemas), sent, sequence)


def unpack(
    blocks: Iterable[bytes], step: ShuffleStep, most_bytes: int, place: str
) -> dict[str, list[pa.RecordBatch]]:
    """Return one bucket's rows by tag, in an order that does not depend on that of the blocks.

    Args:
        blocks: in any order, each any number of times.
        step: the shuffle, for the schemas of its tags.
        most_bytes: payload above which the bucket is refused.
        place: the bucket's name in messages.

    Raises:
        AccountingError: if a block was changed on its way.
        OpenwitError: if the bucket is too large.
    """
    tags = sorted(step.schemas)
    found: dict[tuple[int, bytes, int], tuple[int, memoryview]] = {}
    for block in blocks:
        magic, crc, tag, sequence, rows, size, unit = HEAD.unpack_from(block)
        if magic != MAGIC or crc != zlib.crc32(memoryview(block)[8:]):
            raise AccountingError(f"{place}: shuffle lost or changed {rows} rows: a block is torn")
        found[tag, unit, sequence] = size, memoryview(block)[HEAD.size :]
    batches: dict[str, list[pa.RecordBatch]] = {tag: [] for tag in tags}
    for (tag, _, _), (size, packed) in sorted(found.items()):
        name, body = tags[tag], CODEC.decompress(packed, size)
        batches[name].append(pa.ipc.read_record_batch(body, step.schemas[name]))
    payload = sum(size for size, _ in found.values())
    if payload > most_bytes:
        raise OpenwitError(
            f"{place}: {payload} bytes, at most {most_bytes} fit: {_heaviest(batches, step)}"
        )
    return batches


def _check(packet: Packet, schemas: Mapping[str, pa.Schema], buckets: int) -> None:
    if packet.tag not in schemas or packet.batch.schema != schemas[packet.tag]:
        raise OpenwitError(
            f"emitted {packet.tag!r}: {packet.batch.schema.names}: the step says "
            f"{ {tag: schema.names for tag, schema in schemas.items()} }"
        )
    inside = (packet.buckets >= 0) & (packet.buckets < buckets)
    if len(packet.buckets) != packet.batch.num_rows or not inside.all():
        raise OpenwitError(f"emitted {packet.tag!r}: a bucket is not 0 to {buckets - 1}")


def _flush(
    held: dict[str, list[Packet]],
    unit: str,
    tags: Sequence[str],
    sent: Mapping[str, NDArray[np.int64]],
    sequence: int,
) -> Generator[tuple[int, bytes], None, int]:
    """Yield the blocks of what is held, and hold it no more."""
    for tag in tuple(held):
        buckets = np.concatenate([packet.buckets for packet in held[tag]])
        narrow = buckets.astype(np.min_scalar_type(len(sent[tag])))  # sorts 6 times as fast
        order = np.argsort(narrow, kind="stable")
        counts = np.bincount(buckets, minlength=len(sent[tag]))
        # No name is left for the rows as they came: they are freed before the copy is made.
        batch = pa.concat_batches([packet.batch for packet in held.pop(tag)]).take(pa.array(order))
        start = 0
        for bucket in np.flatnonzero(counts).tolist():
            for part in _cut(batch.slice(start, int(counts[bucket]))):
                yield bucket, _encode(part, tags.index(tag), sequence, unit)
                sequence += 1
            start += int(counts[bucket])
        sent[tag][:] += counts
    return sequence


def _cut(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.nbytes <= BLOCK_BYTES or batch.num_rows < 2:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _cut(batch.slice(0, half))
    yield from _cut(batch.slice(half))


def _encode(batch: pa.RecordBatch, tag: int, sequence: int, unit: str) -> bytes:
    body = batch.serialize()
    packed = CODEC.compress(body)
    tail = HEAD.pack(MAGIC, 0, tag, sequence, batch.num_rows, body.size, unit.encode())[8:]
    crc = zlib.crc32(packed, zlib.crc32(tail))
    return b"".join((MAGIC, struct.pack("<I", crc), tail, packed))


def _heaviest(batches: Mapping[str, Sequence[pa.RecordBatch]], step: ShuffleStep) -> str:
    """Name the value that most rows share in the first sort key of the largest tag."""
    tag = max(batches, key=lambda name: sum(batch.nbytes for batch in batches[name]))
    key = step.sort_keys[tag][0]
    column = pa.Table.from_batches(batches[tag])[key]
    counts = pc.value_counts(column)
    top = counts[pc.index(counts.field("counts"), pc.max(counts.field("counts"))).as_py()].as_py()
    return (
        f"its heaviest {key} is {top['values']!r}, {top['counts']} of {len(column)} {tag} rows: "
        "raise engine.bucket_bytes or drop that key earlier"
    )
