import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.readers.headers import (
    BLANK_LINE,
    Headers,
    bounded,
    content_length,
    media_type,
    record_time,
)


def test_names_ignore_case_and_values_keep_theirs() -> None:
    headers = Headers(b"HTTP/1.1 200 OK\r\nContent-TYPE :  Text/HTML \r\nX: 1\r\nx: 2\nno colon")
    assert headers.get("content-type") == "Text/HTML"
    assert headers.all("x") == ["1", "2"]
    assert (headers.get("y"), headers.all("y")) == (None, [])
    assert list(headers) == [("content-type", "Text/HTML"), ("x", "1"), ("x", "2")]


def test_values_keep_every_byte_and_every_colon() -> None:
    value = bytes(byte for byte in range(1, 256) if byte not in b"\r\n")
    [(_, found)] = Headers(b"x: -" + value + b"-")
    assert found.encode("latin-1") == b"-" + value + b"-"
    assert Headers(b"x: a:b:c").get("x") == "a:b:c"


def test_a_line_that_begins_with_a_blank_goes_on() -> None:
    assert Headers(b" lost\r\nx: a\r\n  b\r\n\tc\r\ny: d").get("x") == "a b c"


def test_a_flood_of_folded_lines_stays_linear() -> None:
    value = Headers(b"x: a\n" + b" bcd\n" * 200_000).get("x")
    assert value is not None
    assert len(value) < 5000


@given(st.binary(max_size=200))
def test_any_bytes_are_headers(block: bytes) -> None:
    for name, value in Headers(block):
        assert name == name.strip().lower()
        assert value == value.strip()


@pytest.mark.parametrize(
    ("block", "end"),
    [
        (b"a: 1\r\n\r\nbody", 8),
        (b"a: 1\n\nbody", 6),
        (b"a: 1\n\r\nbody", 7),
        (b"a: 1\r\n\nbody", 7),
        (b"a: 1\r\r\nbody", None),
        (b"a: 1\r\n \r\nbody", None),
    ],
)
def test_a_blank_line_is_two_line_ends(block: bytes, end: int | None) -> None:
    found = BLANK_LINE.search(block)
    assert (found.end() if found else None) == end


@pytest.mark.parametrize(
    ("block", "length"),
    [
        (b"Content-Length: 0", 0),
        (b"content-length:12", 12),
        (b"Content-Length: 007\r\nContent-Length: 007", 7),
        (b"Content-Length: 999999999999999999", 10**18 - 1),
        (b"Content-Length: 1\r\nContent-Length: 2", None),
        (b"Content-Length: 1000000000000000000", None),
        (b"Content-Length: -1", None),
        (b"Content-Length: +1", None),
        (b"Content-Length: 1.0", None),
        (b"Content-Length:", None),
        (b"Content-Length: \xb2", None),  # a superscript two is a digit, and no number
        (b"", None),
    ],
)
def test_content_length(block: bytes, length: int | None) -> None:
    assert content_length(Headers(block)) == length


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-06T07:08:09Z", datetime.datetime(2024, 5, 6, 7, 8, 9)),
        ("2024-05-06T07:08:09.5Z", datetime.datetime(2024, 5, 6, 7, 8, 9, 500_000)),
        ("2024-05-06T07:08:09.123456789Z", datetime.datetime(2024, 5, 6, 7, 8, 9, 123_456)),
        ("1969-12-31t23:59:59z", datetime.datetime(1969, 12, 31, 23, 59, 59)),
        ("0001-01-01T00:00:00Z", datetime.datetime(1, 1, 1)),
        ("2024-02-30T00:00:00Z", None),
        ("2024-05-06T07:08:60Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("2024-05-06T07:08:09", None),
        ("2024-05-06", None),
        ("٢٠٢٤-05-06T07:08:09Z", None),
        ("", None),
        (None, None),
    ],
)
def test_record_time(text: str | None, expected: datetime.datetime | None) -> None:
    found = record_time(text)
    epoch = datetime.datetime(1970, 1, 1)
    assert (found is None) == (expected is None)
    if found is not None:
        assert epoch + datetime.timedelta(microseconds=found) == expected


def test_media_type() -> None:
    assert media_type(" Text/HTML ; charset=x") == "text/html"
    assert media_type(None) == media_type("") == media_type(";") == ""


def test_values_too_long_to_be_real_are_none() -> None:
    assert bounded("x" * 256) == "x" * 256
    assert bounded("x" * 257) is bounded("") is bounded(None) is None
