import gzip
import io
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.readers import members
from pipeline.readers.framing import BadRegion, Limits, Record
from pipeline.readers.reasons import Fault
from pipeline.readers.resync import BLOCK_BYTES
from pipeline.readers.warc import read_records
from tests.pipeline.readers.archives import (
    LIMITS,
    make_page,
    make_record,
    outcomes,
    read,
    zipped,
)
from tests.pipeline.readers.test_resync import slow

HEADER_BYTES = 10
"""Of a gzip member without a name: magic, method, flags, time, system."""


def stored(data: bytes) -> bytes:
    """Return a member that is not compressed, so that its content shows."""
    return gzip.compress(data, 0, mtime=0)


def flipped(data: bytes, *places: int) -> bytes:
    changed = bytearray(data)
    for place in places:
        changed[place] ^= 0xFF
    return bytes(changed)


def test_a_member_is_where_its_offset_and_length_say() -> None:
    pages = [make_page(number) for number in range(3)]
    data = zipped(*pages)
    for found, page in zip(read(data), pages, strict=True):
        assert isinstance(found, Record)
        assert found.seekable
        assert gzip.decompress(data[found.offset : found.offset + found.length]) == page


def test_members_without_content_and_line_ends_are_nothing() -> None:
    data = zipped(b"", make_page(1), b"\r\n", make_page(2), b"")
    assert outcomes(read(data)) == ["1", "2"]


