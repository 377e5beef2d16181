from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from filters.verdict import Drop, DropReason
from pipeline.fetch.sniff import is_cut, scan_count, sniff

Photo = Callable[[int, int], Image.Image]
Encode = Callable[..., bytes]
ALL = ("jpeg", "png", "webp", "gif", "avif")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "webp"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "avif"),
        (b"\0\0\0\x1cftypavis\0\0\0\0", "avif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0miafavif", "avif"),
    ],
)
def test_formats_are_known_by_their_first_bytes(body: bytes, name: str) -> None:
    assert sniff(body, ALL) == name
    assert sniff(body, ()) == Drop(DropReason.FORMAT_REFUSED, name)


@pytest.mark.parametrize(
    ("body", "looks_like"),
    [
        (b"<!DOCTYPE html><p>", "html"),
        (b"\xef\xbb\xbf \n<HTML>", "html"),
        (b'<?xml version="1.0"?><svg xmlns="">', "svg"),
        (b"<svg/>", "svg"),
        (b"<?xml version='1.0'?><a/>", "xml"),
        (b'{"error": 1}', "json"),
        (b"%PDF-1.7", "pdf"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"hello", "other"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "other"),
    ],
)
def test_what_is_no_image_is_named(body: bytes, looks_like: str) -> None:
    assert sniff(body, ALL) == Drop(DropReason.NOT_IMAGE, looks_like)


@pytest.mark.parametrize(
    ("body", "name"),
    [(b"BM\x10", "bmp"), (b"II*\0", "tiff"), (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "heic")],
)
def test_other_image_formats_are_refused(body: bytes, name: str) -> None:
    assert sniff(body, ALL) == Drop(DropReason.FORMAT_REFUSED, name)


def test_an_empty_body_has_its_own_reason() -> None:
    assert sniff(b"", ALL) == Drop(DropReason.EMPTY_BODY)


@given(st.binary(max_size=80))
def test_no_bytes_raise(body: bytes) -> None:
    sniff(body, ALL)


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_whole_files_are_not_cut(photo: Photo, encoded: Encode, kind: str) -> None:
    body = encoded(photo(80, 80), kind)
    assert not is_cut(body, kind.lower())
    assert is_cut(body[:-1], kind.lower())


def test_scans_are_counted_where_the_decoder_reads_on(photo: Photo, encoded: Encode) -> None:
    assert scan_count(encoded(photo(80, 80), "PNG")) == 1
    baseline = encoded(photo(80, 80))
    assert scan_count(baseline) == 1
    assert scan_count(baseline + b"\xff\xda" * 50) == 1
    progressive = encoded(photo(80, 80), progressive=True)
    assert scan_count(progressive) == 10
    assert scan_count(progressive + b"\xff\xda" * 50) == 60


@given(st.binary(max_size=60))
def test_no_framing_raises(tail: bytes) -> None:
    scan_count(b"\xff\xd8\xff" + tail)
    is_cut(tail, "avif")
    is_cut(tail, "webp")
