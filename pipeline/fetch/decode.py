"""A hostile image file to upright RGB pixels: every limit is held against the header first."""

import dataclasses
import io
from collections.abc import Callable
from typing import Any

from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from filters.hashes.canonical import dct_scale, orientation, upright_rgb
from filters.verdict import Drop, DropReason
from pipeline.fetch.encode import MAX_JPEG_PX, resize_plan
from pipeline.fetch.settings import FetchSettings
from pipeline.fetch.sniff import is_cut, scan_count

# The plugins themselves, not Image.open: a body is read by the one that its first bytes name, and
# none looks for further pictures behind a JPEG.
_READERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
}
MAX_SCAN_PIXELS = 2_000_000_000
"""Pixels times passes over them. A file of 20 MiB can ask for 350,000 passes, which take hours;
measured: 0.55 ns a pixel and pass. Real progressive files have about 10."""
MIN_SCAN_PIXELS = 100_000
"""A pass over fewer pixels costs as much."""

_SAMPLE_BYTES = {"I;16": 2, "I;16B": 2, "I": 4}
_NO_RGB_PROFILE = ("1", "L", "LA", "I;16", "I;16B", "I", "CMYK")
_SIDEWAYS = 5
"""EXIF orientations from here on swap width and height."""
_RGB_COMPONENTS = (ord("R"), ord("G"), ord("B"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Pixels, and what the file said of them."""

    rgb: Image.Image
    """Upright, without metadata; a JPEG at its DCT scale."""
    full_px: tuple[int, int]
    """Upright width and height before the DCT scale."""
    is_turned: bool
    is_animated: bool
    profile: bytes | None
    """ICC profile."""
    is_rgb: bool
    """Whether an RGB profile could apply to what the file holds."""
    is_plain_jpeg: bool
    """Whether the file is a JPEG of gray or YCbCr."""


def open_image(body: bytes, name: str) -> Image.Image:
    """Read the header only; raises whatever Pillow raises on a broken one."""
    return _READERS[name](io.BytesIO(body))


def decode_scale(image: Image.Image, name: str, short_px: int) -> int:
    """Return the DCT scale that leaves a JPEG a short side of `short_px`; 1 for other formats."""
    return dct_scale(*image.size, short_px) if name == "jpeg" else 1


def judge(image: Image.Image, body: bytes, scale: int, settings: FetchSettings) -> Drop | None:
    """Return why an image whose header was read is dropped, before any pixel is decoded.

    Args:
        image: as `open_image` gives it.
        body: what it was read from.
        scale: the finest at which it will be decoded.
        settings: limits.
    """
    width, height = image.size
    sample_bytes = _SAMPLE_BYTES.get(image.mode, 1)
    decoded_bytes = width * height * Image.getmodebands(image.mode) * sample_bytes // scale**2
    if width < 1 or height < 1:
        return Drop(DropReason.DECODE_ERROR, f"{width}x{height}")
    verdict = settings.size_filter(width, height) or settings.ratio_filter(width, height)
    if verdict is not None:
        return verdict
    stored_px = max(resize_plan(image.size, image.size, settings)[0])
    if decoded_bytes > settings.max_decoded_bytes or stored_px > MAX_JPEG_PX:
        return Drop(DropReason.TOO_MANY_PIXELS, f"{width}x{height}")
    scans = scan_count(body)
    if scans * max(width * height, MIN_SCAN_PIXELS) > MAX_SCAN_PIXELS:
        return Drop(DropReason.TOO_MANY_PIXELS, f"{width}x{height} in {scans} scans")
    return settings.animation_filter(is_animated(image))


def is_animated(image: Image.Image) -> bool:
    """Tell whether there is more than one frame, without counting them."""
    return bool(getattr(image, "is_animated", False))


def decode(image: Image.Image, name: str, scale: int) -> Decoded:
    """Decode the first frame; raises whatever Pillow raises on a broken file.

    Args:
        image: as `open_image` gives it.
        name: its format.
        scale: 1, or the DCT scale of a JPEG.
    """
    size = image.size
    animated = is_animated(image)
    if scale > 1:
        # Pillow takes the largest scale that leaves at least this; rounded down, it is this one
        image.draft(None, (size[0] // scale, size[1] // scale))
    image.load()
    turn = orientation(image)
    info = image.info
    profile = info.get("icc_profile")
    is_plain_jpeg = name == "jpeg" and _is_gray_or_ycbcr(image)
    is_rgb = image.mode not in _NO_RGB_PROFILE
    rgb = upright_rgb(image)
    rgb.info = {}
    return Decoded(
        rgb=rgb,
        full_px=size[::-1] if turn >= _SIDEWAYS else size,
        is_turned=turn != 1,
        is_animated=animated,
        profile=profile if isinstance(profile, bytes) and profile else None,
        is_rgb=is_rgb,
        is_plain_jpeg=is_plain_jpeg,
    )


def fault(error: Exception, body: bytes, name: str) -> Drop:
    """Return the drop for what Pillow raised while it opened or decoded a body."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return Drop(DropReason.TOO_MANY_PIXELS, type(error).__name__)
    if is_cut(body, name) or isinstance(error, EOFError) or "truncated" in str(error).lower():
        return Drop(DropReason.TRUNCATED_IMAGE, type(error).__name__)
    return Drop(DropReason.DECODE_ERROR, type(error).__name__)


def _is_gray_or_ycbcr(image: Any) -> bool:
    """Tell, as libjpeg does, by markers and component names, what three components are."""
    if image.mode == "L":
        return True
    if image.mode != "RGB":
        return False
    if "jfif" in image.info:
        return True
    if "adobe" in image.info:
        return bool(image.info.get("adobe_transform") == 1)
    return tuple(layer[0] for layer in image.layer) != _RGB_COMPONENTS
