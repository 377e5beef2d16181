import datetime
import gzip
import io
from typing import Any

import brotli
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from filters.verdict import DropReason
from manifests.format.ids import pair_id
from pipeline.records import CANDIDATES, DEADLETTERS, IMAGES
from tests.pipeline.readers.archives import (
    NOW,
    make_page,
    make_record,
    make_response,
    zipped,
)
from tests.pipeline.stages.extract_cases import extract

JPEG = b"\xff\xd8\xff\xe0" + bytes(500)


def page(html: str | bytes, *fields: str, **more: Any) -> bytes:
    body = html.encode() if isinstance(html, str) else html
    return make_record(make_response(body, *fields), **more)


def test_a_row_says_what_was_found_and_where(plain_engine: Any) -> None:
    html = (
        '<html lang="en"><link rel=license href="/licence#x"><base href="/base/">'
        '<meta name=robots content=noai><img src="a.jpg#b" alt=" a  dog " width=60 height="7%">'
    )
    first = page("<p>", uri="http://site.example/0")
    second = page(html, "Content-Language: fr", uri="http://site.example/dir/p?q#f")
    found = extract(plain_engine, zipped(first, second))
    [row] = found.rows()
    assert row == {
        "url": "http://site.example/base/a.jpg",
        "texts": [{"source": "alt", "text": "a dog", "raw": " a  dog "}],
        "url_source": "src",
        "page_url": "http://site.example/dir/p?q",
        "page_lang": "en",
        "charset": "UTF-8",
        "license_url": "http://site.example/licence",
        "license_source": "rel",
        "position": 0,
        "width_attr": 60,
        "height_attr": None,
        "flags": [],
        "optout": ["robots:noai"],
        "page_tdm": None,
        "source_file": "a.warc.gz",
        "source_offset": len(zipped(first)),
        "source_length": len(zipped(second)),
        "record_id": "urn:uuid:00000000-0000-0000-0000-000000000001",
        "record_date": datetime.datetime.fromisoformat(NOW),
        "expect_sha256": None,
        "expect_md5": None,
    }
    assert found.records == {"read": 2, "pages": 2}
    assert found.unit.notes["pages"] == {"parsed": 2}
    assert found.unit.notes["marks"] == {"robots:noai": 1}


def test_files_have_the_columns_of_their_role(plain_engine: Any) -> None:
    found = extract(plain_engine, b"")
    schemas = {"part": CANDIDATES, "deadletter": DEADLETTERS, "images": IMAGES}
    for role, schema in schemas.items():
        [path] = found.record.paths(role)
        assert pq.read_schema(path).equals(schema)
    assert found.records == {"read": 0, "pages": 0}


def test_rows_are_in_the_order_of_the_file(plain_engine: Any) -> None:
    found = extract(plain_engine, zipped(*map(make_page, range(30))))
    names = [f"http://site.example/{number}.jpg" for number in range(30)]
    assert [row["url"] for row in found.rows()] == names
    offsets = [row["source_offset"] for row in found.rows()]
    assert offsets == sorted(set(offsets))


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (make_record(b"software: x", kind="warcinfo"), "warcinfo"),
        (make_record(b"GET / HTTP/1.1\r\n\r\n", kind="request"), "request"),
        (make_record(b"{}", kind="metadata"), "metadata"),
        (make_record(make_response(), kind="revisit"), "revisit"),
        (make_record(b"", kind="conversion"), "type_other"),
        (make_record(b"", kind="continuation"), "type_other"),
        (make_record(b"", fields=["Content-Type: text/dns"], uri="dns:h"), "type_other"),
        (make_record(make_response(b"<p>", status="404 Not Found")), "status"),
        (make_record(make_response(status="301 Moved", content_type=None)), "status"),
        (make_record(make_response(JPEG, content_type="image/jpeg")), "image_response"),
        (make_record(make_response(JPEG, content_type="text/html")), "image_response"),
        (make_record(make_response(b"%PDF", content_type="application/pdf")), "not_html"),
        (make_record(make_response(b"<p>", content_type=None)), "not_html"),
        (make_record(make_response(b"<p>"), uri="urn:x"), "page_url"),
        (make_record(make_response(b"<p>"), uri="http://h:99999/"), "page_url"),
        (make_record(b"no HTTP"), "http_header"),
        (make_record(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000), "header_too_large"),
        (make_record(make_response(b"\xff" * 50, "Content-Encoding: br")), "body_encoding"),
        (
            make_record(
                make_response(gzip.compress(bytes(9 << 20), mtime=0), "Content-Encoding: gzip")
            ),
            "body_too_large",
        ),
        (make_record(bytes(2 << 20)), "record_too_large"),
    ],
)
def test_every_other_record_is_counted_by_its_reason(
    record: bytes, outcome: str, plain_engine: Any
) -> None:
    around = make_page(1), make_page(2)
    data = zipped(around[0], record, around[1])
    found = extract(plain_engine, data, max_record_bytes=1 << 20)
    assert found.records == {"read": 3, "pages": 2, outcome: 1}
    assert [text for _, text in found.pairs()] == ["photo 1", "photo 2"]
    failed = outcome.partition("_")[0] in {"http", "header", "body", "record"}
    lost = (outcome, len(zipped(around[0])), len(zipped(record)))
    assert found.deadletters() == ([lost] if failed else [])


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (make_record(make_response()), "empty_body"),
        (make_record(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n<p>"), "empty_body"),
        (
            make_record(make_response(b"<p>", content_type="text/html; charset=iso-2022-kr")),
            "charset_unsupported",
        ),
    ],
)
def test_a_page_that_cannot_be_parsed_is_counted(
    record: bytes, outcome: str, plain_engine: Any
) -> None:
    found = extract(plain_engine, zipped(make_page(1), record))
    assert found.records == {"read": 2, "pages": 2}
    assert found.unit.notes["pages"] == {"parsed": 1, outcome: 1}
    assert found.rows("deadletter") == []


