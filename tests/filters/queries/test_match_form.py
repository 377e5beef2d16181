import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.queries.match_form import (
    FOLD,
    JOIN,
    SEPARATOR,
    UNSPACED,
    Case,
    is_unspaced,
    match_form,
    match_forms,
    normalise_v1,
    pattern,
)
from filters.text.categories import unicode_version
from filters.text.normalize import REMOVE

CHARACTERS = (
    "aZ\u00e9\u0301 9-'._\u2019\u2010,(\n\t\u00a0\u5b57\u304b\u0e01\u00df\u0130\u200b\U00020000"
)
TEXTS = st.text() | st.text(alphabet=CHARACTERS)
CASES: st.SearchStrategy[Case] = st.sampled_from(["sensitive", "fold"])


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("C++11 guide", " C + + 11 guide "),
        ("U.S.A. and U.S", " U.S.A . and U.S "),
        ("3.5 inch 1,200", " 3.5 inch 1 , 200 "),
        ("red_car_photo.jpg", " red_car_photo.jpg "),
        ("\u2018don\u2019t\u2019", " ' don't ' "),
        ("well\u2010known\u2011 --x", " well-known - - - x "),
        ("iPhone\u624b\u673a\u58f3", " iPhone \u624b\u673a\u58f3 "),
        ("2020\u5e74", " 2020 \u5e74 "),
        ("a\u00a0b\u3000c\x00d", " a b c d "),
        ("", " "),
    ],
)
def test_a_form_has_one_blank_around_each_token(text: str, form: str) -> None:
    assert match_form(text) == form


def test_fold_compares_without_case() -> None:
    assert match_form("STRASSE", "fold") == match_form("Stra\u00dfe", "fold") == " strasse "


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("photo", " photo "),
        ("\u624b\u673a", "\u624b\u673a"),
        ("iPhone\u58f3", " iPhone \u58f3"),
        ("\u5e74 2020", "\u5e74 2020 "),
        ("\u200b ", ""),
    ],
)
def test_scripts_without_blanks_need_none_around_a_query(query: str, expected: str) -> None:
    assert pattern(query) == expected


@given(TEXTS, CASES)
def test_a_form_is_its_own_form(text: str, case: Case) -> None:
    form = match_form(text, case)
    assert match_form(form, case) == form


@given(st.lists(TEXTS, min_size=1), CASES)
def test_joined_forms_are_the_forms_of_each(texts: list[str], case: Case) -> None:
    assert match_forms(texts, case).split(SEPARATOR) == [match_form(text, case) for text in texts]


@given(TEXTS, CASES)
def test_a_form_is_what_the_rules_say_character_by_character(text: str, case: Case) -> None:
    if unicodedata.unidata_version == unicode_version():
        assert match_form(text, case) == _by_the_rules(text, case)


def test_every_mark_is_spaced_however_many_there_are() -> None:
    marks = [chr(point) for point in range(0x2200, 0x2300)]
    assert match_form("".join(marks)) == f" {' '.join(marks)} "


def test_v1_does_not_collapse_blanks() -> None:
    assert normalise_v1("5 p.m.\t\r\n") == " 5 p . m .     "


def _by_the_rules(text: str, case: Case) -> str:
    """The definition, as slowly as it is written."""
    removed = {chr(point) for first, last in REMOVE for point in range(first, last + 1)}
    text = unicodedata.normalize("NFC", "".join(c for c in text if c not in removed))
    if case == "fold":
        text = unicodedata.normalize("NFC", text.casefold())
    text = "".join(FOLD.get(character, character) for character in text)
    out: list[str] = []
    for p, c, n in zip(" " + text, text, text[1:] + " ", strict=False):
        category = unicodedata.category(c)
        if category[0] == "Z" or category == "Cc":
            out.append(" ")
        elif category[0] in "PS":
            out.append(c if c in JOIN and _is_word(p) and _is_word(n) else f" {c} ")
        elif category[0] in "LN" and _is_word(p) and is_unspaced(c) != is_unspaced(p):
            out.append(f" {c}")
        else:
            out.append(c)
    tokens = [token for token in "".join(out).split(" ") if token]
    return f" {' '.join(tokens)} " if tokens else " "


def _is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def test_unspaced_ranges_are_apart() -> None:
    edges = [point for span in UNSPACED for point in span]
    assert edges == sorted(edges)
    assert is_unspaced("\u0e00")
    assert not is_unspaced("\u10a0")
