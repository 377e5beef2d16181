import ada_url
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.urls.url_key import MAX_URL_CHARACTERS, join_url, url_host, url_path
from filters.verdict import DropReason

BASE = "https://page.example/dir/p.html?q#f"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("../a.jpg", "https://page.example/a.jpg"),
        ("\\\\h\\x", "https://h/x"),
        ("//h/x", "https://h/x"),
        ("/a b.jpg", "https://page.example/a%20b.jpg"),
        ("a,b.jpg", "https://page.example/dir/a,b.jpg"),
        ("https:x", "https://page.example/dir/x"),
        ("https://h:443/x", "https://h/x"),
        ("http://h:443/x", "http://h:443/x"),
        ("http://h/a%2Fb", "http://h/a%2Fb"),
        ("http://h/a|b", "http://h/a|b"),
        (
            "http://b\u00fccher.example/\u00fc.jpg?\u00fc=1",
            "http://xn--bcher-kva.example/%C3%BC.jpg?%C3%BC=1",
        ),
        (" \t/a\n.j\tpg\r ", "https://page.example/a.jpg"),
        ("/a.jpg#top", "https://page.example/a.jpg"),
        ("HTTP://H/A.JPG?Utm_Source=x&b", "http://h/A.JPG?Utm_Source=x&b"),
        ("?x=@y", "https://page.example/dir/p.html?x=@y"),
    ],
)
def test_a_url_is_resolved_as_browsers_do(raw: str, expected: str) -> None:
    assert join_url(BASE, raw) == expected


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("https://h:99999/x", DropReason.URL_INVALID),
        ("https://[::1/x", DropReason.URL_INVALID),
        ("https://a b/x", DropReason.URL_INVALID),
        ("//", DropReason.URL_INVALID),
        ("/\ud800", DropReason.URL_INVALID),
        ("ftp://h/x", DropReason.URL_SCHEME),
        ("data:image/gif;base64,AAAA", DropReason.URL_SCHEME),
        ("javascript:void(0)", DropReason.URL_SCHEME),
        ("https://user@h/x", DropReason.URL_USERINFO),
        ("https://user:word@h/x", DropReason.URL_USERINFO),
        ("https://h/" + "a" * (MAX_URL_CHARACTERS - 9), DropReason.URL_TOO_LONG),
    ],
)
def test_a_url_that_cannot_be_fetched_has_a_reason(raw: str, reason: DropReason) -> None:
    assert join_url(BASE, raw) is reason


def test_the_longest_url_is_kept_and_its_fragment_does_not_count() -> None:
    longest = "https://h/" + "a" * (MAX_URL_CHARACTERS - 10)
    assert join_url(BASE, longest + "#" + "f" * 99) == longest


def test_without_a_base_only_absolute_urls_are_valid() -> None:
    assert join_url("", "http://h") == "http://h/"
    assert join_url("", "/x") is DropReason.URL_INVALID
    assert join_url("", "") is DropReason.URL_INVALID


@pytest.mark.parametrize(
    ("href", "host", "path"),
    [
        ("https://h.example/a/b?c/d", "h.example", "/a/b"),
        ("https://h.example:8080/", "h.example", "/"),
        ("http://[::1]/a", "[::1]", "/a"),
        ("http://[::1]:81/a?", "[::1]", "/a"),
    ],
)
def test_host_and_path_are_those_of_the_href(href: str, host: str, path: str) -> None:
    assert join_url("", href) == href
    assert url_host(href) == host
    assert url_path(href) == path


@given(st.text(max_size=60), st.sampled_from(["", "https://h/", "//h:8/", "\\\\", "http://[::"]))
def test_a_url_key_is_its_own_url_key(text: str, beginning: str) -> None:
    href = join_url(BASE, beginning + text)
    if not isinstance(href, DropReason):
        assert join_url("", href) == href
        assert join_url(BASE, href) == href
        assert url_host(href)
        assert url_path(href).startswith("/")


@given(
    st.sampled_from(["http://", "https://", "http:/", "ftp://"]),
    st.text("abz019.-_xn:@[]%A", max_size=12) | st.sampled_from(["a.example", "1.2.3.4", "0x7f.1"]),
    st.text("ab1./%2e?&='~:@;!,()*+$_-|^\"\\ #{", max_size=14),
)
def test_a_url_that_seems_plain_is_what_the_parser_gives(scheme: str, host: str, rest: str) -> None:
    raw = f"{scheme}{host}/{rest}"
    try:
        parsed = ada_url.join_url("http://base.example/", raw)
    except ValueError:
        parsed = None
    found = join_url("http://base.example/", raw)
    if not isinstance(found, DropReason):
        assert parsed is not None
        assert found == parsed.partition("#")[0]
