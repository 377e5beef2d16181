"""The body of an HTTP message: chunks joined, codings undone, every decoder under a byte limit."""

import codecs
import dataclasses
import io
import re
from collections.abc import Callable, Sequence

import brotli
import zstandard
from isal import isal_zlib

from pipeline.readers.reasons import Fault
from pipeline.readers.resync import InflateError

MAX_CODINGS = 3
MAX_CHUNKS = 200_000
"""Chunks of one body; a body of smaller ones is cut; provisional."""
MAX_MEMBERS = 1_000
"""gzip members of one body; provisional."""
BOMB_BYTES = 1 << 20
BOMB_RATIO = 100
"""Output above `BOMB_BYTES` and this many times what was read of the input is a bomb."""
_SLICE_BYTES = 1 << 12
"""Of input at once: of deflate at most 1,032 times as much comes out."""
_OUT_BYTES = 1 << 20
"""What comes out of brotli at once."""
_ZSTD_SLICE_BYTES = 1 << 6
"""A block of 4 bytes may hold 128 KiB, and this decoder takes no limit: 2 MiB at once."""
_MARKUP_BYTES = 1 << 12
"""Looked at for the first `<`."""
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,1024})?\r?\n")
_LINE_END = re.compile(rb"\r?\n")
_MARKUP = re.compile(rb"\s*<")
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_WINDOW_BYTES = 8 << 20
"""The most that RFC 9659 lets a server ask of us."""


@dataclasses.dataclass(frozen=True, slots=True)
class Body:
    """A decoded body."""

    data: memoryview
    """Of the record itself if there was nothing to undo: most archives hold decoded pages."""
    is_cut: bool
    """Whether its coding ended early, or it was longer than the limit."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Decoded:
    data: bytes
    read: int
    """Bytes of the input that were read."""
    is_cut: bool = False
    """Whether its end is missing: of the input, or beyond the limit."""
    is_broken: bool = False
    """Whether the decoder refused the input."""


def decode_body(
    raw: bytes | memoryview,
    transfer: Sequence[str],
    codings: Sequence[str],
    max_bytes: int,
) -> Body | Fault:
    """Undo Transfer-Encoding and Content-Encoding.

    Args:
        raw: the stored body.
        transfer: the values of all Transfer-Encoding fields; only `chunked` is undone.
        codings: the values of all Content-Encoding fields, in the order of the message.
        max_bytes: the result is cut at this size.

    Returns:
        The body; `BODY_TOO_LARGE` for a bomb, `BODY_ENCODING` where a coding gave nothing.
        A body that does not begin as its coding demands is taken as it is: writers that decode
        bodies often keep the header.
    """
    data, is_cut = memoryview(raw), False
    if "chunked" in _words(transfer):
        data, is_cut = _join_chunks(data)
    names = [name for name in _words(codings) if data and name not in {"", "identity"}]
    if len(names) > MAX_CODINGS:
        return Fault.BODY_ENCODING
    for name in reversed(names):
        decoded = _undo(name, data, max_bytes)
        if decoded is None:
            continue
        if len(decoded.data) > BOMB_BYTES and len(decoded.data) > BOMB_RATIO * decoded.read:
            return Fault.BODY_TOO_LARGE
        lost = decoded.is_cut or decoded.is_broken
        if not decoded.data and lost:
            return Fault.BODY_ENCODING
        data, is_cut = memoryview(decoded.data), is_cut or lost
    return Body(data[:max_bytes], is_cut or len(data) > max_bytes)


def _words(values: Sequence[str]) -> list[str]:
    return [word.strip().lower() for value in values for word in value.split(",")]


def _join_chunks(data: memoryview) -> tuple[memoryview, bool]:
    """Return the chunks' content and whether it ended early; what is not chunked, whole."""
    joined = bytearray()
    at = chunks = 0
    while (found := _CHUNK.match(data, at)) and chunks < MAX_CHUNKS:
        size = int(found[1], 16)
        if not size:
            return memoryview(joined), False
        part = data[found.end() : found.end() + size]
        joined += part
        chunks += 1
        at = found.end() + size
        line_end = _LINE_END.match(data, at)
        if len(part) < size or not line_end:
            return memoryview(joined), True
        at = line_end.end()
    return (memoryview(joined), True) if chunks else (data, False)


