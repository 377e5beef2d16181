"""Bytes of plain, gzip and bzip2 files, told apart by how they begin."""

import bz2
import zlib
from collections.abc import Iterator
from typing import IO, Any

from manifests.base import storage
from manifests.base.errors import OpenwitError, RefusedError

READ_BYTES = 1 << 18
INFLATED_BYTES = 1 << 22
"""Most decompressed bytes held at once."""
_XML_STARTS = (b"<", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00<")


class TruncatedError(OpenwitError):
    """A file that ends before its container or its XML does."""


class Inflater:
    """Yields the bytes of a plain, gzip or bzip2 file, all members and streams of it."""

    def __init__(self, path: str, *, xml: bool = False) -> None:
        """Open nothing yet; with `xml`, a plain file must begin like XML."""
        self._path = path
        self._xml = xml
        self._position = 0

    @property
    def position(self) -> int:
        """Bytes of the file read so far."""
        return self._position

    def __iter__(self) -> Iterator[bytes]:
        """Yield blocks of at most `INFLATED_BYTES`.

        Raises:
            RefusedError: if the container is unknown.
            TruncatedError: if the file ends inside its container.
            OpenwitError: if compressed data is damaged.
        """
        try:
            with storage.open_read(self._path) as file:
                yield from self._blocks(file)
        except FileNotFoundError:
            raise RefusedError(f"{self._path}: no such file: check [queries]") from None

    def _blocks(self, file: IO[bytes]) -> Iterator[bytes]:
        head = self._read(file)
        if head.startswith(b"BZh"):
            yield from self._members(head, file, bz2.BZ2Decompressor)
        elif head.startswith(b"\x1f\x8b"):
            yield from self._members(head, file, _Gunzip)
        elif self._xml and not head.lstrip().startswith(_XML_STARTS):
            raise RefusedError(
                f"{self._path}: begins with {head[:8]!r}: a dump is plain XML, gzip or bzip2"
            )
        else:
            while head:
                yield head
                head = self._read(file)

    def _members(self, data: bytes, file: IO[bytes], new: Any) -> Iterator[bytes]:
        # A decompressor stops after one stream; what it leaves begins the next.
        while data:
            decompressor = new()
            while not decompressor.eof:
                if not data and decompressor.needs_input:
                    data = self._read(file)
                    if not data:
                        raise TruncatedError(self._says("ends inside compressed data"))
                try:
                    block = decompressor.decompress(data, INFLATED_BYTES)
                except (OSError, zlib.error) as error:
                    raise OpenwitError(self._says(f"damaged: {error}")) from None
                data = b""
                yield block
            data = decompressor.unused_data or self._read(file)

    def _read(self, file: IO[bytes]) -> bytes:
        data = file.read(READ_BYTES)
        self._position += len(data)
        return data

    def _says(self, problem: str) -> str:
        return f"{self._path}: {problem} near byte {self.position}: get the file again"


class _Gunzip:
    """A gzip member with the interface of `bz2.BZ2Decompressor`."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, limit: int) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, limit)
