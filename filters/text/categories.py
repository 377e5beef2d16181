"""Unicode general categories from our own table: those of the running Python differ by version."""

import functools
import re
from collections.abc import Iterable
from importlib import resources


@functools.cache
def _table() -> tuple[str, dict[str, list[tuple[int, int]]]]:
    version = ""
    groups: dict[str, list[tuple[int, int]]] = {}
    text = (resources.files("filters.data") / "categories.txt").read_text(encoding="ascii")
    for line in text.splitlines():
        if line.startswith("# Unicode version:"):
            version = line.rpartition(" ")[2]
        elif line and not line.startswith("#"):
            group, first, last = line.split(" ")
            groups.setdefault(group, []).append((int(first, 16), int(last, 16)))
    return version, groups


def unicode_version() -> str:
    """Return the version of Unicode that the table was made from."""
    return _table()[0]


def ranges(group: str) -> list[tuple[int, int]]:
    """Return the code points of a group of categories, as inclusive ranges.

    Args:
        group: `L`, `M`, `N`, `PS` (punctuation and symbols) or `Z` (separators and controls).
    """
    return _table()[1][group]


def code_points(group: str) -> set[int]:
    """Return all code points of a group."""
    return {point for first, last in ranges(group) for point in range(first, last + 1)}


def regex_class(spans: Iterable[tuple[int, int]]) -> str:
    """Return the inside of a regular expression's `[...]` for inclusive ranges of code points."""
    return "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in spans)
