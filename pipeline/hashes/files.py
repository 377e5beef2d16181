"""The file of a set's hashes: what is in it, how it is written, read and checked.

One row per image and variant, sorted by set, item and variant; no image inside. The metadata names
the kind of the set, the hash version, and a digest of the rows.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filters.hashes.perceptual import FLAT, HashRecord
from filters.hashes.rank import PUBLISHED, rank_keys
from manifests.base.errors import RefusedError
from manifests.format.table import TableWriter
from pipeline.engine import files
from pipeline.hashes.columns import bytes_of, fixed

HASHES = pa.schema(
    [
        pa.field("set", pa.string(), nullable=False),
        pa.field("item", pa.string(), nullable=False),
        pa.field("variant", pa.string(), nullable=False),
        pa.field("dedup_hash", pa.binary(64), nullable=False),
        pa.field("dedup_chroma", pa.binary(32), nullable=False),
        pa.field("dedup_quality", pa.uint8(), nullable=False),
        pa.field("dedup_flags", pa.uint8(), nullable=False),
        ("dedup_pixels", pa.binary(16)),
        ("sha256", pa.binary(32)),
        ("phash", pa.string()),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ]
)
"""`variant` is id, trim, mirror or mirror_trim; `sha256` that of the image file, if it is known."""
VARIANTS = ("id", "mirror", "mirror_trim", "trim")
KINDS = ("eval", "block", "published")
_KEY = b"openwit-hashes"
_TRIM_BYTES = (64, 96)
BATCH_ROWS = 65_536


@dataclasses.dataclass(frozen=True, kw_only=True)
class HashFile:
    """What a hash file says of itself."""

    path: str
    kind: str
    hash_version: str
    images: int
    flats: int
    bad: int
    """Images that could not be read when it was made."""
    rows: int
    digest: str
    """Of the rows, 64 hexadecimal digits."""


def variant_rows(record: HashRecord, *, mirrored: bool = False) -> Iterator[dict[str, object]]:
    """Yield the rows of one record: the image, and the same without its borders.

    Args:
        record: of the image or its mirror image.
        mirrored: whether it is the mirror image.
    """
    name = "mirror" if mirrored else "id"
    yield {
        "variant": name,
        "dedup_hash": record.hash,
        "dedup_chroma": record.chroma,
        "dedup_quality": record.quality,
        "dedup_flags": record.flags,
        "dedup_pixels": record.pixels,
        "phash": record.phash,
    }
    if record.trim is not None:
        hash_end, chroma_end = _TRIM_BYTES
        yield {
            "variant": "mirror_trim" if mirrored else "trim",
            "dedup_hash": record.trim[:hash_end],
            "dedup_chroma": record.trim[hash_end:chroma_end],
            "dedup_quality": record.quality,
            "dedup_flags": record.trim[chroma_end],
        }


def write_hashes(path: str, table: pa.Table, *, kind: str, hash_version: str, bad: int) -> HashFile:
    """Write a hash file, whole or not at all.

    Args:
        path: where to.
        table: columns of `HASHES`, in any order; all of it is in memory, about 250 bytes a row.
        kind: one of `KINDS`.
        hash_version: of all rows.
        bad: images that could not be read.
    """
    by = [(name, "ascending") for name in ("set", "item", "variant")]
    table = table.sort_by(by).combine_chunks()
    is_image = pc.is_in(table["variant"], pa.array(["id"]))
    flat = pc.not_equal(pc.bit_wise_and(table["dedup_flags"], FLAT), 0)
    described = HashFile(
        path=path,
        kind=kind,
        hash_version=hash_version,
        images=pc.sum(is_image).as_py() or 0,
        flats=pc.sum(pc.and_(is_image, flat)).as_py() or 0,
        bad=bad,
        rows=table.num_rows,
        digest=_digest(table.to_batches(BATCH_ROWS)),
    )
    values = {name: value for name, value in vars_of(described).items() if name != "path"}
    schema = HASHES.with_metadata({_KEY: json.dumps(values, sort_keys=True).encode()})
    with files.new_file(path.rpartition("/")[0] or ".") as file:
        writer = TableWriter(file, schema, dictionary=["set", "variant"])
        for batch in table.to_batches():
            writer.write(batch)
        writer.close()
        file.publish(path)
    return described


def vars_of(described: HashFile) -> dict[str, object]:
    """Return what a hash file says of itself as JSON values."""
    return dataclasses.asdict(described)


def describe(path: str) -> HashFile:
    """Return what a hash file says of itself.

    Raises:
        RefusedError: if it is missing, empty, or no hash file.
    """
    try:
        with files.open_read(path) as file:
            parquet = pq.ParquetFile(file)
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
    except FileNotFoundError:
        raise RefusedError(f"{path}: no such file: make it with openwit-pipeline hashes") from None
    except (OSError, pa.ArrowException) as error:
        raise RefusedError(f"{path}: not a hash file: {_first_line(error)}") from None
    if not schema.equals(HASHES):
        raise RefusedError(f"{path}: not a hash file: its columns are {', '.join(schema.names)}")
    try:
        values: Mapping[str, object] = json.loads((schema.metadata or {})[_KEY])
        described = HashFile(path=path, **values)  # type: ignore[arg-type]
    except (KeyError, ValueError, TypeError):
        raise RefusedError(f"{path}: not a hash file: its metadata is missing") from None
    if described.kind not in KINDS or described.rows != rows or not rows:
        raise RefusedError(
            f"{path}: kind {described.kind}, {rows} rows: a hash file is of the kind "
            f"{', '.join(KINDS)}, says {described.rows} rows, and is not empty: make it again"
        )
    return described


def read_hashes(path: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a hash file in order, in batches."""
    with files.open_read(path) as file:
        yield from pq.ParquetFile(file).iter_batches(BATCH_ROWS)


