"""Banners and strips."""

import dataclasses

from filters.verdict import Drop, DropReason


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AspectRatio:
    """Drop an image whose long side is more than `max_ratio` times its short side."""

    max_ratio: float = 3.0
    """Long side over short side; 3.0 as in DataComp's basic filter."""

    def __post_init__(self) -> None:
        if not self.max_ratio >= 1:  # so written, NaN fails too
            raise ValueError(f"max_ratio must be at least 1, got {self.max_ratio!r}")

    def __call__(self, width_px: int, height_px: int) -> Drop | None:
        """Return why the image is dropped, with its size, or None to keep it."""
        if max(width_px, height_px) <= self.max_ratio * min(width_px, height_px):
            return None
        return Drop(DropReason.ASPECT_RATIO, f"{width_px}x{height_px}")