@settings(deadline=None)
@given(st.data())
def test_flipped_bytes_cost_their_members_only(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    broken = data.draw(st.sets(st.integers(0, count - 1)))
    parts = zipped_parts(count)
    for number in broken:
        body = st.integers(HEADER_BYTES, len(parts[number]) - 1)
        magic = st.integers(0, 2)
        places = data.draw(st.sets(st.one_of(body, magic), min_size=1, max_size=4))
        parts[number] = flipped(parts[number], *places)
    found = read(b"".join(parts))
    assert [name for name in outcomes(found) if name[0] != "!"] == [
        str(number) for number in range(count) if number not in broken
    ]
    regions = [each for each in found if isinstance(each, BadRegion)]
    starts = [number for number in sorted(broken) if number - 1 not in broken]
    assert [each.offset for each in regions] == [sum(map(len, parts[:number])) for number in starts]
    assert {each.fault for each in regions} <= {
        *(Fault.GZIP_CORRUPT, Fault.GZIP_TRUNCATED, Fault.JUNK)
    }


def zipped_parts(count: int) -> list[bytes]:
    return [zipped(make_page(number)) for number in range(count)]


def test_neighbours_that_are_damaged_are_one_region() -> None:
    parts = zipped_parts(5)
    parts[1], parts[2] = flipped(parts[1], 60), flipped(parts[2], 60)
    found = read(b"".join(parts))
    assert outcomes(found) == ["0", "!gzip_corrupt", "3", "4"]
    assert (found[1].offset, found[1].length) == (len(parts[0]), len(parts[1]) + len(parts[2]))


@pytest.mark.parametrize("place", [-1, -5])
def test_the_checksum_and_the_size_of_a_member_are_checked(place: int) -> None:
    parts = zipped_parts(3)
    parts[1] = flipped(parts[1], place)
    assert outcomes(read(b"".join(parts))) == ["0", "!gzip_corrupt", "2"]


def test_junk_between_members_is_one_region_and_costs_no_record() -> None:
    parts = zipped_parts(3)
    data = parts[0] + bytes(50) + parts[1] + b"HTTP/1.1 500" + parts[2] + bytes(9)
    found = read(data)
    assert outcomes(found) == ["0", "!junk", "1", "!junk", "2", "!junk"]
    assert (found[1].offset, found[1].length) == (len(parts[0]), 50)


@pytest.mark.parametrize("kept", [1, 2, 9, 10, 18, 100, -1])
def test_a_member_cut_by_the_end_of_the_file_is_no_page(kept: int) -> None:
    parts = zipped_parts(3)
    found = read(parts[0] + parts[1] + parts[2][:kept])
    assert outcomes(found) == ["0", "1", "!gzip_truncated"]


def test_a_file_whose_beginning_is_damaged_is_read_from_its_first_sound_record() -> None:
    parts = zipped_parts(3)
    assert outcomes(read(flipped(parts[0], 0) + parts[1] + parts[2])) == ["!junk", "1", "2"]
    plain = b"\0" + make_page(1) + make_page(2)
    assert outcomes(read(plain)) == ["!junk", "2"]


def test_a_gzip_file_that_holds_no_archive_is_one_region() -> None:
    assert outcomes(read(zipped(b"no archive"))) == ["!junk"]
    assert outcomes(read(zipped(make_page(1), b"no archive", make_page(2)))) == ["1", "!junk", "2"]


@pytest.mark.parametrize("wrong", [-50, -3, 5, 60, 600, 10**9])
def test_a_wrong_length_costs_its_member_only(wrong: int) -> None:
    size = len(make_page(2).partition(b"\r\n\r\n")[2]) - 4
    data = zipped(make_page(1), make_page(2, length=size + wrong), make_page(3))
    found = read(data)
    assert outcomes(found) == ["1", "!record_length", "3"]
    assert isinstance(found[1], BadRegion)
    assert found[1].detail == f"Content-Length {size + wrong}"


@pytest.mark.parametrize("length", ["", "-1", str(10**18)])
def test_a_length_that_is_none_costs_its_member_only(length: str) -> None:
    data = zipped(make_page(1), make_page(2, length=length), make_page(3))
    assert outcomes(read(data)) == ["1", "!record_length", "3"]


def test_a_header_above_the_limit_costs_its_member_only() -> None:
    large = make_record(b"x", uri="2", fields=["X: " + "a" * 900_000])
    data = zipped(make_page(1), large, make_page(3))
    assert outcomes(read(data)) == ["1", "!header_too_large", "3"]


def test_a_gzip_file_of_one_member_is_read_record_by_record() -> None:
    pages = [make_page(number) for number in range(4)]
    data = zipped(b"".join(pages))
    found = read(data)
    assert outcomes(found) == ["0", "1", "2", "3"]
    for each in found:
        assert isinstance(each, Record)
        assert (each.offset, each.length, each.seekable) == (0, len(data), False)


def test_damage_inside_one_member_of_many_records_costs_the_record() -> None:
    pages = [make_page(1), make_page(2, length=9), make_page(3)]
    found = read(zipped(b"".join(pages)))
    assert outcomes(found) == ["1", "!record_length", "3"]
    assert isinstance(found[1], BadRegion)
    assert found[1].detail == f"at inflated byte {len(pages[0])}; Content-Length 9"
    assert outcomes(read(zipped(b"".join(pages[::-1])))) == ["3", "!record_length", "1"]
    assert outcomes(read(zipped(b"".join(pages[1:])))) == ["!record_length", "3"]


def test_caps_count_per_record_in_a_member_of_many() -> None:
    limits = Limits(record_bytes=2000, header_bytes=1000)
    pages = [make_page(number) for number in range(9)]
    large = make_record(b"x" * 3000, uri="large")
    data = zipped(b"".join([*pages, large, *pages]))
    names = [str(number) for number in range(9)]
    assert outcomes(read(data, limits)) == [*names, "!record_too_large", *names]
    data = zipped(large + b"".join(pages))
    assert outcomes(read(data, limits)) == ["!record_too_large", *names]
    data = zipped(make_page(0), b"".join(pages), make_page(9))
    assert outcomes(read(data, limits)) == ["0", *names, "9"]


def test_a_record_above_the_limit_is_passed_over_and_not_kept() -> None:
    bomb = zipped(make_record(bytes(60 << 20), uri="2"))
    limits = Limits(record_bytes=8 << 20, header_bytes=1 << 16)
    data = zipped(make_page(1)) + bomb + zipped(make_page(3))
    tracemalloc.start()
    found = read(data, limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outcomes(found) == ["1", "!record_too_large", "3"]
    assert peak < 2 * limits.record_bytes + (8 << 20)


def test_a_member_that_never_seems_to_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "DRAIN_BYTES", 10 << 20)
    bomb = zipped(make_record(bytes(30 << 20), uri="2"))
    found = read(zipped(make_page(1)) + bomb + zipped(make_page(3)))
    assert outcomes(found) == ["1", "!record_too_large", "3"]
    assert (found[1].length, found[1].offset) == (len(bomb), len(zipped(make_page(1))))


def test_a_member_that_begins_inside_a_damaged_one_is_found() -> None:
    # A sound archive inside a damaged, stored member is all that is left of that member.
    inner = zipped(make_page(7))
    data = flipped(stored(b"x" * 40 + inner + b"x" * 40), 20) + zipped(make_page(1))
    assert outcomes(read(data)) == ["!gzip_corrupt", "7", "!junk", "1"]


@pytest.mark.parametrize("block_bytes", [1, 2, 63, 1000, BLOCK_BYTES])
@pytest.mark.parametrize("most", [1, 7, 1 << 16])
def test_read_sizes_change_nothing(block_bytes: int, most: int) -> None:
    parts = zipped_parts(6)
    parts[2] = flipped(parts[2], 100)
    tidy = b"".join(parts[:4]) + bytes(50) + parts[4] + parts[5][:50]
    plain = b"\r\n".join([make_page(0), make_page(1, length=7), make_page(2), make_page(3)[:99]])
    for data in (tidy, plain, zipped(plain), zipped(plain) + b"junk"):
        found = read_records(slow(data, most), LIMITS, block_bytes)
        assert list(map(describe, found)) == list(map(describe, read(data)))


def describe(found: Record | BadRegion) -> object:
    if isinstance(found, BadRegion):
        return found
    return found.offset, found.length, found.seekable, list(found.headers), bytes(found.block)


def test_optional_fields_of_a_gzip_header_are_passed_over() -> None:
    body = zlib.compressobj(9, zlib.DEFLATED, -15)
    page = make_page(1)
    deflated = body.compress(page) + body.flush()
    trailer = zlib.crc32(page).to_bytes(4, "little") + len(page).to_bytes(4, "little")
    extra = b"\x08\0sl\x04\0\0\0\0\0"
    head = b"\x1f\x8b\x08\x0c\0\0\0\0\0\xff" + extra + b"name.warc\0"
    member = head + deflated + trailer
    assert outcomes(read(member + flipped(member, 100) + member)) == ["1", "!gzip_corrupt", "1"]


def test_a_member_of_many_is_a_file_only_while_it_is_read() -> None:
    pages = b"".join(make_page(number) for number in range(3000))
    found = read_records(io.BytesIO(zipped(pages)), LIMITS)
    assert len(pages) > LIMITS.record_bytes
    assert outcomes(found) == [str(number) for number in range(3000)]
