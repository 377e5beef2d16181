"""One unit's located pairs to a blob of images and one row a pair."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filters.hashes.perceptual import self_test
from filters.verdict import Drop, DropReason
from pipeline.engine.parts import Blob, Sink, read_batches
from pipeline.engine.units import Unit
from pipeline.fetch.image import Prepared, prepare
from pipeline.fetch.locate import LOCATED, dropped
from pipeline.fetch.settings import FetchSettings
from pipeline.fetch.sources import ArchiveSource, open_archives
from pipeline.records import FETCHED

Blocked = Callable[[bytes], str | None]
"""Names the block list that holds the sha256 of a body as received; None if none does."""
_ERROR_CHARACTERS = 500

_CONSTANTS = {
    "attempts": 1,
    "ip": None,
    "etag": None,
    "last_modified": None,
}
_NAMED = ("image_source", "blob")
_IMAGE = pa.schema(
    [field for field in FETCHED if field.name not in {*LOCATED.names, *_CONSTANTS, *_NAMED}]
)
"""The columns that are equal for all pairs of one image."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollectKernel:
    """Read each record once, prepare its image, and write a row for each pair that shows it.

    The rows of a part are sorted by pair id; a blob holds its images in the order of their records,
    by file and offset, and equal bytes once.
    """

    settings: FetchSettings
    base: str
    """The folder or URI below which the input files lie; no output depends on it."""
    blocked: Blocked | None = None

    def run(self, unit: Unit, sink: Sink) -> None:
        """Fetch the images of one part of located pairs."""
        table = _by_record(unit)
        sink.rows_in(table.num_rows)
        images = Images(sink)
        verdicts: list[Drop | None] = []
        numbers: list[int] = []
        with open_archives(self.base, self.settings.max_bytes) as source:
            for start, stop in _runs(table):
                verdicts += self._fetched(source, table.slice(start, stop - start), images)
                numbers += [len(images.rows) - 1] * (stop - start)
        lost = {row: verdict for row, verdict in enumerate(verdicts) if verdict is not None}
        sink.drop(dropped(table, lost))
        keep = pa.array([verdict is None for verdict in verdicts], pa.bool_())
        kept = table.filter(keep)
        if kept.num_rows:
            blob = images.close()
            chosen = pa.array(numbers, pa.int64()).filter(keep)
            sink.write(fetched_rows(kept, chosen, images.rows, blob, source="archive"))

    def _fetched(
        self, source: ArchiveSource, pairs: pa.Table, images: "Images"
    ) -> list[Drop | None]:
        """Read one record and store its image; return the verdict of each of its pairs."""
        name, offset, length = (
            pairs[column][0].as_py() for column in ("image_file", "image_record", "image_length")
        )
        body = source.body(name, offset, length)
        if isinstance(body, Drop):
            return [body] * pairs.num_rows
        verdicts = _mismatches(body, pairs)
        if None not in verdicts:
            return verdicts
        digest = hashlib.sha256(body).digest()
        prepared = prepared_or_dropped(body, digest, self.settings, self.blocked)
        if isinstance(prepared, Drop):
            return [verdict or prepared for verdict in verdicts]
        images.add(prepared, len(body), {"original_sha256": digest})
        return verdicts


class Images:
    """The images of a unit: their bytes in its blob, their columns in `rows`."""

    def __init__(self, sink: Sink) -> None:
        self.rows: list[dict[str, Any]] = []
        self._sink = sink
        self._blob: Blob | None = None
        self._offsets: dict[bytes, int] = {}
        self._hash_version = self_test()

    def add(self, image: Prepared, original_bytes: int, original: Mapping[str, Any]) -> None:
        """Store an image, unless the blob holds its bytes already, and append its columns.

        Args:
            image: what is stored.
            original_bytes: of its body.
            original: its digest, and columns that are better known than from the body.
        """
        if self._blob is None:
            self._blob = self._sink.open_blob()
        offset = self._offsets.get(image.sha256)
        if offset is None:
            offset = self._offsets[image.sha256] = self._blob.append(image.stored)
        columns = image_columns(image, original_bytes, self._hash_version)
        self.rows.append({**columns, **original, "blob_offset": offset})

    def close(self) -> str:
        """Publish the blob and return its name."""
        return self._blob.close() if self._blob is not None else ""


