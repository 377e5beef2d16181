import gzip
import hashlib
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.readers import body as body_module
from pipeline.readers.body import Body, decode_body
from pipeline.readers.reasons import Fault

PAGE = b"<!doctype html><p>" + b"".join(b"%d a line of text\n" % n for n in range(2000))
NOISE = hashlib.shake_256(b"noise").digest(400_000)
LIMIT = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "x-gzip": lambda data: gzip.compress(data, mtime=0),
    "deflate": zlib.compress,
    "Deflate": raw_deflate,  # under the same name, whose case means nothing
    "br": lambda data: brotli.compress(data, quality=5),
    "zstd": zstd,
}
coding = pytest.mark.parametrize("name", CODINGS)


def chunked(data: bytes, size: int = 1000, eol: bytes = b"\r\n") -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x%s%s%s" % (len(p), eol, p, eol) for p in pieces) + b"0" + eol + eol


def body_of(data: bytes, is_cut: bool) -> Body:
    return Body(memoryview(data), is_cut)


def decode(raw: bytes, *codings: str, transfer: tuple[str, ...] = (), limit: int = LIMIT) -> object:
    return decode_body(raw, transfer, codings, limit)


@coding
def test_each_coding_is_undone(name: str) -> None:
    assert decode(CODINGS[name](PAGE), name) == body_of(PAGE, False)


@coding
def test_chunks_are_joined_before_codings_are_undone(name: str) -> None:
    raw = chunked(CODINGS[name](PAGE), 77)
    assert decode(raw, name, transfer=("chunked",)) == body_of(PAGE, False)


@given(st.lists(st.sampled_from(sorted(CODINGS)), max_size=3), st.booleans())
def test_codings_are_undone_from_the_last_to_the_first(names: list[str], one_field: bool) -> None:
    raw = PAGE
    for name in names:
        raw = CODINGS[name](raw)
    fields = [", ".join(names)] if one_field else names
    assert decode(raw, *fields) == body_of(PAGE, False)


def test_codings_that_are_none_do_nothing() -> None:
    assert decode(PAGE, "identity", "", " Identity , ") == body_of(PAGE, False)
    assert decode(PAGE, transfer=("identity",)) == body_of(PAGE, False)
    assert decode(b"", "gzip", "br", transfer=("chunked",)) == body_of(b"", False)


def test_more_codings_than_anyone_needs_are_refused() -> None:
    raw = gzip.compress(gzip.compress(gzip.compress(gzip.compress(PAGE))))
    assert decode(raw, "gzip, gzip, gzip, gzip") is Fault.BODY_ENCODING


@coding
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n", b"\r\n \t", b"\n" * 300])
def test_a_page_that_is_not_in_its_coding_is_taken_as_it_is(name: str, before: bytes) -> None:
    assert decode(before + PAGE, name) == body_of(before + PAGE, False)
    assert decode(before + PAGE, name, transfer=("chunked",)) == body_of(before + PAGE, False)


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "zstd"])
def test_what_lacks_the_magic_bytes_is_taken_as_it_is(name: str) -> None:
    assert decode(b"plain text", name) == body_of(b"plain text", False)


@pytest.mark.parametrize("name", ["br", "compress", "sdch"])
def test_what_no_decoder_reads_is_a_fault(name: str) -> None:
    assert decode(NOISE[:500], name) is Fault.BODY_ENCODING
    assert decode(PAGE, name) == body_of(PAGE, False)


