import gzip
import io
import zlib

import pytest

from filters.verdict import DropReason
from pipeline.readers.body import Body
from pipeline.readers.framing import Record
from pipeline.readers.headers import Headers
from pipeline.readers.reasons import Fault
from pipeline.readers.warc import (
    Message,
    content_types,
    parse_message,
    read_image,
    target_url,
)
from tests.pipeline.readers.archives import make_page, make_record, make_response, read, zipped

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8


def record_of(block: bytes, kind: str = "response") -> Record:
    return Record(0, len(block), True, Headers(f"WARC-Type: {kind}".encode()), memoryview(block))


def message_of(block: bytes) -> Message:
    message = parse_message(record_of(block), 1000)
    assert isinstance(message, Message)
    return message


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("HTTP/1.1 200 OK", 200),
        ("HTTP/1.0 404", 404),
        ("HTTP/2 204 ", 204),
        ("HTTP/1.1\t 301 Moved: permanently", 301),
        ("HTTP/1.1 200 \xff", 200),
    ],
)
@pytest.mark.parametrize("eol", [b"\r\n", b"\n"])
def test_a_response_is_status_headers_and_body(line: str, status: int, eol: bytes) -> None:
    message = message_of(line.encode("latin-1") + eol + b"A: 1" + eol + eol + b"body" + eol)
    assert (message.status, message.headers.get("a")) == (status, "1")
    assert bytes(message.body) == b"body" + eol


@pytest.mark.parametrize("eol", [b"\r\n", b"\n"])
def test_a_response_may_have_no_headers(eol: bytes) -> None:
    message = message_of(b"HTTP/1.1 200 OK" + eol + eol + b"A: 1" + eol + eol)
    assert list(message.headers) == []
    assert bytes(message.body) == b"A: 1" + eol + eol


@pytest.mark.parametrize(
    "block", [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nA: 1\r\n<p>text"]
)
def test_a_head_without_blank_line_has_no_body(block: bytes) -> None:
    message = message_of(block)
    assert (message.status, bytes(message.body)) == (200, b"")


@pytest.mark.parametrize(
    "block",
    [b"", b"<html>", b"HTTP/1.1 OK\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"ICY 200 OK\r\n"],
)
def test_what_has_no_status_is_a_fault(block: bytes) -> None:
    assert parse_message(record_of(block), 1000) is Fault.HTTP_HEADER


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nA: ", b"HTTP/1.1 200 "])
def test_a_head_above_the_limit_is_a_fault(head: bytes) -> None:
    large = record_of(head + b"x" * 2000 + b"\r\n\r\nbody")
    assert parse_message(large, 1000) is Fault.HEADER_TOO_LARGE


def test_a_resource_is_all_body() -> None:
    message = parse_message(record_of(b"HTTP/1.1 404 x\r\n\r\n", "resource"), 1000)
    assert isinstance(message, Message)
    assert (message.status, bytes(message.body)) == (200, b"HTTP/1.1 404 x\r\n\r\n")


def test_codings_of_all_fields_are_undone() -> None:
    packed = zlib.compress(gzip.compress(PNG))
    fields = ("Content-Encoding: gzip", "content-encoding: deflate")
    message = message_of(make_response(packed, *fields))
    assert message.decoded(10_000) == Body(memoryview(PNG), False)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"http://h/a b", "http://h/a%20b"),
        (b"<http://h/x>", "http://h/x"),
        (b"HTTP://H:80/x#f", "http://h/x"),
        ("http://bücher.example/ü".encode(), "http://xn--bcher-kva.example/%C3%BC"),
        (b"http://h/\xff\xc3\xbc\xc3", "http://h/%FF%C3%BC%C3"),
        (b"http://h:99999/", DropReason.URL_INVALID),
        (b"dns:h", DropReason.URL_SCHEME),
        (b"/relative", DropReason.URL_INVALID),
        (b"", DropReason.URL_INVALID),
    ],
)
def test_target_url(raw: bytes, expected: str) -> None:
    assert target_url(Headers(b"WARC-Target-URI: " + raw)) == expected


def test_content_types_are_the_message_s_own_else_what_the_archive_found() -> None:
    identified = Headers(b"WARC-Identified-Payload-Type: text/html\r\nContent-Type: image/png")
    record = Record(0, 1, True, identified, memoryview(b""))
    assert content_types(record, Message(200, Headers(b""), memoryview(b""))) == ["text/html"]
    own = Message(200, Headers(b"content-type: a/b\ncontent-type: c/d"), memoryview(b""))
    assert content_types(record, own) == ["a/b", "c/d"]
    kind = Headers(b"WARC-Type: resource\r\nContent-Type: image/png")
    resource = Record(0, 1, True, kind, memoryview(b""))
    assert content_types(resource, own) == ["image/png"]


def image_archive(packed: bool) -> tuple[bytes, Record]:
    block = make_response(PNG, content_type="image/png")
    parts = [make_page(1), make_record(block, uri="i"), make_page(2)]
    data = zipped(*parts) if packed else b"".join(parts)
    [found] = [each for each in read(data) if isinstance(each, Record) and len(each.block) > 2000]
    return data, found


@pytest.mark.parametrize("packed", [True, False])
def test_an_indexed_image_is_read_from_its_place(packed: bool) -> None:
    data, found = image_archive(packed)
    assert read_image(io.BytesIO(data), found.offset, found.length, 1 << 20) == PNG


@pytest.mark.parametrize("packed", [True, False])
def test_a_record_that_is_not_where_the_index_says_is_none(packed: bool) -> None:
    data, found = image_archive(packed)
    for offset, length in (
        (found.offset + 1, found.length),
        (found.offset, found.length - 20),
        (found.offset, 0),
        (len(data), 100),
    ):
        answer = read_image(io.BytesIO(data), offset, length, 1 << 20)
        assert answer is DropReason.ARCHIVE_RECORD


@pytest.mark.parametrize("packed", [True, False])
def test_an_image_above_the_limit_is_too_large(packed: bool) -> None:
    data, found = image_archive(packed)
    assert read_image(io.BytesIO(data), found.offset, found.length, len(PNG)) == PNG
    answer = read_image(io.BytesIO(data), found.offset, found.length, len(PNG) - 1)
    assert answer is DropReason.TOO_LARGE
    assert read_image(io.BytesIO(data), 0, 1 << 30, 100) is DropReason.TOO_LARGE


@pytest.mark.parametrize(
    ("block", "answer"),
    [
        (make_response(b"", content_type="image/png"), DropReason.EMPTY_BODY),
        (make_response(gzip.compress(PNG, mtime=0), "Content-Encoding: gzip"), PNG),
        (
            make_response(gzip.compress(PNG, mtime=0)[:-9], "Content-Encoding: gzip"),
            DropReason.BODY_ENCODING,
        ),
        (make_response(b"\xff" * 99, "Content-Encoding: br"), DropReason.BODY_ENCODING),
        (
            make_response(gzip.compress(bytes(9 << 20), mtime=0), "Content-Encoding: gzip"),
            DropReason.TOO_LARGE,
        ),
        (b"no HTTP", DropReason.ARCHIVE_RECORD),
    ],
)
def test_a_body_that_cannot_be_read_says_why(block: bytes, answer: object) -> None:
    data = zipped(make_record(block))
    assert read_image(io.BytesIO(data), 0, len(data), 4 << 20) == answer


def test_a_record_s_inflated_bytes_are_bounded() -> None:
    data = zipped(make_record(make_response(bytes(40 << 20))))
    assert read_image(io.BytesIO(data), 0, len(data), 1 << 20) is DropReason.TOO_LARGE
