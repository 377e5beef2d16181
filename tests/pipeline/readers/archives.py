"""Archives for tests, written by hand so that each byte of the framing is ours to break."""

import base64
import gzip
import hashlib
import io
import re
from collections.abc import Iterable, Sequence

from pipeline.readers.framing import BadRegion, Limits, Record
from pipeline.readers.warc import read_records

LIMITS = Limits(record_bytes=1 << 20, header_bytes=1 << 16)
NOW = "2024-05-06T07:08:09Z"


def make_record(
    block: bytes = b"",
    *,
    uri: str = "http://site.example/",
    kind: str = "response",
    length: int | str | None = None,
    version: str = "1.1",
    eol: bytes = b"\r\n",
    digest: bool = False,
    fields: Sequence[str] = (),
) -> bytes:
    """Return a WARC record; `length` stands for Content-Length, an empty text for none at all."""
    types = {"response": "application/http; msgtype=response", "resource": "text/html"}
    lines = [
        f"WARC/{version}",
        f"WARC-Type: {kind}",
        f"WARC-Target-URI: {uri}",
        f"WARC-Date: {NOW}",
        "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000001>",
        *fields,
    ]
    if not any(field.lower().startswith("content-type") for field in fields):
        lines.append(f"Content-Type: {types.get(kind, 'application/octet-stream')}")
    if digest:
        sha1 = base64.b32encode(hashlib.sha1(block, usedforsecurity=False).digest()).decode()
        lines.append(f"WARC-Block-Digest: sha1:{sha1}")
    if length != "":
        lines.append(f"Content-Length: {len(block) if length is None else length}")
    head = eol.join(line.encode() for line in lines)
    return head + eol + eol + block + eol + eol


def make_response(
    body: bytes = b"",
    *fields: str,
    status: str = "200 OK",
    content_type: str | None = "text/html; charset=utf-8",
    eol: bytes = b"\r\n",
) -> bytes:
    """Return an HTTP message, the block of a `response` record."""
    lines = [f"HTTP/1.1 {status}", *fields]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    return eol.join(line.encode("latin-1") for line in lines) + eol + eol + body


def make_page(number: int, **settings: object) -> bytes:
    """Return the record of a page `/NUMBER` with one image `/NUMBER.jpg`, alt text `photo NUMBER`.

    Its size differs by number, and no byte of it can be foretold by a compressor.
    """
    noise = hashlib.sha256(str(number).encode()).hexdigest() * (number % 4 + 1)
    body = f'<p>{noise}</p><img src="/{number}.jpg" alt="photo {number}">'.encode()
    uri = f"http://site.example/{number}"
    return make_record(make_response(body), uri=uri, **settings)  # type: ignore[arg-type]


def zipped(*members: bytes) -> bytes:
    """Return members of their own, one after the other."""
    return b"".join(gzip.compress(member, 6, mtime=0) for member in members)


def read(data: bytes, limits: Limits = LIMITS) -> list[Record | BadRegion]:
    """Return what the reader finds."""
    return list(read_records(io.BytesIO(data), limits))


def outcomes(found: Iterable[Record | BadRegion]) -> list[str]:
    """Return the path of each record's URI, and `!reason` for each bad region."""
    return [
        f"!{each.fault}"
        if isinstance(each, BadRegion)
        else re.sub("^http://site.example/", "", each.headers.get("warc-target-uri") or "?")
        for each in found
    ]
