import datetime
import gzip
from typing import Any

import pytest

from pipeline.readers.framing import Record
from pipeline.readers.headers import Headers
from pipeline.readers.image_index import ImageIndex, begins_image, is_image, record_id
from pipeline.readers.warc import Message, parse_message
from tests.pipeline.readers.archives import make_record, make_response, read, zipped

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
AVIF = b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf" + bytes(40)


@pytest.mark.parametrize(
    "beginning",
    [
        b"\xff\xd8\xff\xdb",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"GIF87a",
        b"GIF89a\1\0",
        b"RIFF\x10\0\0\0WEBPVP8 ",
        b"\0\0\0\x20ftypavif\0\0\0\0",
        b"\0\0\0\x18ftypavis\0\0\0\0avis",
        AVIF,
        b"BM" + bytes(12) + b"\x28\0\0\0",
        b"BM" + bytes(12) + b"\x7c\0\0\0",
        b"II*\0",
        b"MM\0*",
    ],
)
def test_images_are_known_by_their_bytes(beginning: bytes) -> None:
    assert is_image(beginning)


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"\xff\xd8",
        b"\x89PNG",
        b"GIF88a",
        b"RIFF\x10\0\0\0WAVEfmt ",
        b"\0\0\0\x1cftypmp42\0\0\0\0isommp42",
        b"\0\0\0\x10ftypmp42avifavif",  # in place of the version, and behind the box
        b"BMW is a maker of cars",
        b"BM",
        b"<svg xmlns=",
        b"%PDF-1.4",
    ],
)
def test_other_bytes_are_no_image(beginning: bytes) -> None:
    assert not is_image(beginning)


def found_in(*records: bytes, packed: bool = True) -> list[Record]:
    data = zipped(*records) if packed else b"".join(records)
    found = read(data)
    assert all(isinstance(each, Record) for each in found)
    return [each for each in found if isinstance(each, Record)]


def message_of(record: Record) -> Message:
    message = parse_message(record, 1 << 16)
    assert isinstance(message, Message)
    return message


def rows_of(index: ImageIndex) -> list[dict[str, Any]]:
    return index.take_batch().to_pylist()


def test_an_image_is_looked_for_behind_its_codings() -> None:
    packed = make_response(gzip.compress(JPEG), "Content-Encoding: gzip", content_type="text/plain")
    [record] = found_in(make_record(packed))
    assert begins_image(message_of(record))
    [record] = found_in(make_record(make_response(b"\xff", "Content-Encoding: br")))
    assert not begins_image(message_of(record))


def test_a_row_says_where_an_image_is_and_what_its_record_says() -> None:
    body = gzip.compress(JPEG, mtime=0)
    block = make_response(
        body, "Content-Encoding: gzip", "X-Robots-Tag: noai", content_type="image/jpeg; q=1"
    )
    fields = ["WARC-Payload-Digest: sha1:AB", "WARC-Truncated: length"]
    page = make_record(b"x", kind="metadata")
    _, record = found_in(page, make_record(block, uri="http://h/i.jpg#f", fields=fields))
    index = ImageIndex("a.warc.gz", ("train-ai",))
    index.add_image(record, message_of(record))
    [row] = rows_of(index)
    assert row == {
        "url": "http://h/i.jpg",
        "kind": "image",
        "source_file": "a.warc.gz",
        "offset": len(zipped(page)),
        "length": record.length,
        "status": 200,
        "content_type": "image/jpeg; q=1",
        "content_encoding": "gzip",
        "payload_bytes": len(body),
        "payload_digest": "sha1:AB",
        "record_id": "urn:uuid:00000000-0000-0000-0000-000000000001",
        "record_date": datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC),
        "location": None,
        "refers_to_url": None,
        "refers_to_date": None,
        "truncated": "length",
        "optout": ["x-robots-tag:noai"],
    }
    assert index.rows == 0


def test_a_resource_has_no_status() -> None:
    record = make_record(JPEG, kind="resource", fields=["Content-Type: image/jpeg"])
    [found] = found_in(record)
    index = ImageIndex("a", ())
    index.add_image(found, message_of(found))
    [row] = rows_of(index)
    assert (row["status"], row["content_type"]) == (None, "image/jpeg")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("../b?c#d", "http://h/a/b?c"),
        ("//other/x", "http://other/x"),
        ("", None),
        ("data:,x", None),
        ("http://h:99999/", None),
    ],
)
def test_a_redirect_needs_a_location_that_is_a_url(location: str, expected: str | None) -> None:
    block = make_response(b"", f"Location: {location}", status="302 Found", content_type=None)
    [record] = found_in(make_record(block, uri="http://h/a/b/c"))
    index = ImageIndex("a", ())
    index.add_redirect(record, message_of(record))
    assert [(row["kind"], row["status"], row["location"]) for row in rows_of(index)] == (
        [("redirect", 302, expected)] if expected else []
    )


def test_a_revisit_says_what_it_refers_to_with_or_without_headers() -> None:
    fields = [
        "WARC-Refers-To-Target-URI: <http://h/first>",
        "WARC-Refers-To-Date: 2020-01-02T03:04:05Z",
    ]
    with_head, without = found_in(
        make_record(make_response(), kind="revisit", fields=fields),
        make_record(b"", kind="revisit"),
    )
    index = ImageIndex("a", ())
    index.add_revisit(with_head, message_of(with_head))
    index.add_revisit(without, None)
    first, second = rows_of(index)
    assert (first["kind"], first["status"], first["refers_to_url"]) == (
        *("revisit", 200),
        "http://h/first",
    )
    assert first["refers_to_date"] == datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    assert (second["status"], second["refers_to_url"], second["refers_to_date"]) == (None,) * 3


def test_records_without_a_place_of_their_own_are_counted_only() -> None:
    parts = [make_record(make_response(JPEG)), make_record(make_response(JPEG))]
    index = ImageIndex("a", ())
    for record in found_in(b"".join(parts)):
        index.add_image(record, message_of(record))
    assert (index.rows, index.unseekable) == (0, 2)


def test_a_record_without_a_url_is_no_row() -> None:
    [record] = found_in(make_record(make_response(JPEG), uri="urn:x"))
    index = ImageIndex("a", ())
    index.add_image(record, message_of(record))
    assert (index.rows, index.unseekable) == (0, 0)


def test_a_record_id_is_without_its_brackets() -> None:
    assert record_id(Headers(b"WARC-Record-ID: <urn:x>")) == "urn:x"
    assert record_id(Headers(b"WARC-Record-ID: urn:x")) == "urn:x"
    assert record_id(Headers(b"WARC-Record-ID: <" + b"x" * 300 + b">")) is None
    assert record_id(Headers(b"")) is None
