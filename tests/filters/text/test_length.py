import pytest

from filters.text.length import PROFILES, Profile, TextLength
from filters.verdict import Drop, DropReason


@pytest.mark.parametrize(
    ("profile", "text", "expected"),
    [
        ("none", "x", None),
        ("none", "", Drop(DropReason.TEXT_EMPTY, 0)),
        ("datacomp-basic", "a b cd", None),
        ("datacomp-basic", "abcd ef", Drop(DropReason.TOO_FEW_WORDS, 2)),
        ("datacomp-basic", "a b c", Drop(DropReason.TEXT_TOO_SHORT, 5)),
        ("coyo", "a b " + 996 * "c", None),
        ("coyo", "a b " + 997 * "c", Drop(DropReason.TEXT_TOO_LONG, 1001)),
        ("coyo", 256 * "ab ", None),
        ("coyo", 257 * "ab ", Drop(DropReason.TOO_MANY_WORDS, 257)),
        ("laion", "abcd", Drop(DropReason.TEXT_TOO_SHORT, 4)),
        ("laion", 3000 * "a", None),
    ],
)
def test_published_profiles(profile: Profile, text: str, expected: Drop | None) -> None:
    assert PROFILES[profile](text) == expected


def test_characters_are_code_points() -> None:
    assert TextLength(min_chars=2, max_chars=2)("\U0001f415\u00e9") is None


@pytest.mark.parametrize(
    "bounds",
    [
        {"min_chars": 0},
        {"min_words": -1},
        {"min_chars": 5, "max_chars": 4},
        {"min_words": 5, "max_words": 4},
        {"min_chars": 5, "cut_chars": 4},
    ],
)
def test_bounds_that_no_text_keeps_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at"):
        TextLength(**bounds)
