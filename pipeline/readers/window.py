"""Any part of a seekable file, read in blocks whose size no result depends on."""

import os
from typing import IO

BLOCK_BYTES = 1 << 20


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
        """Return `size` bytes at `offset`; fewer only at the end of the file."""
        size = max(0, min(size, self.size - offset))
        held = self._start + len(self._buffer)
        if not self._start <= offset <= held:
            self._file.seek(offset)
            self._buffer, self._start, held = b"", offset, offset
        if offset + size > held:
            self._fill(offset, size)
        at = offset - self._start
        return memoryview(self._buffer)[at : at + size]

    def probe(self, offset: int, size: int) -> bytes:
        """Return what `peek` would, without moving the buffer: for a few bytes far ahead."""
        held = self._start + len(self._buffer)
        size = max(0, min(size, self.size - offset))
        if self._start <= offset and offset + size <= held:
            return self._buffer[offset - self._start : offset - self._start + size]
        self._file.seek(offset)
        data = _read(self._file, size, size)
        self._file.seek(held)
        return data

    def _fill(self, offset: int, size: int) -> None:
        rest = self._buffer[offset - self._start :]
        wanted = size - len(rest)
        self._buffer = rest + _read(self._file, wanted, self._block_bytes)
        self._start = offset


def _read(file: IO[bytes], wanted: int, block_bytes: int) -> bytes:
    """Read at least `wanted` bytes in whole blocks; fewer only if the file has shrunk."""
    blocks: list[bytes] = []
    while wanted > 0:
        block = file.read(max(block_bytes, min(wanted, BLOCK_BYTES)) if block_bytes > 1 else 1)
        if not block:
            break
        blocks.append(block)
        wanted -= len(block)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)
