"""A file read in blocks, and where the next record begins in it after damage.

That is a gzip member which begins one, or a blank line before `WARC/`.
"""

import os
import re
import typing
from collections.abc import Iterator
from typing import IO

from isal import isal_zlib

BLOCK_BYTES = 1 << 20
MAGIC = b"WARC/"
GZIP_WBITS = 31
InflateError = typing.cast("type[Exception]", isal_zlib.error)  # its stub says it is an instance
RESCAN_BYTES = 64 << 20
"""Bytes that a file may have read again after damage, besides `RESCAN_SHARE` times its length:
records that lie in each other and all break would else cost the square of it; provisional."""
RESCAN_SHARE = 4

# Magic, method 8, flags whose reserved bits are 0; the flags may begin the next candidate.
_MEMBER = re.compile(rb"\x1f\x8b\x08(?=[\x00-\x1f])")
_RECORD = re.compile(rb"\n\r?\n(?=WARC/)")
_OVERLAP_BYTES = 16
"""More than a match of either pattern."""
_HEAD_BYTES = 4096
"""A candidate's compressed bytes that must show `WARC/`: gzip headers are far shorter."""


class Window:
    """A buffer over a file: reading forward goes through the file once, going back seeks."""

    def __init__(self, file: IO[bytes], block_bytes: int = BLOCK_BYTES) -> None:
        """Start at the file's first byte."""
        self._file = file
        self._block_bytes = block_bytes
        self.size = file.seek(0, os.SEEK_END)
        """Bytes of the file."""
        file.seek(0)
        self._buffer = b""
        self._start = 0

    def peek(self, offset: int, size: int) -> memoryview:
        """Return `size` bytes at `offset`; fewer only at the end of the file.

        Raises:
            OSError: if the storage fails or gives fewer bytes than it said.
        """
        held = self._start + len(self._buffer)
        size = max(0, min(size, self.size - offset))
        if not self._start <= offset <= held:
            self._file.seek(offset)
            self._buffer, self._start, held = b"", offset, offset
        if offset + size > held:
            rest = self._buffer[offset - self._start :]
            self._buffer, self._start = rest + self._read(offset + size - held), offset
        at = offset - self._start
        return memoryview(self._buffer)[at : at + size]

    def probe(self, offset: int, size: int) -> bytes:
        """Return what `peek` would and keep what is held: for a few bytes ahead."""
        held = self._start + len(self._buffer)
        size = max(0, min(size, self.size - offset))
        if not self._start <= offset <= held:
            self._file.seek(offset)
            data = self._read(size)[:size]
            self._file.seek(held)
            return data
        if offset + size > held:
            self._buffer += self._read(offset + size - held)
        return self._buffer[offset - self._start : offset - self._start + size]

    def _read(self, wanted: int) -> bytes:
        """Read at least `wanted` bytes, or to the end of the file, in whole blocks."""
        blocks: list[bytes] = []
        while wanted > 0:
            block = self._file.read(max(self._block_bytes, min(wanted, BLOCK_BYTES)))
            if not block:
                raise OSError(
                    f"input file: ends before its size of {self.size} bytes: read it again"
                )
            blocks.append(block)
            wanted -= len(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)


class RescanBudget:
    """What a file may still have read again; past it, broken records are skipped whole."""

    def __init__(self) -> None:
        """Start with nothing spent."""
        self._spent = 0

    def spend(self, bytes_read: int) -> None:
        """Count bytes that were read for nothing."""
        self._spent += bytes_read

    def lasts(self, at: int) -> bool:
        """Say whether a file of which `at` bytes are done may go back once more."""
        return self._spent <= RESCAN_BYTES + RESCAN_SHARE * at


def next_gzip_record(window: Window, start: int) -> int:
    """Return the offset of the next gzip member that begins a WARC record, or the file's size."""
    hits = (begin for begin, _ in _hits(window, start, _MEMBER))
    return next((at for at in hits if begins_gzip_record(window, at)), window.size)


def next_plain_record(window: Window, start: int) -> int:
    """Return the offset of the next `WARC/` behind a blank line, or the file's size."""
    before = max(0, start - 3)  # the blank line may end just where the search begins
    ends = (end for _, end in _hits(window, before, _RECORD))
    return next((end for end in ends if end >= start), window.size)


def begins_gzip_record(window: Window, at: int) -> bool:
    """Say whether a gzip member whose content begins with `WARC/` begins at this offset."""
    inflator = isal_zlib.decompressobj(GZIP_WBITS)
    try:
        found: bytes = inflator.decompress(window.peek(at, _HEAD_BYTES), len(MAGIC))
    except InflateError:
        return False
    return found == MAGIC


def _hits(window: Window, start: int, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each match, in order."""
    for at in range(start, window.size, BLOCK_BYTES):
        for found in pattern.finditer(window.peek(at, BLOCK_BYTES + _OVERLAP_BYTES)):
            if found.start() < BLOCK_BYTES:  # else the next block has it too
                yield at + found.start(), at + found.end()
