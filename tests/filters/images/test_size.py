import pytest

from filters.images.size import ImageSize
from filters.verdict import Drop, DropReason


def test_images_within_both_limits_are_kept() -> None:
    assert ImageSize(min_px=64, max_pixels=64 * 100)(100, 64) is None


def test_a_short_side_below_the_limit_is_too_small() -> None:
    assert ImageSize(min_px=64)(2000, 1) == Drop(DropReason.TOO_SMALL, "2000x1")


def test_a_side_of_the_limit_is_kept_and_one_below_it_is_not() -> None:
    datacomp = ImageSize(min_px=200)
    assert datacomp(200, 600) is None
    assert datacomp(600, 199) == Drop(DropReason.TOO_SMALL, "600x199")


def test_more_pixels_than_the_limit_are_too_many() -> None:
    assert ImageSize()(16_000, 16_000) == Drop(DropReason.TOO_MANY_PIXELS, "16000x16000")


@pytest.mark.parametrize("field", ["min_px", "max_pixels"])
def test_limits_below_1_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be at least 1, got 0"):
        ImageSize(**{field: 0})
