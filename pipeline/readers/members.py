"""Gzip files, one member per record: each is inflated, checked and framed by itself."""

import contextlib
import dataclasses
import enum
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, NamedTuple

from isal import isal_zlib

from pipeline.readers.framing import (
    BadRegion,
    Head,
    Limits,
    Record,
    only_line_ends,
    parse_head,
    plain_records,
)
from pipeline.readers.reasons import Fault
from pipeline.readers.resync import (
    GZIP_WBITS,
    MAGIC,
    InflateError,
    RescanBudget,
    Window,
    next_gzip_record,
)

GZIP_MAGIC = b"\x1f\x8b"
DRAIN_BYTES = 1 << 30
"""Inflated bytes of one record that are passed over to find its end; provisional."""
SPOOL_BYTES = 64 << 30
"""Inflated bytes of a member of many records, which go to a temporary file; provisional."""
_FIRST_SLICE_BYTES = 1 << 15
_LAST_SLICE_BYTES = 1 << 20
"""Fed at once; what is behind the member's end is copied, so small members are fed little."""
_STEP_BYTES = 1 << 22
"""Inflated bytes held at once."""


class End(enum.Enum):
    """How inflating a member ended."""

    WHOLE = enum.auto()
    LARGE = enum.auto()
    BROKEN = enum.auto()
    CUT = enum.auto()


class Inflated(NamedTuple):
    """Where inflating stopped, and why."""

    how: End
    end: int
    """The byte behind the member; if it is not whole, behind what was read of it."""
    bytes: int
    """Inflated bytes that were written."""


def inflate(
    window: Window, at: int, write: Callable[[bytes], object], limit_bytes: int
) -> Inflated:
    """Inflate one member, check its CRC and size, and write what it holds, to the limit + 1 byte.

    The slices that are fed depend on nothing but `at`, so neither does the result.
    """
    inflator = isal_zlib.decompressobj(GZIP_WBITS)
    position, slice_bytes, total = at, _FIRST_SLICE_BYTES, 0
    while data := window.peek(position, slice_bytes):
        position += len(data)
        slice_bytes = min(2 * slice_bytes, _LAST_SLICE_BYTES)
        piece: bytes | memoryview = data
        while True:
            step = min(limit_bytes + 1 - total, _STEP_BYTES)
            try:
                out = inflator.decompress(piece, step)
            except InflateError:
                return Inflated(End.BROKEN, position, total)
            total += len(out)
            write(out)
            if total > limit_bytes:
                return Inflated(End.LARGE, position, total)
            if inflator.eof:
                return Inflated(End.WHOLE, position - len(inflator.unused_data), total)
            piece = inflator.unconsumed_tail
            if not piece and len(out) < step:
                break
    return Inflated(End.CUT, position, total)


