import pytest

from filters.text.language import Languages, detect_languages, detector_version

CAPTIONS = {
    "en": "A small dog sits on the grass",
    "de": "Ein kleiner Hund sitzt auf der Wiese",
    "fr": "Un petit chien assis dans l'herbe",
    "es": "Un perro peque\u00f1o sentado en la hierba",
    "el": "\u039c\u03b9\u03ba\u03c1\u03cc \u03c3\u03ba\u03c5\u03bb\u03af",
    "ja": "\u8349\u306e\u4e0a\u306b\u5ea7\u308b\u5c0f\u3055\u306a\u72ac",
}


@pytest.mark.parametrize("code", sorted(CAPTIONS))
def test_a_caption_has_its_language(code: str) -> None:
    [found], [score] = (lambda each: (each.codes, each.scores))(detect_languages([CAPTIONS[code]]))
    assert found == code
    assert score is not None
    assert 0.5 < score <= 1


def test_a_text_without_letters_has_none() -> None:
    found = detect_languages(["", "12 + 3", "\u2600\u2601", "a"])
    assert found.codes[:3] == ["und"] * 3
    assert found.scores[:3] == [0.0] * 3


def test_rows_are_left_out() -> None:
    languages = Languages(["en", "de", "fr"], [0.1, 0.2, 0.3])
    assert languages.without({1: "lost"}) == Languages(["en", "fr"], [0.1, 0.3])
    assert Languages.unknown(2) == Languages(["und", "und"], [None, None])


def test_the_detector_is_named_with_its_version() -> None:
    assert detector_version().startswith("py3langid ")