def _undo(name: str, data: memoryview, limit: int) -> _Decoded | None:
    """Undo one coding; None means that the data is not in it."""
    decoder = _DECODERS.get(name)
    decoded = decoder(data, limit) if decoder else _Decoded(b"", 0, is_broken=True)
    if decoded and (decoded.is_broken or not decoded.data) and _looks_like_markup(data):
        return None  # plain text may decode to a few bytes of garbage before a decoder notices
    return decoded


def _gzip(data: memoryview, limit: int) -> _Decoded | None:
    return _members(data, GZIP_MAGIC, limit, lambda member, most: _inflate(member, 31, most))


def _members(
    data: memoryview, magic: bytes, limit: int, decode: Callable[[memoryview, int], _Decoded]
) -> _Decoded | None:
    """Undo a format whose parts may follow each other, each with the magic bytes."""
    if not _starts(data, magic):
        return None
    parts: list[bytes] = []
    total = at = 0
    for _ in range(MAX_MEMBERS):
        decoded = decode(data[at:], limit - total)
        parts.append(decoded.data)
        total += len(decoded.data)
        at += decoded.read
        ended = not decoded.is_cut and not decoded.is_broken
        if not ended or not _starts(data[at:], magic):
            return dataclasses.replace(decoded, data=b"".join(parts), read=at)
    return _Decoded(b"".join(parts), at, is_cut=True)


def _deflate(data: memoryview, limit: int) -> _Decoded | None:
    """Undo zlib's format, or the raw one that some servers send under the same name."""
    head = int.from_bytes(data[:2], "big")
    if len(data) >= 2 and head >> 8 & 15 == 8 and head % 31 == 0:
        decoded = _inflate(data, 15, limit)
        if decoded.data or not decoded.is_broken:
            return decoded
    decoded = _inflate(data, -15, limit)
    return decoded if decoded.data or not decoded.is_broken else None


def _inflate(data: memoryview, wbits: int, limit: int) -> _Decoded:
    """Inflate up to `limit` + 1 bytes; what came out before a fault is kept."""
    inflator = isal_zlib.decompressobj(wbits)
    out = io.BytesIO()  # a list of parts would hold everything twice when it is joined
    at = 0
    while at < len(data):
        piece = data[at : at + _SLICE_BYTES]
        at += len(piece)
        try:
            out.write(inflator.decompress(piece, limit + 1 - out.tell()))
        except InflateError:
            return _Decoded(out.getvalue(), at, is_broken=True)
        if out.tell() > limit:
            return _Decoded(out.getvalue(), at - len(inflator.unconsumed_tail), is_cut=True)
        if inflator.eof:
            return _Decoded(out.getvalue(), at - len(inflator.unused_data))
    return _Decoded(out.getvalue(), at, is_cut=True)


def _brotli(data: memoryview, limit: int) -> _Decoded:
    decoder = brotli.Decompressor()
    out = io.BytesIO()
    at = 0
    while not decoder.is_finished() and out.tell() <= limit:
        piece = b""
        if decoder.can_accept_more_data():
            piece = bytes(data[at : at + _SLICE_BYTES])
            at += len(piece)
            if not piece:
                break
        most = min(limit + 1 - out.tell(), _OUT_BYTES)
        try:
            out.write(decoder.process(piece, output_buffer_limit=most))
        except brotli.error:
            return _Decoded(out.getvalue(), at, is_broken=True)
    return _Decoded(out.getvalue(), at, is_cut=not decoder.is_finished())


def _zstd(data: memoryview, limit: int) -> _Decoded | None:
    return _members(data, ZSTD_MAGIC, limit, _zstd_frame)


def _zstd_frame(data: memoryview, limit: int) -> _Decoded:
    decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj()
    out = io.BytesIO()
    at = 0
    while at < len(data) and out.tell() <= limit and not decoder.eof:
        piece = data[at : at + _ZSTD_SLICE_BYTES]
        at += len(piece)
        try:
            out.write(decoder.decompress(piece))
        except zstandard.ZstdError:
            return _Decoded(out.getvalue(), at, is_broken=True)
    is_cut = out.tell() > limit or not decoder.eof
    return _Decoded(out.getvalue(), at - len(decoder.unused_data), is_cut=is_cut)


def _starts(data: memoryview, magic: bytes) -> bool:
    return data[: len(magic)] == magic


def _looks_like_markup(data: memoryview) -> bool:
    head = bytes(data[:_MARKUP_BYTES]).removeprefix(codecs.BOM_UTF8)
    return _MARKUP.match(head) is not None


_DECODERS: dict[str, Callable[[memoryview, int], _Decoded | None]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
