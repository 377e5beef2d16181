import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.readers.framing import BadRegion, Limits, Record, parse_head
from pipeline.readers.reasons import Fault
from pipeline.readers.resync import RESCAN_BYTES
from tests.pipeline.readers.archives import LIMITS, make_page, make_record, outcomes, read

EOL = b"\r\n"


@pytest.mark.parametrize("version", ["0.18", "1.0", "1.1", "2.0"])
@pytest.mark.parametrize("eol", [b"\r\n", b"\n"])
def test_versions_and_line_ends_are_all_read(version: str, eol: bytes) -> None:
    first, second = read(
        make_record(b"one", uri="a", version=version, eol=eol)
        + make_record(b"two\r\n", uri="b", version=version, eol=eol)
    )
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert (bytes(first.block), bytes(second.block)) == (b"one", b"two\r\n")
    assert (first.headers.get("warc-target-uri"), first.kind) == ("a", "response")


def test_a_plain_record_is_where_its_offset_and_length_say() -> None:
    pages = [make_page(number) for number in range(3)]
    data = b"".join(pages)
    for found, page in zip(read(data), pages, strict=True):
        assert isinstance(found, Record)
        assert found.seekable
        assert data[found.offset : found.offset + found.length] == page.removesuffix(EOL * 2)


@pytest.mark.parametrize(
    "length", ["-1", "", "9" * 19, str(10**18), str(10**18 - 1), "5 6", "0x20", "+9", "²", "1e3"]
)
def test_a_length_that_is_none_costs_its_record_only(length: str) -> None:
    data = make_page(1) + make_page(2, length=length) + make_page(3)
    assert outcomes(read(data)) == ["1", "!record_length", "3"]


@pytest.mark.parametrize("wrong", [-300, -50, -3, 5, 60, 590, 5000])
def test_a_wrong_length_merges_nothing(wrong: int) -> None:
    size = len(make_page(2).partition(b"\r\n\r\n")[2]) - 4
    data = make_page(1) + make_page(2, length=size + wrong) + make_page(3) + make_page(4)
    found = read(data)
    assert outcomes(found) == ["1", "!record_length", "3", "4"]
    bad = found[1]
    assert isinstance(bad, BadRegion)
    assert bad.offset == len(make_page(1))
    assert data[bad.offset + bad.length :].startswith(b"WARC/1.1\r\nWARC-Type: response")


def test_contradicting_lengths_are_no_length_and_equal_ones_are_one() -> None:
    twice = make_record(b"body", uri="2", fields=["Content-Length: 4"])
    contradicting = make_record(b"body", uri="3", fields=["Content-Length: 5"])
    assert outcomes(read(make_page(1) + twice + contradicting + make_page(4))) == [
        *("1", "2", "!record_length", "4")
    ]


def test_a_length_that_swallows_whole_records_is_found_out_by_the_digest() -> None:
    swallowed = make_page(2) + make_page(3)
    block = b"x" * 40 + EOL * 2 + swallowed.removesuffix(EOL * 2)
    digest = make_record(b"x" * 40, uri="1", digest=True)
    data = digest.replace(b"Content-Length: 40", b"Content-Length: %d" % len(block)) + swallowed
    assert outcomes(read(data)) == ["!record_length", "2", "3"]


@pytest.mark.parametrize("digest", [True, False])
def test_a_record_may_hold_an_archive(digest: bool) -> None:
    block = b"preface\r\n\r\n" + make_page(2)
    found = read(make_record(block, uri="1", digest=digest) + make_page(3))
    assert outcomes(found) == ["1", "3"]


@pytest.mark.parametrize("digest", ["md5:no hex", "sha256:AAAA", "tiger:XYZ", "sha1", ":"])
def test_a_digest_that_is_none_is_no_evidence(digest: str) -> None:
    block = b"preface\r\n\r\n" + make_page(2)
    record = make_record(block, uri="1", fields=[f"WARC-Block-Digest: {digest}"])
    assert outcomes(read(record + make_page(3))) == ["1", "3"]


def test_a_record_above_the_limit_is_passed_over_whole() -> None:
    large = make_record(b"x" * 3000 + EOL * 2 + make_page(8) + b"x" * 3000, uri="2")
    limits = Limits(record_bytes=2000, header_bytes=1000)
    assert outcomes(read(make_page(1) + large + make_page(3), limits)) == [
        *("1", "!record_too_large", "3")
    ]


def test_a_header_above_the_limit_costs_its_record_only() -> None:
    large = make_record(b"x", uri="2", fields=["X: " + "a" * 20_000_000])
    assert outcomes(read(make_page(1) + large + make_page(3))) == ["1", "!header_too_large", "3"]


@pytest.mark.parametrize(
    ("cut", "fault"), [(8, "record_header"), (100, "record_header"), (400, "record_length")]
)
def test_a_record_cut_by_the_end_of_the_file_is_none(cut: int, fault: str) -> None:
    last = make_page(2)
    assert len(last) > 400
    assert outcomes(read(make_page(1) + last[:cut])) == ["1", f"!{fault}"]


def test_line_ends_at_both_ends_of_a_file_are_nothing() -> None:
    data = EOL * 40 + make_page(1) + EOL * 20 + make_page(2) + EOL * 500
    assert outcomes(read(data)) == ["1", "2"]
    assert read(b"\n\r\n") == []
    assert read(b"") == []


def test_what_is_no_archive_is_one_bad_region() -> None:
    for data in (b"junk", b"<html>" * 1000, bytes(3000), b"PK\x03\x04" + bytes(100)):
        [found] = read(data)
        assert isinstance(found, BadRegion)
        assert (found.offset, found.length, found.fault) == (0, len(data), Fault.JUNK)


def test_junk_between_plain_records_is_one_region() -> None:
    junk = b"\0" * 50 + b"\n\r\n"
    found = read(junk + make_page(1) + make_page(2))
    assert outcomes(found) == ["!junk", "1", "2"]
    assert (found[0].offset, found[0].length) == (0, len(junk))


def test_records_that_lie_in_each_other_and_all_break_take_linear_time() -> None:
    # Each claims the whole rest as its block and denies it by its digest.
    count, limits = 3000, Limits(record_bytes=1 << 30, header_bytes=1 << 16)
    head = b"WARC/1.0\nWARC-Block-Digest: md5:" + b"0" * 32 + b"\nContent-Length: %9d\n\n"
    filler = b"y" * 40_000 + b"\n\n"
    step = len(head % 0) + len(filler)
    data = b"".join(head % (step * left - len(head % 0)) + filler for left in range(count, 0, -1))
    found = read(data, limits)
    assert len(data) > RESCAN_BYTES
    assert {each.fault for each in found if isinstance(each, BadRegion)} == {Fault.RECORD_LENGTH}
    assert sum(each.length for each in found) <= len(data)
    assert len(found) < 20


@given(st.data())
def test_a_head_is_parsed_or_refused_whatever_it_holds(data: st.DataObject) -> None:
    piece = st.sampled_from(
        [b"WARC/1.0", b"\r", b"\n", b" ", b":", b"Content-Length:", b"7", b"\0"]
    )
    text = b"".join(data.draw(st.lists(piece, max_size=20)))
    head = parse_head(memoryview(text), LIMITS)
    if isinstance(head, BadRegion):
        assert head.fault in {Fault.JUNK, Fault.RECORD_HEADER, Fault.RECORD_LENGTH}
    else:
        assert text[: head.end].endswith((b"\n\n", b"\n\r\n"))
        assert head.content_length >= 0
