import pytest

from filters.images.animation import Animation
from filters.verdict import Drop, DropReason


@pytest.mark.parametrize("is_animated", [True, False])
def test_the_first_frame_is_kept_by_default(is_animated: bool) -> None:
    assert Animation()(is_animated) is None


def test_animations_are_dropped_when_so_set() -> None:
    assert Animation(policy="drop")(True) == Drop(DropReason.ANIMATED)
    assert Animation(policy="drop")(False) is None


def test_other_policies_are_refused() -> None:
    with pytest.raises(ValueError, match="policy must be first or drop, got 'last'"):
        Animation(policy="last")  # type: ignore[arg-type]
