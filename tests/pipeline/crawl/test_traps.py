import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl.traps import seen_key, shape, trap

SITE = "http://www.example.com/"


@pytest.mark.parametrize(
    ("url", "depth", "expected"),
    [
        (SITE, 8, None),
        (SITE, 9, "trap_depth"),
        (SITE + "/".join(map(str, range(20))), 1, None),
        (SITE + "/".join(map(str, range(21))), 1, "trap_path"),
        (SITE + "a/a/b", 1, None),
        (SITE + "a/b/a/c/a", 1, "trap_repeat"),
        (SITE + "x/a/b/a/b", 1, "trap_repeat"),
        (SITE + "a/b/c/a/b/c", 1, "trap_repeat"),
        (SITE + "?" + "&".join(f"p{n}=1" for n in range(8)), 1, None),
        (SITE + "?" + "&".join(f"p{n}=1" for n in range(9)), 1, "trap_query"),
        (SITE + "?q=" + "x" * 511, 1, "trap_query"),
    ],
)
def test_which_links_are_traps(url: str, depth: int, expected: str | None) -> None:
    found = trap(url, depth)
    assert (found.reason.value if found else None) == expected


def test_a_shape_is_equal_for_what_differs_in_numbers() -> None:
    first = shape(SITE + "cal/2026/01?month=1&b=2")
    assert first == shape(SITE + "cal/1999/12?b=7&month=11")
    assert first != shape(SITE + "cal/2026/01?month=1")
    assert shape(SITE + "x/0123456789abcdef0123") == shape(SITE + "x/fedcba9876543210")


@pytest.mark.parametrize(
    "url",
    [
        SITE + "a?x=1&utm_source=y",
        SITE + "a?PHPSESSID=1&x=1",
        SITE + "a;jsessionid=77?x=1",
    ],
)
def test_sessions_and_trackers_do_not_make_another_page(url: str) -> None:
    assert seen_key(url) == seen_key(SITE + "a?x=1")


@given(st.text(st.characters(codec="ascii", min_codepoint=33), max_size=300))
def test_any_url_has_a_shape_and_a_key(tail: str) -> None:
    url = SITE + tail
    trap(url, 1)
    assert isinstance(shape(url), str)
    assert len(seen_key(url)) == 16