def gzip_records(window: Window, limits: Limits) -> Iterator[Record | BadRegion]:
    """Yield the records of a gzip file, and one bad region for each run of damaged bytes.

    A member that fails gives nothing, whatever was inflated of it; the search for the next begins
    one byte behind its first.
    """
    at, damage, budget = 0, None, RescanBudget()
    while at < window.size:
        inflated, found = _member(window, at, limits)
        if isinstance(found, Fault):
            damage = damage or (at, found)
            budget.spend(inflated.end - at + inflated.bytes // 8)
            at = next_gzip_record(window, at + 1 if budget.lasts(at) else inflated.end)
            continue
        if damage:
            # What seemed cut by the end of the file was not: a sound member follows.
            fault = Fault.GZIP_CORRUPT if damage[1] is Fault.GZIP_TRUNCATED else damage[1]
            yield BadRegion(damage[0], at - damage[0], fault, "")
            damage = None
        yield from found
        at = inflated.end
    if damage:
        yield BadRegion(damage[0], window.size - damage[0], damage[1], "")


def _member(
    window: Window, at: int, limits: Limits
) -> tuple[Inflated, Iterable[Record | BadRegion] | Fault]:
    """Return what a member holds, or the fault for which it holds nothing."""
    parts: list[bytes] = []
    inflated = inflate(window, at, parts.append, limits.record_bytes)
    if inflated.how is End.LARGE:
        return _large_member(window, at, _joined(parts), limits)
    if inflated.how is not End.WHOLE:
        return inflated, _fault(window, at, inflated)
    return inflated, _framed(window, at, inflated, _joined(parts), limits)


def _joined(parts: list[bytes]) -> memoryview:
    """Return the parts as one, and drop each once it is copied, so that none is held twice."""
    if len(parts) == 1:
        return memoryview(parts[0])
    joined = bytearray()
    for place, part in enumerate(parts):
        joined += part
        parts[place] = b""
    return memoryview(joined)


def _framed(
    window: Window, at: int, inflated: Inflated, view: memoryview, limits: Limits
) -> Iterable[Record | BadRegion]:
    """Frame a whole member's content: one record, or many."""
    if only_line_ends(view):
        return ()
    length = inflated.end - at
    head = parse_head(view, limits)
    if isinstance(head, BadRegion):
        bad = dataclasses.replace(head, offset=at, length=length)
    else:
        end = head.end + head.content_length
        if end <= len(view) and only_line_ends(view[end:]):
            return (Record(at, length, True, head.headers, view[head.end : end]),)
        bad = BadRegion(at, length, Fault.RECORD_LENGTH, f"Content-Length {head.content_length}")
        if _record_follows(view, end):
            return _inner_records(io.BytesIO(view), at, length, limits)
    if length == window.size:  # the whole file is one member, so more records may follow
        return _inner_records(io.BytesIO(view), at, length, limits)
    return (bad,)


def _large_member(
    window: Window, at: int, view: memoryview, limits: Limits
) -> tuple[Inflated, Iterable[Record | BadRegion] | Fault]:
    """Take a member above the limit: many records, or one that is passed over.

    `view` is its beginning, up to the limit.
    """
    head = parse_head(view, limits)
    many = isinstance(head, Head) and _record_follows(view, head.end + head.content_length)
    if not many:
        drained = inflate(window, at, len, DRAIN_BYTES)
        if drained.how is not End.WHOLE:
            return drained, _fault(window, at, drained)
        length = drained.end - at
        if length != window.size:
            too_large = BadRegion(
                at, length, Fault.RECORD_TOO_LARGE, f"{drained.bytes} bytes inflated", whole=True
            )
            return drained, (too_large,)
    with contextlib.ExitStack() as stack:
        spool = stack.enter_context(tempfile.TemporaryFile())
        inflated = inflate(window, at, spool.write, SPOOL_BYTES)
        if inflated.how is not End.WHOLE:
            return inflated, _fault(window, at, inflated)
        stack.pop_all()  # the file is closed by its reader
    return inflated, _inner_records(spool, at, inflated.end - at, limits)


def _inner_records(
    content: IO[bytes], at: int, length: int, limits: Limits
) -> Iterator[Record | BadRegion]:
    """Yield the records of a member of many; each has the place of the whole member."""
    with content:
        for found in plain_records(Window(content), limits):
            if isinstance(found, Record):
                yield found._replace(offset=at, length=length, seekable=False)
            else:
                detail = f"at inflated byte {found.offset}; {found.detail}"
                yield BadRegion(at, length, found.fault, detail)


def _record_follows(data: memoryview, end: int) -> bool:
    return bytes(data[end : end + 64]).lstrip(b"\r\n").startswith(MAGIC)


def _fault(window: Window, at: int, inflated: Inflated) -> Fault:
    if not GZIP_MAGIC.startswith(bytes(window.peek(at, len(GZIP_MAGIC)))):
        return Fault.JUNK
    if inflated.how is End.LARGE:
        return Fault.RECORD_TOO_LARGE
    return Fault.GZIP_TRUNCATED if inflated.how is End.CUT else Fault.GZIP_CORRUPT
