"""A decoded image to the one that is hashed: upright RGB, short side at most 256 px."""

import numpy as np
from PIL import Image

CANONICAL_PX = 256
"""Short side of the canonical image."""
DECODE_PX = 512
"""A JPEG is decoded at the smallest power-of-two DCT scale that leaves its short side this long."""

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHITE = (255, 255, 255)


def dct_scale(width_px: int, height_px: int, short_px: int = DECODE_PX) -> int:
    """Return 8, 4, 2 or 1: how much smaller a JPEG may be decoded.

    libjpeg rounds sizes up, so the short side after the scale is its ceiling.
    """
    short = min(width_px, height_px)
    return next((scale for scale in (8, 4, 2) if -(-short // scale) >= short_px), 1)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 also for broken EXIF and values outside."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # Pillow's EXIF parser raises what struct, TIFF and int parsing raise
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded image as 8-bit RGB, turned as EXIF says, transparency laid on white.

    Raises:
        ValueError: for floating-point images, which have no defined range.
    """
    turn = _TURNS.get(orientation(image))
    rgb = _rgb(image)
    return rgb.transpose(turn) if turn is not None else rgb


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("image mode must have integer levels, got 'F'")
    if image.mode == "I" or image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGB", layer.size, _WHITE)
        white.paste(layer, mask=layer.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def fitted(width_px: int, height_px: int, side_px: int, target_px: int) -> tuple[int, int]:
    """Return the size at which `side_px`, one of the sides, becomes `target_px`; never larger."""
    if side_px <= target_px:
        return width_px, height_px
    return (
        max(1, (2 * width_px * target_px + side_px) // (2 * side_px)),
        max(1, (2 * height_px * target_px + side_px) // (2 * side_px)),
    )


def fast_filter(side_px: int, target_px: int) -> Image.Resampling:
    """Return the filter `fast`: the area average where `side_px` at least halves, else Hamming."""
    is_half = side_px >= 2 * target_px
    return Image.Resampling.BOX if is_half else Image.Resampling.HAMMING


def reduced(rgb: Image.Image, full_px: tuple[int, int] | None = None) -> Image.Image:
    """Return an upright RGB image with a short side of at most `CANONICAL_PX`.

    Args:
        rgb: as `upright_rgb` gives it; a JPEG decoded at `dct_scale`.
        full_px: upright width and height before any DCT scale; the image's own when absent.
    """
    width, height = full_px or rgb.size
    size = fitted(width, height, min(width, height), CANONICAL_PX)
    return rgb if rgb.size == size else rgb.resize(size, fast_filter(min(rgb.size), CANONICAL_PX))


def canonical(image: Image.Image, full_px: tuple[int, int] | None = None) -> Image.Image:
    """Return the image that `record` hashes: `upright_rgb`, then `reduced`.

    Raises:
        ValueError: for floating-point images.
    """
    return reduced(upright_rgb(image), full_px)