def faults(path: str) -> list[str]:
    """Return what is wrong with a hash file: its columns, order, metadata or digest.

    Raises:
        RefusedError: if it is missing.
    """
    try:
        described = describe(path)
    except RefusedError as error:
        if files.size_bytes(path) is None:
            raise
        return [str(error)]
    found, last = [], ("", "", "")
    for batch in read_hashes(path):
        columns = (batch[name].to_pylist() for name in ("set", "item", "variant"))
        for row in zip(*columns, strict=True):
            if row <= last:
                found.append(f"{path}: {'/'.join(row)} comes after {'/'.join(last)}: not sorted")
                break
            last = row
        unknown = sorted(set(batch["variant"].to_pylist()) - set(VARIANTS))
        found.extend(f"{path}: variant {name}: known are {', '.join(VARIANTS)}" for name in unknown)
    if _digest(read_hashes(path)) != described.digest:
        found.append(f"{path}: its rows are not those it was written with: make it again")
    return found[:10]


def published_nodes(path: str) -> Iterator[pa.RecordBatch]:
    """Yield a published set's hashes as nodes of an earlier generation, a row a probe."""
    for batch in read_hashes(path):
        ids = np.frombuffer(bytes.fromhex("".join(batch["item"].to_pylist())), np.uint8)
        sides = np.minimum(batch["width"].to_numpy(), batch["height"].to_numpy())
        scores = np.zeros(len(sides), np.uint8)
        ranks = rank_keys(ids.reshape(-1, 16), sides, scores, generation=PUBLISHED)
        hashes, chroma, flags = compared(batch)
        trimmed = pc.equal(batch["variant"], "trim").to_numpy(zero_copy_only=False)
        minus = pa.repeat(pa.scalar(-1, pa.int32()), len(sides))
        yield pa.RecordBatch.from_pydict(
            {
                "rank": fixed(ranks),
                "unit": minus,
                "text": pa.array(np.zeros(len(sides), np.uint64)),
                "hash": fixed(hashes),
                "chroma": fixed(chroma),
                "flags": pa.array(flags | np.where(trimmed, 128, 0).astype(np.uint8)),
                "trim": pa.nulls(len(sides), pa.binary()),
            }
        )


def compared(
    batch: pa.RecordBatch,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return hashes, colours and flags as they are compared: a flat image is its pixels' digest."""
    hashes, chroma = bytes_of(batch["dedup_hash"]).copy(), bytes_of(batch["dedup_chroma"]).copy()
    flags = batch["dedup_flags"].to_numpy().copy()
    flat = (flags & FLAT) != 0
    hashes[flat] = np.tile(bytes_of(batch["dedup_pixels"])[flat], 4)
    chroma[flat] = 0
    flags[flat] = FLAT
    return hashes, chroma, flags


def _digest(batches: Iterable[pa.RecordBatch]) -> str:
    """Return a digest of rows, whatever the cut into batches."""
    digests = {name: [hashlib.sha256() for _ in range(3)] for name in HASHES.names}
    for batch in batches:
        for name, (valid, lengths, data) in digests.items():
            column = batch[name]
            is_valid = np.array(column.is_valid())
            valid.update(is_valid.tobytes())
            if pa.types.is_string(column.type):
                filled = column.fill_null("")
                lengths.update(pc.binary_length(filled).to_numpy().tobytes())
                data.update("".join(filled.to_pylist()).encode())
            elif pa.types.is_fixed_size_binary(column.type):
                data.update((bytes_of(column) * is_valid[:, None]).tobytes())
            else:
                data.update(column.to_numpy().tobytes())
    whole = hashlib.sha256()
    for each in (digest for three in digests.values() for digest in three):
        whole.update(each.digest())
    return whole.hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