@coding
def test_a_coding_cut_short_keeps_what_it_gave(name: str) -> None:
    packed = CODINGS[name](NOISE)
    found = decode(packed[: len(packed) * 3 // 4], name)
    assert isinstance(found, Body)
    assert found.is_cut
    assert len(found.data) > 1000
    assert NOISE.startswith(found.data)


@coding
def test_a_coding_cut_before_its_first_byte_gives_nothing(name: str) -> None:
    packed = CODINGS[name](PAGE)
    assert decode(packed[:3], name) in {Fault.BODY_ENCODING, body_of(packed[:3], False)}


@coding
@given(st.data())
def test_a_damaged_coding_raises_nothing(name: str, data: st.DataObject) -> None:
    packed = bytearray(CODINGS[name](PAGE[:3000]))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    found = decode(bytes(packed), name, limit=5000)
    assert isinstance(found, Fault) or len(found.data) <= 5000  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_members_that_follow_each_other_are_one_body(name: str) -> None:
    raw = CODINGS[name](b"one ") + CODINGS[name](b"") + CODINGS[name](b"two")
    assert decode(raw, name) == body_of(b"one two", False)
    assert decode(raw + b"\0\0 junk", name) == body_of(b"one two", False)
    assert decode(raw, name, limit=5) == body_of(b"one t", True)


def test_members_without_end_are_cut() -> None:
    raw = gzip.compress(b"a") * (body_module.MAX_MEMBERS + 5)
    assert decode(raw, "gzip") == body_of(b"a" * body_module.MAX_MEMBERS, True)


@coding
@pytest.mark.parametrize("limit", [0, 1, len(PAGE) - 1, len(PAGE), len(PAGE) + 1])
def test_a_body_is_cut_at_the_limit(name: str, limit: int) -> None:
    expected = body_of(PAGE[:limit], limit < len(PAGE))
    assert decode(CODINGS[name](PAGE), name, limit=limit) == expected
    assert decode(PAGE, limit=limit) == expected


@coding
def test_a_bomb_is_refused_in_bounded_memory(name: str) -> None:
    bomb = CODINGS[name](bytes(100 << 20))
    limit = 5 << 20
    tracemalloc.start()
    found = decode(bomb, name, limit=limit)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is Fault.BODY_TOO_LARGE
    assert peak < 4 * limit


@coding
def test_a_bomb_in_a_bomb_is_refused(name: str) -> None:
    bomb = CODINGS[name](CODINGS["gzip"](bytes(100 << 20)))
    assert decode(bomb, "gzip", name, limit=5 << 20) is Fault.BODY_TOO_LARGE


def test_a_long_page_that_shrinks_well_is_no_bomb() -> None:
    page = PAGE * 40
    raw = gzip.compress(page)
    assert len(page) > 1 << 20
    assert decode(raw, "gzip", limit=10 << 20) == body_of(page, False)


@pytest.mark.parametrize("eol", [b"\r\n", b"\n"])
@pytest.mark.parametrize("size", [1, 3, 4096, 1 << 20])
def test_chunks_of_any_size_are_joined(size: int, eol: bytes) -> None:
    assert decode(chunked(PAGE, size, eol), transfer=("gzip, Chunked",)) == body_of(PAGE, False)


def test_extensions_and_trailers_of_chunks_are_passed_over() -> None:
    raw = b'5 ;name="value"\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n'
    assert decode(raw, transfer=("chunked",)) == body_of(b"hello", False)


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"5\r\nhello\r\n6\r\nwor", b"hellowor"),  # cut in a chunk
        (b"5\r\nhello\r\n", b"hello"),  # before the last
        (b"5\r\nhello\r\nno size\r\n", b"hello"),
        (b"5\r\nhellooo\r\n", b"hello"),  # longer than it says
        (b"5\r\nhello\r\nFFFFFFFF\r\nabc", b"helloabc"),
    ],
)
def test_chunks_that_end_early_are_cut(raw: bytes, data: bytes) -> None:
    assert decode(raw, transfer=("chunked",)) == body_of(data, True)


def test_chunks_without_end_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "MAX_CHUNKS", 10)
    assert decode(chunked(b"x" * 20, 1), transfer=("chunked",)) == body_of(b"x" * 10, True)


@pytest.mark.parametrize("raw", [b"plain", b"<p>", b"123456789\r\nx", b"", b"g\r\n"])
def test_what_is_declared_chunked_and_is_not_is_taken_as_it_is(raw: bytes) -> None:
    assert decode(raw, transfer=("chunked",)) == body_of(raw, False)
