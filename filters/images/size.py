"""Images too small to learn from, or too large to decode."""

import dataclasses

from filters.verdict import Drop, DropReason


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageSize:
    """Drop an image whose short side is below `min_px` or that has more than `max_pixels`."""

    min_px: int = 64
    """Short side in px; provisional."""
    max_pixels: int = 50_000_000
    """Width times height in px; provisional."""

    def __post_init__(self) -> None:
        if not self.min_px >= 1:
            raise ValueError(f"min_px must be at least 1, got {self.min_px!r}")
        if not self.max_pixels >= 1:
            raise ValueError(f"max_pixels must be at least 1, got {self.max_pixels!r}")

    def __call__(self, width_px: int, height_px: int) -> Drop | None:
        """Return why the image is dropped, with its size, or None to keep it."""
        if width_px * height_px > self.max_pixels:
            return Drop(DropReason.TOO_MANY_PIXELS, f"{width_px}x{height_px}")
        if min(width_px, height_px) < self.min_px:
            return Drop(DropReason.TOO_SMALL, f"{width_px}x{height_px}")
        return None
