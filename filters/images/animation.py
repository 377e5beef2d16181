"""Moving images."""

import dataclasses
from typing import Literal, get_args

from filters.verdict import Drop, DropReason

AnimationPolicy = Literal["first", "drop"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Animation:
    """Drop an image of several frames, if `policy` says so."""

    policy: AnimationPolicy = "first"
    """`first` keeps the first frame, `drop` drops the image."""

    def __post_init__(self) -> None:
        if self.policy not in get_args(AnimationPolicy):
            raise ValueError(f"policy must be first or drop, got {self.policy!r}")

    def __call__(self, is_animated: bool) -> Drop | None:
        """Return why the image is dropped, or None to keep it."""
        return Drop(DropReason.ANIMATED) if is_animated and self.policy == "drop" else None