def test_a_resource_is_a_page_by_its_own_type(plain_engine: Any) -> None:
    body = b'<img src=/1.jpg alt="one">'
    found = extract(
        plain_engine,
        zipped(
            make_record(body, kind="resource", fields=["Content-Type: text/html; charset=x"]),
            make_record(body, kind="resource", fields=["Content-Type: application/xhtml+xml"]),
            make_record(body, kind="resource", fields=["Content-Type: text/plain"]),
        ),
    )
    assert found.records == {"read": 3, "pages": 2, "not_html": 1}
    assert len(found.rows()) == 2


def test_a_type_that_only_the_archive_identified_counts(plain_engine: Any) -> None:
    block = make_response(b'<img src=/1.jpg alt="one">', content_type=None)
    fields = ["WARC-Identified-Payload-Type: text/html"]
    assert extract(plain_engine, zipped(make_record(block, fields=fields))).records["pages"] == 1


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (brotli.compress(b'<img src=/1.jpg alt="one">'), ["Content-Encoding: br"]),
        (gzip.compress(b'<img src=/1.jpg alt="one">', mtime=0), ["content-encoding: GZIP"]),
        (b'<img src=/1.jpg alt="one">', ["Content-Encoding: gzip", "Transfer-Encoding: chunked"]),
        (b'1a\r\n<img src=/1.jpg alt="one">\r\n0\r\n\r\n', ["Transfer-Encoding: chunked"]),
    ],
)
def test_a_body_is_decoded_and_the_next_record_is_there(
    body: bytes, fields: list[str], plain_engine: Any
) -> None:
    found = extract(plain_engine, zipped(page(body, *fields), make_page(2)))
    assert [text for _, text in found.pairs()] == ["one", "photo 2"]


def test_flags_say_what_was_cut(plain_engine: Any) -> None:
    html = b'<img src=/1.jpg alt="one">' + b" " * 500 + b'<img src=/2.jpg alt="two">'
    packed = page(gzip.compress(html, 0)[:-300], "Content-Encoding: gzip")
    truncated = page(html, fields=["WARC-Truncated: length"])
    found = extract(plain_engine, zipped(page(html), packed, truncated), max_page_bytes=530)
    assert [row["flags"] for row in found.rows()] == [
        ["page_truncated"],
        ["page_truncated"],
        ["page_truncated", "warc_truncated"],
    ]
    found = extract(plain_engine, zipped(page(html)), max_tags=1)
    assert [row["flags"] for row in found.rows()] == [["page_truncated"]]


def test_dropped_elements_are_counted_and_pairs_are_in_the_ledger(plain_engine: Any) -> None:
    html = (
        "<img src=/1.jpg alt=one><img src=/1.jpg alt=one><img src=/2.jpg><img alt=three>"
        '<img src=/4.jpg alt=four width=1><img src="data:," alt=five><img src=/6.jpg alt="&#0;">'
    )
    found = extract(plain_engine, zipped(page(html)), max_images_per_page=7)
    assert len(found.rows()) == 1
    assert found.unit.rows_in == 7
    assert found.unit.drops == {
        DropReason.BAD_ENCODING: 1,
        DropReason.NO_TEXT: 1,
        DropReason.NO_URL: 1,
        DropReason.PIXEL_DECLARED: 1,
        DropReason.REPEAT_IN_PAGE: 1,
        DropReason.URL_SCHEME: 1,
    }
    ledger = {row["pair_id"]: row for row in found.rows("drops") if row["pair_id"]}
    repeat = ledger[pair_id("http://site.example/1.jpg", "one")]
    assert (repeat["reason"], repeat["count"], repeat["caption"]) == ("repeat_in_page", 1, "one")
    pixel = ledger[pair_id("http://site.example/4.jpg", "four")]
    assert (pixel["reason"], pixel["value"]) == ("pixel_declared", "1x?")
    assert len(ledger) == 2


