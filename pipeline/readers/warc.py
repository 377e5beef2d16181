"""WARC files: their records, what those say of themselves, and random access to an image."""

import dataclasses
import io
import re
from collections.abc import Iterator
from typing import IO

from filters.urls.url_key import join_url
from filters.verdict import DropReason
from pipeline.readers.body import Body, decode_body
from pipeline.readers.framing import BadRegion, Limits, Record, parse_head, plain_records
from pipeline.readers.headers import BLANK_LINE, Headers
from pipeline.readers.members import GZIP_MAGIC, End, gzip_records, inflate
from pipeline.readers.reasons import Fault
from pipeline.readers.resync import (
    BLOCK_BYTES,
    MAGIC,
    Window,
    next_gzip_record,
    next_plain_record,
)

HEADER_BYTES = 65_536
"""WARC and HTTP header block, each; the default of `extract.max_header_bytes`."""
_STATUS_LINE = re.compile(rb"HTTP/\d+(?:\.\d+)?[ \t]+(\d{3})(?!\d)[^\r\n]*(?:\r?\n|\Z)")
_NO_UTF8 = re.compile(r"[\udc80-\udcff]")


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """What a response or resource holds: a status, headers and the stored body."""

    status: int
    headers: Headers
    body: memoryview

    def decoded(self, max_bytes: int) -> Body | Fault:
        """Return the body without its transfer and content codings."""
        return decode_body(
            self.body,
            self.headers.all("transfer-encoding"),
            self.headers.all("content-encoding"),
            max_bytes,
        )


def read_records(
    file: IO[bytes], limits: Limits, block_bytes: int = BLOCK_BYTES
) -> Iterator[Record | BadRegion]:
    """Yield the records of a WARC file in order, and what is not one.

    Args:
        file: seekable; gzip or plain as its first bytes say, never its name.
        limits: what no record may exceed.
        block_bytes: how much is read at once; changes no result.

    Raises:
        OSError: if the storage fails; damage of the content never raises.
    """
    window = Window(file, block_bytes)
    head = bytes(window.peek(0, 64))
    if head.startswith(GZIP_MAGIC):
        return gzip_records(window, limits)
    if head.lstrip(b"\r\n").startswith(MAGIC):
        return plain_records(window, limits)
    # The beginning is damaged: what comes first tells the kind.
    is_gzip = next_gzip_record(window, 0) < next_plain_record(window, 0)
    return gzip_records(window, limits) if is_gzip else plain_records(window, limits)


def parse_message(record: Record, header_bytes: int) -> Message | Fault:
    """Split a `response` into status, headers and body; a `resource` is all body.

    A head without blank line is all head: the body is empty.
    """
    if record.kind == "resource":
        return Message(200, Headers(b""), record.block)
    block = record.block
    line = _STATUS_LINE.match(block, 0, header_bytes)
    if not line:
        return Fault.HTTP_HEADER
    # The blank line may follow the status line at once.
    blank = BLANK_LINE.search(block, line.end() - 1, header_bytes)
    if not blank and len(block) > header_bytes:
        return Fault.HEADER_TOO_LARGE
    end = blank.end() if blank else len(block)
    head = bytes(block[line.end() : max(line.end(), blank.start()) if blank else end])
    return Message(int(line[1]), Headers(head), block[end:])


def target_url(headers: Headers, name: str = "warc-target-uri") -> str | DropReason:
    """Return the URL key of a header such as WARC-Target-URI, in its angle brackets or not."""
    raw = (headers.get(name) or "").removeprefix("<").removesuffix(">")
    text = raw.encode("latin-1").decode("utf-8", "surrogateescape")
    text = _NO_UTF8.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", text)
    return join_url("", text)


def content_types(record: Record, message: Message) -> list[str]:
    """Return the message's own Content-Type values, else what the archive identified."""
    own = record.headers if record.kind == "resource" else message.headers
    return own.all("content-type") or record.headers.all("warc-identified-payload-type")


def read_image(file: IO[bytes], offset: int, length: int, max_bytes: int) -> bytes | DropReason:
    """Return the decoded body of one indexed record.

    Args:
        file: the archive, seekable.
        offset: of the gzip member or raw record, as indexed.
        length: its stored bytes, as indexed.
        max_bytes: a longer body is `TOO_LARGE`.

    Returns:
        The body, or `ARCHIVE_RECORD` if the file does not hold the record there.
    """
    limit = max_bytes + 2 * HEADER_BYTES
    if length > limit + (1 << 20):  # gzip adds far less to what it cannot shrink
        return DropReason.TOO_LARGE
    file.seek(offset)
    data = file.read(length)
    if data.startswith(GZIP_MAGIC):
        parts: list[bytes] = []
        inflated = inflate(Window(io.BytesIO(data)), 0, parts.append, limit)
        if inflated.how is End.LARGE:
            return DropReason.TOO_LARGE
        if inflated.how is not End.WHOLE:
            return DropReason.ARCHIVE_RECORD
        data = b"".join(parts)
    view = memoryview(data)
    head = parse_head(view, Limits(record_bytes=limit, header_bytes=HEADER_BYTES))
    if isinstance(head, BadRegion) or head.end + head.content_length > len(view):
        return DropReason.ARCHIVE_RECORD
    block = view[head.end : head.end + head.content_length]
    message = parse_message(Record(offset, length, True, head.headers, block), HEADER_BYTES)
    if isinstance(message, Fault):
        return DropReason.ARCHIVE_RECORD
    body = message.decoded(max_bytes)
    if isinstance(body, Fault):
        too_large = body is Fault.BODY_TOO_LARGE
        return DropReason.TOO_LARGE if too_large else DropReason.BODY_ENCODING
    if body.is_cut:
        return DropReason.TOO_LARGE if len(body.data) == max_bytes else DropReason.BODY_ENCODING
    return bytes(body.data) or DropReason.EMPTY_BODY
