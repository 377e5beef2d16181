import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.consent.tdmrep import (
    MAX_FILE_BYTES,
    TdmRule,
    reservation,
    tdm_file_match,
    tdm_file_rules,
)


def _rules(rules: list[tuple[str, int]]) -> list[TdmRule]:
    entries = [{"location": location, "tdm-reservation": value} for location, value in rules]
    return tdm_file_rules(json.dumps(entries).encode())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1"], 1),
        (["0"], 0),
        ([" 1\t"], 1),
        ([], None),
        (["", "true", "01", "2", "-1", "\u0661"], None),
        (["yes", "0"], 0),
        (["1", "0"], 1),
    ],
)
def test_only_one_and_zero_say_something(values: list[str], expected: int | None) -> None:
    assert reservation(values) == expected


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/", "/a/b.jpg", True),
        ("/a", "/a", True),
        ("/a", "/ab?c", True),
        ("/a/", "/a", False),
        ("/A", "/a", False),
        ("/a$", "/a", True),
        ("/a$", "/ab", False),
        ("/*.jpg", "/a/b.jpg?x", True),
        ("/*.jpg$", "/a/b.jpg", True),
        ("/*.jpg$", "/a/b.jpg?x", False),
        ("/*.jpg$", "/a.jpg.jpg", True),
        ("/a*b*c", "/axxbyyc", True),
        ("/a*b*c", "/axxcyyb", False),
        ("/ab*bc$", "/abc", False),
        ("/ab*$", "/abc", True),
        ("*", "/", True),
        ("$", "", True),
        ("$", "/", False),
        ("", "/", True),
        ("/%61%2Fb", "/a%2fb", True),
        ("/%7euser", "/~user", True),
        ("/a/b", "/a%2Fb", False),
        ("/\u00fc", "/%C3%BC", True),
        ("/%C3%BC", "/%c3%bc", True),
    ],
)
def test_patterns_match_as_in_robots_txt(pattern: str, path: str, matches: bool) -> None:
    assert tdm_file_match(_rules([(pattern, 1)]), path) == (1 if matches else None)


def test_the_first_matching_rule_wins() -> None:
    rules = _rules([("/open/", 0), ("/", 1), ("/open/closed", 1)])
    assert tdm_file_match(rules, "/open/closed") == 0
    assert tdm_file_match(rules, "/x") == 1
    assert tdm_file_match(rules[:1], "/x") is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"location": "/", "tdm-reservation": 1}',
        b"[1, null, {}]",
        b'[{"location": 7, "tdm-reservation": 1}]',
        b'[{"location": "/", "tdm-reservation": 2}]',
        b'[{"location": "/"}]',
        b'[{"location": "\xff", "tdm-reservation": 1}]',
        b"[" * 200_000,
        b'[{"location": "/", "tdm-reservation": 1}]' + b" " * MAX_FILE_BYTES,
    ],
)
def test_a_bad_file_states_nothing(data: bytes) -> None:
    assert tdm_file_rules(data) == []


def test_a_bad_entry_takes_no_other_with_it() -> None:
    data = b'[7, {"location": "/a", "tdm-reservation": "1", "tdm-policy": "x"}]'
    assert [tdm_file_match(tdm_file_rules(data), path) for path in ("/a", "/b")] == [1, None]


PIECES = st.lists(st.sampled_from(["/x", "a", "*", "$", "%61"]), max_size=8).map("".join)


@given(PIECES, PIECES)
def test_matching_agrees_with_a_regular_expression(pattern: str, path: str) -> None:
    plain = pattern.replace("%61", "a")
    regex = ".*".join(re.escape(part) for part in plain.removesuffix("$").split("*"))
    found = re.match(regex + (r"\Z" if plain.endswith("$") else ""), path.replace("%61", "a"))
    assert tdm_file_match(_rules([(pattern, 0)]), path) == (0 if found else None)