def test_images_redirects_and_revisits_are_indexed_when_fetch_may_read_them(
    plain_engine: Any,
) -> None:
    parts = [
        make_record(make_response(JPEG, content_type="image/jpeg"), uri="http://h/1.jpg"),
        make_record(make_response(JPEG, content_type="text/html"), uri="http://h/2.jpg"),
        make_record(JPEG, kind="resource", uri="http://h/3.jpg"),
        make_record(make_response(b"", "Location: /4", status="308 Moved"), uri="http://h/4"),
        make_record(make_response(b"", "Location: /5", status="304 No"), uri="http://h/5"),
        make_record(make_response(), kind="revisit", uri="http://h/6"),
        make_record(make_response(JPEG, status="404 No"), uri="http://h/7.jpg"),
    ]
    found = extract(plain_engine, zipped(*parts))
    rows = [(row["kind"], row["url"], row["offset"]) for row in found.rows("images")]
    offsets = [len(zipped(*parts[:number])) for number in range(len(parts))]
    assert rows == [
        ("image", "http://h/1.jpg", offsets[0]),
        ("image", "http://h/2.jpg", offsets[1]),
        ("image", "http://h/3.jpg", offsets[2]),
        ("redirect", "http://h/4", offsets[3]),
        ("revisit", "http://h/6", offsets[5]),
    ]
    assert found.unit.notes["image_unseekable"] == 0
    one_member = extract(plain_engine, zipped(b"".join(parts)))
    assert one_member.rows("images") == []
    assert one_member.unit.notes["image_unseekable"] == 5


def test_bad_regions_are_dead_letters_without_content(plain_engine: Any) -> None:
    first, second = zipped(make_page(1)), zipped(make_page(2))
    data = first + bytes(50) + second + zipped(make_page(3, length=7))
    found = extract(plain_engine, data)
    assert found.records == {"read": 4, "pages": 2, "junk": 1, "record_length": 1}
    assert found.rows("deadletter") == [
        {
            "source_file": "a.warc.gz",
            "offset": len(first),
            "length": 50,
            "reason": "junk",
            "detail": "",
        },
        {
            "source_file": "a.warc.gz",
            "offset": len(first) + 50 + len(second),
            "length": len(zipped(make_page(3, length=7))),
            "reason": "record_length",
            "detail": "Content-Length 7",
        },
    ]


def written_by_warcio(is_packed: bool) -> bytes:
    file = io.BytesIO()
    writer = WARCWriter(file, gzip=is_packed)
    writer.write_record(writer.create_warcinfo_record("a", {"software": "x"}))
    for number in range(5):
        head = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
        body = io.BytesIO(f'<img src=/{number}.jpg alt="photo {number}">'.encode())
        url = f"http://site.example/{number}"
        record = writer.create_warc_record(url, "response", payload=body, http_headers=head)
        writer.write_record(record)
        record.raw_stream.close()
    return file.getvalue()


def test_what_warcio_writes_is_read_the_same_packed_or_not(plain_engine: Any) -> None:
    for is_packed in (True, False):
        found = extract(plain_engine, written_by_warcio(is_packed), name=f"{is_packed}")
        assert found.records == {"read": 6, "pages": 5, "warcinfo": 1}
        assert found.pairs() == [
            (f"http://site.example/{number}.jpg", f"photo {number}") for number in range(5)
        ]


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_the_sums_hold_on_damaged_bytes(data: st.DataObject, plain_engine: Any) -> None:
    parts = [make_page(1), make_record(b"x", kind="metadata"), make_page(2, eol=b"\n")]
    whole = bytearray(zipped(*parts) if data.draw(st.booleans()) else b"".join(parts))
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(whole) - 1))
        if data.draw(st.booleans()):
            whole[at] = data.draw(st.integers(0, 255))
        else:
            del whole[at : at + data.draw(st.integers(1, 300))]
    found = extract(plain_engine, bytes(whole) or b"\0")
    records = found.records
    assert records.pop("read") == sum(records.values())
    assert found.unit.rows_in == found.unit.rows_out + sum(found.unit.drops.values())


def test_pages_without_rows_do_not_pile_up(
    plain_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.stages.extract_archive.BATCH_ROWS", 2)
    empty = [page("<p>text")] * 5
    found = extract(plain_engine, zipped(*empty, make_page(1), *empty, make_page(2)))
    assert [text for _, text in found.pairs()] == ["photo 1", "photo 2"]
