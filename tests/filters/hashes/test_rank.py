import numpy as np
import pytest

from filters.hashes.rank import PUBLISHED, caption_score, rank_keys, text_key


def rank(pair_id: bytes, side_px: int, score: int) -> bytes:
    ids = np.frombuffer(pair_id, np.uint8).reshape(1, 16)
    return rank_keys(ids, np.array([side_px], np.int32), np.array([score], np.uint8)).tobytes()


def test_a_rank_is_generation_preference_size_score_and_id() -> None:
    assert rank(b"x" * 16, 480, 2) == bytes.fromhex("02fff7fd") + b"x" * 16


@pytest.mark.parametrize(("side_px", "size_class"), [(0, 0), (1, 0), (255, 7), (256, 8), (511, 8)])
def test_sizes_are_classed_by_powers_of_two(side_px: int, size_class: int) -> None:
    assert rank(b"x" * 16, side_px, 0)[2] == 255 - size_class


def test_a_larger_image_beats_a_better_text_beats_a_smaller_id() -> None:
    ordered = [
        rank(b"z" * 16, 512, 0),
        rank(b"z" * 16, 300, 2),
        rank(b"a" * 16, 300, 1),
        rank(b"b" * 16, 300, 1),
    ]
    assert ordered == sorted(ordered)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("IMG_1234.jpg", 0),
        ("photo.JPEG", 0),
        ("DSC_0123", 0),
        ("www.example.com", 0),
        ("https://example.com/a", 0),
        ("Übung-2024", 0),
        ("DSC_01", 1),
        ("dog", 1),
        ("red car", 1),
        ("", 1),
        ("see www.example.com", 1),
        ("a red car on a bridge", 2),
        ("see IMG_1234.jpg there", 2),
        ("word " * 64, 2),
        ("word " * 65, 1),
    ],
)
def test_a_name_scores_0_a_short_or_long_text_1(text: str, score: int) -> None:
    assert caption_score(text) == score


def test_texts_that_differ_in_case_width_or_blanks_have_one_key() -> None:
    assert text_key("A  Red\tCar ") == text_key("a red car") == text_key("\uff21 red car")
    assert text_key("a red car") != text_key("a red cat")
    assert len(text_key("\ud800")) == 16


def test_generation_and_preference_come_first() -> None:
    ids = np.zeros((3, 16), np.uint8)
    sides, scores = np.array([64, 640, 64], np.int32), np.array([0, 2, 2], np.uint8)
    ranks = rank_keys(ids, sides, scores, np.array([0, 7, 255], np.uint8))
    assert [rank.tobytes().hex()[:8] for rank in ranks] == ["02fff9ff", "02f8f6fd", "0200f9fd"]
    assert rank_keys(ids[:1], sides[:1], scores[:1], generation=PUBLISHED)[0, 0] == 1
