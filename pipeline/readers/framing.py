"""One WARC record's frame: header block, declared length, what follows. Plain files as a whole."""

import base64
import binascii
import dataclasses
import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.readers.headers import BLANK_LINE, Headers, content_length
from pipeline.readers.reasons import Fault
from pipeline.readers.resync import MAGIC, RescanBudget, Window, next_plain_record

_VERSION_LINE = re.compile(rb"WARC/\d+\.\d+[ \t]*\r?\n")
_LINE_ENDS = re.compile(rb"[\r\n]*+")
_EMBEDDED = re.compile(rb"\n\r?\nWARC/")
_LINE_END_BYTES = 64
"""Looked at once behind a block; the standard has four."""
_DIGESTS = {"sha1": 20, "sha256": 32, "md5": 16}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Sizes that no record may exceed, in bytes."""

    record_bytes: int
    header_bytes: int


class Record(NamedTuple):
    """A record as it was found, nothing undone."""

    offset: int
    """Bytes from the beginning of the file, of the gzip member or the raw record."""
    length: int
    """Stored bytes of the gzip member or the raw record."""
    seekable: bool
    """Whether `offset` and `length` reach this record alone."""
    headers: Headers
    block: memoryview

    @property
    def kind(self) -> str:
        """The WARC-Type in lower case, empty if there is none."""
        return (self.headers.get("warc-type") or "").lower()


@dataclasses.dataclass(frozen=True, slots=True)
class BadRegion:
    """Bytes that are no record, or a record that breaks a limit."""

    offset: int
    length: int
    fault: Fault
    detail: str
    """Numbers and names, never content."""
    whole: bool = False
    """Whether it ends where the next record begins; else that is still to be found."""


class Head(NamedTuple):
    """A record's header block."""

    headers: Headers
    end: int
    """Bytes from the record's first to its block's first."""
    content_length: int


def parse_head(data: memoryview, limits: Limits) -> Head | BadRegion:
    """Parse the header block that begins `data`; a bad one has offset 0, and the length known."""
    if not _VERSION_LINE.match(data):
        fault = Fault.RECORD_HEADER if data[: len(MAGIC)] == MAGIC else Fault.JUNK
        return BadRegion(0, 0, fault, "no WARC version line")
    blank = BLANK_LINE.search(data, 0, limits.header_bytes)
    if not blank:
        if len(data) >= limits.header_bytes:
            return BadRegion(0, 0, Fault.HEADER_TOO_LARGE, f"more than {limits.header_bytes} bytes")
        return BadRegion(0, 0, Fault.RECORD_HEADER, "no blank line ends the header")
    headers = Headers(bytes(data[: blank.start()]))
    declared = content_length(headers)
    if declared is None:
        return BadRegion(0, blank.end(), Fault.RECORD_LENGTH, "no one decimal Content-Length")
    return Head(headers, blank.end(), declared)


def only_line_ends(data: memoryview) -> bool:
    """Say whether there is nothing but CR and LF."""
    return _LINE_ENDS.fullmatch(data) is not None


def plain_records(window: Window, limits: Limits) -> Iterator[Record | BadRegion]:
    """Yield the records of an uncompressed file, and a bad region for each that is broken.

    Content-Length is believed if only line ends follow the block, then a record or the end. If not,
    the scan restarts behind the record's header, at the next blank line followed by `WARC/`.
    """
    at, budget = _skip_line_ends(window, 0), RescanBudget()
    while at < window.size:
        found = _record_at(window, at, limits, budget)
        if isinstance(found, BadRegion):
            behind = at + max(found.length, 1)
            ends = behind if found.whole else next_plain_record(window, behind)
            found = BadRegion(at, ends - at, found.fault, found.detail)
        yield found
        at = _skip_line_ends(window, at + found.length)


def _record_at(window: Window, at: int, limits: Limits, budget: RescanBudget) -> Record | BadRegion:
    """Return the record, or a fault whose length says from where on to look for the next."""
    head = parse_head(window.peek(at, limits.header_bytes), limits)
    if isinstance(head, BadRegion):
        return head
    size = head.end + head.content_length
    declared = f"Content-Length {head.content_length}"
    if not _ends_well(window, at + size):
        return BadRegion(at, head.end, Fault.RECORD_LENGTH, declared)
    if size > limits.record_bytes:
        return BadRegion(at, size, Fault.RECORD_TOO_LARGE, declared, whole=True)
    block = window.peek(at + head.end, head.content_length)
    if _EMBEDDED.search(block) and not _digest_matches(head.headers, block):
        budget.spend(size)
        whole = not budget.lasts(at)
        return BadRegion(at, size if whole else head.end, Fault.RECORD_LENGTH, declared, whole)
    return Record(at, size, True, head.headers, block)


def _ends_well(window: Window, end: int) -> bool:
    if end > window.size:
        return False
    end = _skip_line_ends(window, end)
    return end == window.size or window.probe(end, len(MAGIC)) == MAGIC


def _skip_line_ends(window: Window, at: int) -> int:
    while data := window.probe(at, _LINE_END_BYTES):
        rest = data.lstrip(b"\r\n")
        at += len(data) - len(rest)
        if rest:
            break
    return at


def _digest_matches(headers: Headers, block: memoryview) -> bool:
    """Say whether the block is what its digest says; without a digest we know, it is believed."""
    name, _, text = (headers.get("warc-block-digest") or "").partition(":")
    size = _DIGESTS.get(name.strip().lower().replace("-", ""))
    if size is None:
        return True
    try:
        if len(text) == 2 * size:
            wanted = binascii.unhexlify(text)
        else:
            wanted = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError:
        return True
    if len(wanted) != size:
        return True
    algorithm = name.strip().lower().replace("-", "")
    return hashlib.new(algorithm, block, usedforsecurity=False).digest() == wanted
