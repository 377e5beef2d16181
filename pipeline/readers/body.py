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
_SLICE_BYTES = 1 << 14
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

    data: bytes
    is_cut: bool
    """Whether its coding ended early, or it was longer than the limit."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Decoded:
    data: bytes
    read: int
    """Bytes of the input that were read."""
    is_cut: bool


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
    data, is_cut = bytes(raw), False
    if "chunked" in _words(transfer):
        data, is_cut = _join_chunks(data)
    names = [name for name in _words(codings) if name not in {"", "identity"}]
    if len(names) > MAX_CODINGS:
        return Fault.BODY_ENCODING
    for name in reversed(names):
        decoded = _undo(name, data, max_bytes)
        if decoded is None:
            continue
        if len(decoded.data) > BOMB_BYTES and len(decoded.data) > BOMB_RATIO * decoded.read:
            return Fault.BODY_TOO_LARGE
        if data and not decoded.data and decoded.is_cut:
            return Fault.BODY_ENCODING
        data, is_cut = decoded.data, is_cut or decoded.is_cut
    return Body(data[:max_bytes], is_cut or len(data) > max_bytes)


def _words(values: Sequence[str]) -> list[str]:
    return [word.strip().lower() for value in values for word in value.split(",")]


def _join_chunks(data: bytes) -> tuple[bytes, bool]:
    """Return the chunks' content and whether it ended early; what is not chunked, whole."""
    parts: list[bytes] = []
    at = 0
    while (found := _CHUNK.match(data, at)) and len(parts) < MAX_CHUNKS:
        size = int(found[1], 16)
        if not size:
            return b"".join(parts), False
        part = data[found.end() : found.end() + size]
        parts.append(part)
        at = found.end() + size
        line_end = _LINE_END.match(data, at)
        if len(part) < size or not line_end:
            return b"".join(parts), True
        at = line_end.end()
    return (b"".join(parts), True) if parts else (data, False)


def _undo(name: str, data: bytes, limit: int) -> _Decoded | None:
    """Undo one coding; None means that the data is not in it."""
    decoder = _DECODERS.get(name)
    decoded = decoder(data, limit) if decoder else _Decoded(b"", 0, True)
    if decoded and not decoded.data and decoded.is_cut and _looks_like_markup(data):
        return None
    return decoded


def _gzip(data: bytes, limit: int) -> _Decoded | None:
    if not data.startswith(GZIP_MAGIC):
        return None
    parts: list[bytes] = []
    total = at = 0
    for _ in range(MAX_MEMBERS):
        decoded = _inflate(memoryview(data)[at:], 31, limit - total)
        parts.append(decoded.data)
        total += len(decoded.data)
        at += decoded.read
        if decoded.is_cut or not data.startswith(GZIP_MAGIC, at):
            return _Decoded(b"".join(parts), at, decoded.is_cut)
    return _Decoded(b"".join(parts), at, True)


def _deflate(data: bytes, limit: int) -> _Decoded | None:
    """Undo zlib's format, or the raw one that some servers send under the same name."""
    head = int.from_bytes(data[:2], "big")
    if len(data) >= 2 and head >> 8 & 15 == 8 and head % 31 == 0:
        decoded = _inflate(memoryview(data), 15, limit)
        if decoded.data or not decoded.is_cut:
            return decoded
    decoded = _inflate(memoryview(data), -15, limit)
    return decoded if decoded.data or not decoded.is_cut else None


def _inflate(data: memoryview, wbits: int, limit: int) -> _Decoded:
    """Inflate up to `limit` + 1 bytes; what came out before a fault is kept."""
    inflator = isal_zlib.decompressobj(wbits)
    parts: list[bytes] = []
    total = at = 0
    while at < len(data):
        piece: bytes | memoryview = data[at : at + _SLICE_BYTES]
        at += len(piece)
        while True:
            step = limit + 1 - total
            try:
                out = inflator.decompress(piece, step)
            except InflateError:
                return _Decoded(b"".join(parts), at, True)
            parts.append(out)
            total += len(out)
            if total > limit:
                return _Decoded(b"".join(parts), at - len(inflator.unconsumed_tail), True)
            if inflator.eof:
                return _Decoded(b"".join(parts), at - len(inflator.unused_data), False)
            piece = inflator.unconsumed_tail
            if not piece and len(out) < step:
                break
    return _Decoded(b"".join(parts), at, True)


def _brotli(data: bytes, limit: int) -> _Decoded | None:
    decoder = brotli.Decompressor()
    parts: list[bytes] = []
    total = at = 0
    try:
        while not decoder.is_finished() and total <= limit:
            piece = b""
            if decoder.can_accept_more_data():
                piece = data[at : at + _SLICE_BYTES]
                at += len(piece)
                if not piece:
                    break
            out = decoder.process(piece, output_buffer_limit=limit + 1 - total)
            parts.append(out)
            total += len(out)
    except brotli.error:
        return _Decoded(b"".join(parts), at, True)
    return _Decoded(b"".join(parts), at, not decoder.is_finished())


def _zstd(data: bytes, limit: int) -> _Decoded | None:
    if not data.startswith(ZSTD_MAGIC):
        return None
    source = io.BytesIO(data)
    reader = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).stream_reader(
        source, read_size=_SLICE_BYTES, read_across_frames=True
    )
    parts: list[bytes] = []
    total = 0
    try:
        while total <= limit and (out := reader.read(min(limit + 1 - total, 1 << 16))):
            parts.append(out)
            total += len(out)
    except zstandard.ZstdError:
        return _Decoded(b"".join(parts), source.tell(), True)
    return _Decoded(b"".join(parts), source.tell(), total > limit or not total)


def _looks_like_markup(data: bytes) -> bool:
    return _MARKUP.match(data.removeprefix(codecs.BOM_UTF8)) is not None


_DECODERS: dict[str, Callable[[bytes, int], _Decoded | None]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