def image_columns(image: Prepared, original_bytes: int, hash_version: str) -> dict[str, Any]:
    """Return the columns of `FETCHED` that follow from an image, but for its place."""
    return {
        "original_format": image.original_format,
        "original_bytes": original_bytes,
        "original_width": image.original_width,
        "original_height": image.original_height,
        "animated": image.is_animated,
        "width": image.width,
        "height": image.height,
        "sha256": image.sha256,
        "reencoded": image.reencoded,
        "blob_bytes": len(image.stored),
        "image_flags": list(image.flags),
        "dedup_hash": image.hashes.hash,
        "dedup_chroma": image.hashes.chroma,
        "dedup_quality": image.hashes.quality,
        "dedup_flags": image.hashes.flags,
        "dedup_trim": image.hashes.trim,
        "dedup_pixels": image.hashes.pixels,
        "phash": image.hashes.phash,
        "hash_version": hash_version,
    }


def _by_record(unit: Unit) -> pa.Table:
    """Return the unit's pairs sorted by record, then pair id."""
    source = unit.source("part")
    batches = list(read_batches(source.path)) if source is not None else []
    return pa.Table.from_batches(batches, schema=LOCATED).sort_by(
        [("image_file", "ascending"), ("image_record", "ascending"), ("pair_id", "ascending")]
    )


def _runs(table: pa.Table) -> Iterator[tuple[int, int]]:
    """Yield the row ranges of equal records."""
    names = table["image_file"].to_pylist()
    offsets = table["image_record"].to_pylist()
    start = 0
    for row in range(1, len(names) + 1):
        if row == len(names) or (names[row], offsets[row]) != (names[start], offsets[start]):
            yield start, row
            start = row


def _mismatches(body: bytes, pairs: pa.Table) -> list[Drop | None]:
    """Return a drop for each pair whose list names another digest than the body's."""
    verdicts: list[Drop | None] = [None] * pairs.num_rows
    for column, algorithm in (("expect_sha256", "sha256"), ("expect_md5", "md5")):
        if pairs[column].null_count == pairs.num_rows:
            continue
        digest = hashlib.new(algorithm, body, usedforsecurity=False).digest()
        for row, expected in enumerate(pairs[column].to_pylist()):
            if expected is not None and expected != digest:
                verdicts[row] = Drop(DropReason.HASH_MISMATCH, f"{algorithm}:{digest.hex()}")
    return verdicts


def prepared_or_dropped(
    body: bytes, original_sha256: bytes, settings: FetchSettings, blocked: Blocked | None
) -> Prepared | Drop:
    """Return what is stored of a body, or why not; an exception nobody expected is a drop, too.

    What a list blocks is not even decoded.
    """
    name = blocked(original_sha256) if blocked else None
    if name is not None:
        return Drop(DropReason.BLOCKED_SHA256, name)
    try:
        return prepare(body, settings)
    except MemoryError:
        raise
    except Exception as error:  # one image must not stop a unit; the engine stops at many
        text = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
        return Drop(DropReason.INTERNAL_ERROR, text)


def fetched_rows(
    pairs: pa.Table, numbers: pa.Array, image_rows: list[dict[str, Any]], blob: str, *, source: str
) -> pa.RecordBatch:
    """Return `FETCHED` rows sorted by pair id.

    Args:
        pairs: `LOCATED`.
        numbers: which image is each pair's.
        image_rows: the columns of the images.
        blob: the name of the file that holds them.
        source: the column `image_source`.
    """
    images = pa.Table.from_pylist(image_rows, schema=_IMAGE).take(numbers)
    constants = {**_CONSTANTS, "image_source": source, "blob": blob}
    columns = []
    for field in FETCHED:
        if field.name in constants:
            scalar = pa.scalar(constants[field.name], field.type)
            columns.append(pa.repeat(scalar, pairs.num_rows))
        else:
            table = pairs if field.name in LOCATED.names else images
            columns.append(table[field.name])
    table = pa.Table.from_arrays(columns, schema=FETCHED)
    ordered = table.take(pc.sort_indices(table["pair_id"])).combine_chunks()
    return ordered.to_batches()[0]
