"""Finished shards of img2dataset: the Parquet file of each says where its images are, or why not.

Three of its layouts are read, told apart by what is there: tars (`webdataset`), folders (`files`),
and images in the Parquet file itself (`parquet`).
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from filters.verdict import Drop, DropReason
from manifests.base.errors import OpenwitError
from manifests.format.tar import parse_header
from pipeline.engine import files
from pipeline.fetch.img2dataset.messages import failure

IMAGE_NAMES = ("jpg", "png", "webp")
"""Its `encode_format`: the last name of a file, or the column of the layout `parquet`."""
_BLOCK = 512
_COLUMNS = ("key", "status", "error_message", "sha256", "original_width", "original_height")
_REGULAR = (b"0", b"\0")


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """An image of a shard, and what its row says of the download."""

    body: bytes
    original_sha256: bytes | None
    original_width: int | None
    original_height: int | None


class _Bodies(Protocol):
    def find(self, key: str, row: int) -> bytes | None:
        """Return the bytes of an image, or None if it is not there."""


class Shard:
    """One shard, open; its rows are told by their numbers in the Parquet file."""

    def __init__(self, table: pa.Table, bodies: _Bodies) -> None:
        """Made by `open_shard`."""
        self._table = table
        self._bodies = bodies

    def image(self, row: int) -> Found | Drop:
        """Return the image of a row, or why there is none."""
        values = {name: column[row].as_py() for name, column in self._table_columns()}
        drop = failure(values.get("status"), values.get("error_message"))
        if drop is not None:
            return drop
        body = self._bodies.find(str(values["key"]), row)
        if body is None:
            return Drop(DropReason.ARCHIVE_RECORD, f"no image {values['key']}")
        return Found(
            body,
            _digest(values.get("sha256")),
            values.get("original_width"),
            values.get("original_height"),
        )

    def _table_columns(self) -> Iterator[tuple[str, Any]]:
        return zip(self._table.schema.names, self._table.columns, strict=True)


@contextlib.contextmanager
def open_shard(path: str) -> Iterator[Shard]:
    """Open a shard by the path of its Parquet file.

    Raises:
        OpenwitError: if it is another Parquet file.
        OSError, pa.ArrowException: if it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        parquet = pq.ParquetFile(stack.enter_context(files.open_read(path)))
        names = parquet.schema_arrow.names
        if "key" not in names:
            raise OpenwitError(f"{path}: has no column key: it is not of img2dataset, take it out")
        table = parquet.read([column for column in _COLUMNS if column in names])
        column = next((each for each in IMAGE_NAMES if each in names), None)
        stem = path.removesuffix(".parquet")
        bodies: _Bodies
        if column:
            bodies = _Rows(parquet, column)
        elif files.size_bytes(f"{stem}.tar") is not None:
            bodies = _Tar(stack.enter_context(files.open_read(f"{stem}.tar")))
        else:
            bodies = _Folder(stem)
        yield Shard(table, bodies)


class _Rows:
    """The layout `parquet`; one row group is held at a time."""

    def __init__(self, parquet: pq.ParquetFile, column: str) -> None:
        self._parquet = parquet
        self._column = column
        sizes = [
            parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)
        ]
        self._starts = [sum(sizes[:group]) for group in range(len(sizes) + 1)]
        self._group = -1
        self._held: Any = None

    def find(self, key: str, row: int) -> bytes | None:
        group = next(each for each in range(len(self._starts)) if row < self._starts[each + 1])
        if group != self._group:
            self._group = group
            self._held = self._parquet.read_row_group(group, [self._column])[self._column]
        body: bytes | None = self._held[row - self._starts[group]].as_py()
        return body


class _Tar:
    """The layout `webdataset`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._members = dict(_members(file))

    def find(self, key: str, row: int) -> bytes | None:
        place = self._members.get(key)
        if place is None:
            return None
        offset, size = place
        self._file.seek(offset)
        body = self._file.read(size)
        return body if len(body) == size else None


class _Folder:
    """The layout `files`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def find(self, key: str, row: int) -> bytes | None:
        for ext in IMAGE_NAMES:
            path = files.join(self._path, f"{key}.{ext}")
            if "/" not in key and files.size_bytes(path) is not None:
                return files.read_bytes(path)
        return None


def _members(file: IO[bytes]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield key, offset and size of the images of a tar; one that ends early gives what it has."""
    offset = 0
    while len(block := file.read(_BLOCK)) == _BLOCK and block.count(0) < _BLOCK:
        name, size, kind, is_whole = parse_header(block)
        if not is_whole:
            return
        offset += _BLOCK
        path = pathlib.PurePosixPath(name)
        if kind in _REGULAR and path.suffix.removeprefix(".") in IMAGE_NAMES:
            yield path.stem, (offset, size)
        offset += -(-size // _BLOCK) * _BLOCK
        file.seek(offset)


def _digest(text: object) -> bytes | None:
    try:
        found = bytes.fromhex(str(text)) if text else b""
    except ValueError:
        return None
    return found if len(found) == 32 else None
