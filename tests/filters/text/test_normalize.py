import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.text.normalize import LONG_RUN, REMOVE, nfc, text_norm

REMOVED = {chr(point) for first, last in REMOVE for point in range(first, last + 1)}
MARKS = "a\u0301\u0316\u0345\u0f73\u0f71\u0344\u1100\u1161\uac00\u0338<\u0323\u1ec7\u0903\u09be"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("  a\t\n photo\r\nof\x00a \u00a0dog\u3000", "a photo of a dog"),
        ("so\u00adft\u200b hy\ufeffphen \u2764\ufe0f", "soft hyphen \u2764"),
        ("left \u202eright", "left right"),
        ("cafe\u0301", "caf\u00e9"),
        ("\x85\u2028x\x9f", "x"),
        ("&amp; stays", "&amp; stays"),
        ("", ""),
        (" \u200b ", ""),
    ],
)
def test_a_text_is_normalised(found: str, expected: str) -> None:
    assert text_norm(found) == expected


@pytest.mark.parametrize(
    ("found", "passes", "expected"),
    [
        ("roses&amp;#39;s", 0, "roses&amp;#39;s"),
        ("roses&amp;#39;s", 1, "roses&#39;s"),
        ("roses&amp;#39;s", 2, "roses's"),
        ("a &lt; b &eacute; &#x41; &#65;", 1, "a < b \u00e9 A A"),
        ("&amp no semicolon, &notit; &unknown;", 1, "&amp no semicolon, &notit; &unknown;"),
        ("&#0;&#xD800;&#99999999;", 1, "\ufffd\ufffd\ufffd"),
    ],
)
def test_only_references_that_end_are_decoded(found: str, passes: int, expected: str) -> None:
    assert text_norm(found, passes) == expected


def test_the_published_coyo_text_is_stripped_and_keeps_its_reference() -> None:
    blanks = "\n" + 12 * " " + "\n"
    text = "Load image into Gallery viewer, valentine&amp;#39;s day roses"
    found = f"{blanks}{16 * ' '}{text}{blanks}"
    assert text_norm(found) == text
    assert text_norm(found, 1) == text.replace("&amp;#39;", "&#39;")


@given(st.text())
def test_a_normalised_text_stays_as_it_is(text: str) -> None:
    once = text_norm(text)
    assert text_norm(once) == once
    assert not REMOVED & set(once)
    assert unicodedata.is_normalized("NFC", once)


@given(st.text(alphabet=MARKS, min_size=LONG_RUN, max_size=4 * LONG_RUN))
def test_long_runs_of_marks_compose_as_the_standard_says(text: str) -> None:
    assert nfc(text) == unicodedata.normalize("NFC", text)


def test_a_thousand_marks_are_kept() -> None:
    assert text_norm("a" + 1000 * "\u0301") == "\u00e1" + 999 * "\u0301"


def test_time_is_linear_in_the_number_of_marks() -> None:
    start = time.process_time()
    nfc("a" + "\u0301\u0316" * 100_000)  # `unicodedata` alone takes 30 seconds
    assert time.process_time() - start < 2
