import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pages.texts import (
    MAX_RAW_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    FoundText,
    Texts,
    attribute_texts,
    is_file_name,
    merge_texts,
    read_texts,
)


def _one(value: str) -> FoundText:
    (text,) = read_texts([("alt", value)]).found
    return text


def test_a_text_is_normalised_and_its_raw_form_kept() -> None:
    raw = "\u200b A\u00a0dog\n\truns \u202e!"
    assert _one(raw) == FoundText("alt", "A dog runs !", raw, is_cut=False)
    assert _one("A dog") == FoundText("alt", "A dog", None, is_cut=False)


def test_references_are_not_decoded_again() -> None:
    assert _one("&amp; &copy=1").text == "&amp; &copy=1"


@pytest.mark.parametrize("value", ["", "  ", "\u200b\u00a0\n", "\x00"])
def test_an_empty_text_is_no_text(value: str) -> None:
    assert read_texts([("alt", value)]) == Texts((), has_invalid=False)


@pytest.mark.parametrize("value", ["a \ufffd b", "\ud800", "\udfff dog"])
def test_undecodable_characters_make_that_text_invalid(value: str) -> None:
    texts = read_texts([("alt", value), ("title", "a dog")])
    assert [text.source for text in texts.found] == ["title"]
    assert texts.has_invalid


def test_a_text_that_is_there_already_is_not_repeated() -> None:
    texts = read_texts([("alt", "a dog"), ("title", " a  dog "), ("aria-label", "dog")])
    assert [(text.source, text.text) for text in texts.found] == [
        ("alt", "a dog"),
        ("aria-label", "dog"),
    ]


@pytest.mark.parametrize(
    ("value", "length", "is_cut"),
    [
        ("a" * MAX_TEXT_CHARACTERS, MAX_TEXT_CHARACTERS, False),
        ("a" * (MAX_TEXT_CHARACTERS + 1), MAX_TEXT_CHARACTERS, True),
        ("a" * (MAX_TEXT_CHARACTERS - 1) + " b", MAX_TEXT_CHARACTERS - 1, True),
        (" " * (MAX_RAW_CHARACTERS - 1) + "ab", 1, True),
        (" " * MAX_RAW_CHARACTERS, None, False),
    ],
)
def test_long_texts_are_cut_before_and_after_normalisation(
    value: str, length: int | None, is_cut: bool
) -> None:
    texts = read_texts([("alt", value)])
    assert [len(text.text) for text in texts.found] == ([] if length is None else [length])
    assert texts.is_truncated == is_cut


def test_what_lies_beyond_the_cut_makes_no_text_invalid() -> None:
    assert not read_texts([("alt", "a" * MAX_RAW_CHARACTERS + "\ufffd")]).has_invalid


def test_runs_of_marks_are_cut_to_thirty() -> None:
    text = _one("a" + "\u0316\u0301" * 500 + "b " + "\u0301" * 31)
    assert text.text == "\u00e1" + "\u0316" * 15 + "\u0301" * 14 + "b " + "\u0301" * 30
    assert text.is_cut
    assert _one("a" + "\u0316" * 30).text == "a" + "\u0316" * 30


def test_marks_that_meet_by_a_removal_are_one_run() -> None:
    assert _one("b" + ("\u0316" * 20 + "\u200d") * 3).text == "b" + "\u0316" * 30


def test_many_long_runs_of_marks_cost_little() -> None:
    value = "a" + "\u0316\u0301" * 4_000
    start = time.process_time()
    for number in range(300):
        _one(f"{number}{value}")
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IMG_0001.JPG", True),
        ("a photo (1) 50%.webp", True),
        ("dog.jpeg", True),
        ("a dog", False),
        (".jpg", False),
        ("see dog.jpg for more", False),
        ("http://h/dog.jpg", False),
        ("dog.bmp", False),
    ],
)
def test_names_of_image_files_are_known(text: str, expected: bool) -> None:
    assert is_file_name(text) is expected


def test_only_an_alt_text_that_is_a_file_name_counts() -> None:
    assert read_texts([("alt", "a.jpg"), ("title", "dog")]).is_file_name
    assert not read_texts([("alt", "dog"), ("title", "a.jpg")]).is_file_name


def test_attributes_are_read_in_the_order_asked_for() -> None:
    texts = attribute_texts({"title": "t", "alt": "a", "src": "x"}, ("alt", "title", "aria-label"))
    assert [(text.source, text.text) for text in texts.found] == [("alt", "a"), ("title", "t")]


def test_merged_texts_are_in_the_order_of_their_sources() -> None:
    first = read_texts([("alt", "a"), ("title", "t")])
    second = read_texts([("alt", "b"), ("figcaption", "t"), ("title", "a")])
    assert [(text.source, text.text) for text in merge_texts(first, second).found] == [
        ("alt", "a"),
        ("alt", "b"),
        ("figcaption", "t"),
    ]


def test_merging_nothing_keeps_what_was_invalid() -> None:
    first = read_texts([("alt", "a")])
    assert merge_texts(first, read_texts([])) is first
    invalid = read_texts([("alt", "\ufffd")])
    assert merge_texts(first, invalid) == first._replace(has_invalid=True)
    assert merge_texts(invalid, first) == first._replace(has_invalid=True)


@given(st.text(max_size=200) | st.text("a\u0301\u0316\u200d \u0345\u1100\u1161", max_size=200))
def test_a_text_is_its_own_normal_form(value: str) -> None:
    for text in read_texts([("alt", value)]).found:
        assert read_texts([("alt", text.text)]).found == (FoundText("alt", text.text, None, False),)
