"""What an image file is by its own bytes, without a decoder: format, wholeness, passes."""

from collections.abc import Collection

from filters.verdict import Drop, DropReason

HEAD_BYTES = 64
_MARKUP_BYTES = 1024
_OTHER_IMAGES = (
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"\0\0\1\0", "ico"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL ", "jxl"),
    (b"\0\0\0\x0cjP  ", "jp2"),
)
_OTHER_FILES = ((b"%PDF", "pdf"), (b"\x1f\x8b", "gzip"), (b"PK\x03\x04", "zip"))
_SCAN = 0xDA
_PROGRESSIVE = (0xC2, 0xCA)
_MAX_BOXES = 1000
_BRANDS = {b"avif": "avif", b"avis": "avif"}


def sniff(body: bytes, formats: Collection[str]) -> str | Drop:
    """Return the format's name, one of `formats`, or why the body is not kept.

    Bodies that are no image at all are `not_image`, images of other formats `format_refused`; the
    value says what they look like.
    """
    if not body:
        return Drop(DropReason.EMPTY_BODY)
    head = body[:HEAD_BYTES]
    known = _known(head)
    if known in formats:
        return known
    other = known or next((name for magic, name in _OTHER_IMAGES if head.startswith(magic)), "")
    if not other and head[4:8] == b"ftyp":
        other = "heic" if head[8:12] in (b"heic", b"heix", b"mif1", b"hevc") else ""
    if other:
        return Drop(DropReason.FORMAT_REFUSED, other)
    return Drop(DropReason.NOT_IMAGE, _described(body))


def _known(head: bytes) -> str:
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, end, 4))]
        return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), "")
    return ""


def _described(body: bytes) -> str:
    named = next((name for magic, name in _OTHER_FILES if body.startswith(magic)), "")
    if named:
        return named
    text = body[:_MARKUP_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in text:
        return "svg"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in text:
        return "html"
    if text.startswith(b"<"):
        return "xml"
    if text.startswith((b"{", b"[")):
        return "json"
    return "other"


def is_cut(body: bytes, name: str) -> bool:
    """Tell whether a WebP or AVIF file is shorter than it says; other decoders notice."""
    if name == "webp":
        return int.from_bytes(body[4:8], "little") + 8 > len(body)
    return name == "avif" and _is_box_cut(body)


def scan_count(body: bytes) -> int:
    """Return how many passes over its pixels a JPEG may ask for; 1 for other formats.

    Scan markers are counted up to the end, so trailing data can add some, but only where the
    decoder would read on: in progressive files and those whose first scan lacks a component.
    """
    if not body.startswith(b"\xff\xd8"):
        return 1
    components, at = 0, 2
    while at + 4 <= len(body) and body[at] == 0xFF:
        marker = body[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _PROGRESSIVE:
            return body.count(b"\xff\xda")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            components = body[at + 9] if at + 9 < len(body) else 0
        if marker == _SCAN:
            return 1 if body[at + 4 : at + 5] == bytes([components]) else body.count(b"\xff\xda")
        at += 2 + int.from_bytes(body[at + 2 : at + 4], "big")
    return body.count(b"\xff\xda")


def _is_box_cut(body: bytes) -> bool:
    """Walk the boxes of an ISO base media file; each begins with its size and name."""
    at = 0
    for _ in range(_MAX_BOXES):
        size = int.from_bytes(body[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(body[at + 8 : at + 16], "big")
        if size < 8:  # 0: up to the end; else no box
            return False
        at += size
        if at >= len(body):
            return at > len(body)
    return False
