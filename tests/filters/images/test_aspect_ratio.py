import pytest

from filters.images.aspect_ratio import AspectRatio
from filters.verdict import Drop, DropReason


@pytest.mark.parametrize("size", [(300, 100), (100, 300), (1, 1)])
def test_ratios_up_to_the_limit_are_kept(size: tuple[int, int]) -> None:
    assert AspectRatio(max_ratio=3.0)(*size) is None


@pytest.mark.parametrize("size", [(301, 100), (100, 301)])
def test_longer_images_are_dropped_in_both_directions(size: tuple[int, int]) -> None:
    expected = Drop(DropReason.ASPECT_RATIO, f"{size[0]}x{size[1]}")
    assert AspectRatio(max_ratio=3.0)(*size) == expected


@pytest.mark.parametrize("ratio", [0.9, float("nan")])
def test_a_ratio_below_1_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="max_ratio must be at least 1"):
        AspectRatio(max_ratio=ratio)
