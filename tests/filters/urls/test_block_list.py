import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.urls.block_list import (
    KEY_BYTES,
    BlockList,
    Kind,
    host_keys,
    packed,
    parse_entries,
    url_entry,
)


def make(kind: Kind, *lines: str) -> BlockList:
    keys = parse_entries(kind, [line.encode() for line in lines])
    return BlockList.of(kind, np.frombuffer(packed(keys), np.uint8))


def test_comments_empty_lines_and_a_byte_order_mark_are_passed_over() -> None:
    lines = [b"\xef\xbb\xbf# takedowns\n", b"\n", b"  http://a.example/x.jpg  \r\n"]
    assert parse_entries("url", lines) == [url_entry("http://a.example/x.jpg")]


def test_urls_are_normalised() -> None:
    blocked = make("url", "HTTP://Example.com:80/a b.jpg#part")
    assert blocked.holds([url_entry("http://example.com/a%20b.jpg")]).tolist() == [True]
    assert blocked.holds([url_entry("http://example.com/")]).tolist() == [False]


def test_a_domain_blocks_all_below_it_at_label_boundaries() -> None:
    blocked = make("domain", "example.com", "=only.org", "B\u00fccher.de", "=co.uk")
    hosts = [
        *("example.com", "img.example.com", "badexample.com", "example.com.org"),
        *("only.org", "a.only.org", "www.xn--bcher-kva.de", "co.uk", "a.co.uk", None, "EXAMPLE."),
    ]
    assert blocked.blocks_hosts(hosts).tolist() == [
        *(True, True, False, False, True, False, True, True, False, False, False)
    ]
    assert make("domain", "example.com").blocks_hosts(["a.example.com."]).tolist() == [True]


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("url", "ftp://a.example/", r"^line 2: .* must be an http or https URL \(url_scheme\)"),
        ("url", "a.jpg", "must be an http or https URL"),
        ("domain", "co.uk", "must be a name below the public suffix 'co.uk', or =co.uk"),
        ("domain", "a.example/path", "must be a host name"),
        ("domain", "a.example:80", "must be a host name"),
        ("domain", "u@a.example", "must be a host name"),
        ("domain", "a b", "must be a host name"),
        ("sha256", "ab" * 31, "must be 64 hexadecimal digits"),
        ("pair", "zz" * 16, "must be 32 hexadecimal digits"),
        ("pair", "ab " * 16, "must be 32 hexadecimal digits"),
    ],
)
def test_a_line_that_is_no_entry_stops_the_list(kind: Kind, line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(kind, "# list", line)


def test_text_that_is_no_utf8_is_named() -> None:
    with pytest.raises(ValueError, match="line 1: "):
        parse_entries("url", [b"http://a.example/\xff"])


KEYS = st.lists(st.binary(min_size=16, max_size=16) | st.binary(max_size=2).map(b"%-16b".__mod__))


@given(KEYS, KEYS)
def test_a_list_holds_its_keys_and_no_other(inside: list[bytes], outside: list[bytes]) -> None:
    lines = [key.hex().upper().encode() for key in inside]
    blocked = BlockList.of("pair", np.frombuffer(packed(parse_entries("pair", lines)), np.uint8))
    asked = inside + outside
    assert blocked.holds(asked).tolist() == [key in inside for key in asked]


def test_keys_that_share_a_head_are_told_apart() -> None:
    head = "00" * 8
    blocked = make("sha256", *(head + f"{number:048x}" for number in (1, 2, 9)))
    asked = [bytes.fromhex(head + f"{number:048x}") for number in range(10)]
    assert np.flatnonzero(blocked.holds(asked)).tolist() == [1, 2, 9]
    assert len(asked[0]) == KEY_BYTES["sha256"]


def test_hosts_have_a_key_for_each_domain_above() -> None:
    assert len(host_keys("a.b.example")) == 4
    assert host_keys("a.example.") == host_keys("a.example")
