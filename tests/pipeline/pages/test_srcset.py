import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pages.srcset import (
    MAX_CANDIDATES,
    SourceCandidate,
    by_preference,
    parse_srcset,
)

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "parse-srcset.json"
CASES = json.loads(GOLDEN.read_text("utf-8"))["cases"]


def _chosen(text: str) -> str | None:
    ordered = by_preference(parse_srcset(text), 2048)
    return ordered[0].url if ordered else None


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("a.jpg 400w, b.jpg 1600w, c.jpg 4000w", "b.jpg"),
        ("a 2400w, b 3000w", "a"),
        ("x.jpg, y.jpg 2x, z.jpg 3x", "y.jpg"),
        ("a.jpg,b.jpg 2x", "a.jpg,b.jpg"),
        ("/w_6,h_4 6w", "/w_6,h_4"),
        ("a 1x 2x", None),
        ("a 2.5x, b 3x", "a"),
        ("a 100w, b 100w", "a"),
        ("a, b 1x", "a"),
        ("a 3x, b 10w", "b"),
        ("", None),
        (" , ,, ", None),
    ],
)
def test_the_largest_that_is_not_too_large_is_preferred(text: str, url: str | None) -> None:
    assert _chosen(text) == url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a 100w 50h", [SourceCandidate("a", 100, None)]),
        ("a 50h 100w", [SourceCandidate("a", 100, None)]),
        ("a 1.5e1x", [SourceCandidate("a", None, 15.0)]),
        ("a (x,y) , b", [SourceCandidate("b", None, None)]),
        ("data:,a ( , data:,b 1x, ), data:,c", [SourceCandidate("data:,c", None, None)]),
        ("a,, b", [SourceCandidate("a", None, None), SourceCandidate("b", None, None)]),
        ("a 50h", []),
        ("a 1x 50h", []),
        ("a 0w", []),
        ("a -1x", []),
        ("a +1x", []),
        ("a 1.5w", []),
        ("a 1w 1w", []),
        ("a \u0661w", []),
    ],
)
def test_descriptors_are_read_by_the_standard(text: str, expected: list[SourceCandidate]) -> None:
    assert parse_srcset(text) == expected


@pytest.mark.parametrize(("text", "url"), [case[:2] for case in CASES])
def test_the_first_candidate_is_that_of_the_public_suite(text: str, url: str) -> None:
    candidates = parse_srcset(text)
    assert (candidates[0].url if candidates else "") == url


def test_a_flood_of_candidates_is_cut() -> None:
    assert len(parse_srcset("a 1x, " * 10_000)) == MAX_CANDIDATES


@given(st.text("ab,( )\t\n.0123xwhe+-\u00a0\u0661", max_size=80))
def test_no_text_raises_and_no_url_is_empty_or_ends_in_a_comma(text: str) -> None:
    for candidate in parse_srcset(text):
        assert candidate.url
        assert not candidate.url.endswith(",")
