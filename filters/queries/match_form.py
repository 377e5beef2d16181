"""Text to tokens between blanks: the form in which a query is looked for in a text."""

import functools
import re
from collections.abc import Sequence
from typing import Literal

from filters.text.categories import code_points, ranges, regex_class
from filters.text.normalize import nfc, without_removed

Case = Literal["sensitive", "fold"]

JOIN = "'-._"
"""Stay inside a token when a letter, mark or number stands on both sides."""
FOLD = {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-"}
UNSPACED = (
    *((0x0E00, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3038, 0x303B)),
    *((0x3041, 0x309F), (0x30A1, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF)),
    *((0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF)),
)
"""Scripts that are written without blanks between words."""
V1_SPACED = ",.;:?!`"
"""What MetaCLIP's published curation puts blanks around."""
V1_BLANKS = "\t\n\r"
"""What it makes blanks of."""
SEPARATOR = "\n"
"""Between joined forms; within a form it is a blank."""
REPLACED = 64
"""Different marks up to which one `str.replace` each is the fastest; measured, 3 times
`str.translate` on joined captions, which has about 25."""

_BLANKS = re.compile(" {2,}")


def match_form(text: str, case: Case = "sensitive") -> str:
    """Return a text's tokens with one blank before, between and after them; " " if there is none.

    Idempotent. `case="fold"` folds case first.
    """
    return match_forms([text], case)


def match_forms(texts: Sequence[str], case: Case = "sensitive") -> str:
    """Return the forms of many texts, joined by `SEPARATOR`: three times as fast as one by one."""
    text = SEPARATOR.join([text.replace(SEPARATOR, " ") for text in texts])
    if not text.isascii():
        text = nfc(without_removed(text))
    if case == "fold":
        text = nfc(text.casefold())
    rules = _rules()
    if not text.isascii():
        for character, folded in FOLD.items():
            text = text.replace(character, folded)
    text = rules.loose_join.sub(r" \g<0> ", text)
    if not text.isascii() and rules.unspaced.search(text):
        text = rules.script_change.sub(" ", text)
    text = _spaced(f" {text} ".replace(SEPARATOR, f" {SEPARATOR} "), rules.spaced)
    return _BLANKS.sub(" ", text)


def is_unspaced(character: str) -> bool:
    """Tell whether a character belongs to a script that is written without blanks."""
    return _rules().unspaced.match(character) is not None


def has_unspaced(text: str) -> bool:
    """Tell whether a text holds a character of a script that is written without blanks."""
    return not text.isascii() and _rules().unspaced.search(text) is not None


def pattern(query: str, case: Case = "sensitive") -> str:
    """Return what is looked for in `match_form(text)`; empty if the query can never match."""
    return as_pattern(match_form(query, case))


def as_pattern(form: str) -> str:
    """Return the pattern of a query's form."""
    form = form.strip(" ")
    if not form:
        return ""
    before = "" if is_unspaced(form[0]) else " "
    after = "" if is_unspaced(form[-1]) else " "
    return before + form + after


def normalise_v1(text: str) -> str:
    """Return a text as MetaCLIP's published curation spaces it; nothing is folded or collapsed."""
    spaced = f" {text} "
    for mark in V1_SPACED:
        spaced = spaced.replace(mark, f" {mark} ")
    for blank in V1_BLANKS:
        spaced = spaced.replace(blank, " ")
    return spaced


def _spaced(text: str, spaced: dict[int, str]) -> str:
    found = [point for point in map(ord, set(text)) if point in spaced]
    if len(found) > REPLACED:
        return text.translate(spaced)
    for point in found:  # in any order: no replacement holds another's character but the blank
        text = text.replace(chr(point), spaced[point])
    return text


class _Rules:
    """Compiled once per process from the table of categories."""

    def __init__(self) -> None:
        word = regex_class([*ranges("L"), *ranges("M"), *ranges("N")])
        joins = re.escape(JOIN)
        unspaced = regex_class(UNSPACED)
        # All linear: single classes with look-around of one or two characters.
        self.loose_join = re.compile(f"[{joins}](?:(?![{word}])|(?<![{word}][{joins}]))")
        self.unspaced = re.compile(f"[{unspaced}]")
        starts = code_points("L") | code_points("N")
        words = starts | code_points("M")
        unspaced_points = {p for first, last in UNSPACED for p in range(first, last + 1)}
        classes = [
            regex_class(_spans(points))
            for points in (
                words & unspaced_points,
                starts - unspaced_points,
                words - unspaced_points,
                starts & unspaced_points,
            )
        ]
        self.script_change = re.compile(
            f"(?<=[{classes[0]}])(?=[{classes[1]}])|(?<=[{classes[2]}])(?=[{classes[3]}])"
        )
        blanks = {p: " " for p in code_points("Z") if chr(p) not in (" ", SEPARATOR)}
        marks = {p: f" {chr(p)} " for p in code_points("PS") if chr(p) not in JOIN}
        self.spaced = {**blanks, **marks}


@functools.cache
def _rules() -> _Rules:
    return _Rules()


def _spans(points: set[int]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for point in sorted(points):
        if spans and spans[-1][1] == point - 1:
            spans[-1] = (spans[-1][0], point)
        else:
            spans.append((point, point))
    return spans
