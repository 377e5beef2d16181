import itertools
import sys
import unicodedata

import pytest

from filters.text.categories import code_points, ranges, regex_class, unicode_version

GROUPS = {"L": "L", "M": "M", "N": "N", "PS": "PS", "Z": "Z"}


def test_the_table_is_that_of_its_unicode_version() -> None:
    if unicodedata.unidata_version != unicode_version():
        pytest.skip(f"this Python knows Unicode {unicodedata.unidata_version}")
    expected: dict[str, set[int]] = {group: set() for group in GROUPS}
    for point in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(point))
        group = "Z" if category == "Cc" else next((g for g in GROUPS if category[0] in g), None)
        if group:
            expected[group].add(point)
    assert {group: code_points(group) for group in GROUPS} == expected


@pytest.mark.parametrize("group", GROUPS)
def test_ranges_are_ascending_and_apart(group: str) -> None:
    spans = ranges(group)
    assert all(first <= last for first, last in spans)
    assert all(left[1] + 1 < right[0] for left, right in itertools.pairwise(spans))


def test_a_class_escapes_its_ends() -> None:
    assert regex_class([(0x2D, 0x2D), (0x5D, 0x5E)]) == r"\--\-\]-\^"
