"""The next record after damage: a gzip member that begins one, or a blank line before `WARC/`."""

import re
import typing
from collections.abc import Iterator

from isal import isal_zlib

from pipeline.readers.window import BLOCK_BYTES, Window

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
