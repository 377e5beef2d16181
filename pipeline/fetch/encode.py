"""A decoded image to the bytes that are stored: resize, colour profile, JPEG."""

import functools
import io

from PIL import Image, ImageCms

from filters.hashes.canonical import fast_filter, fitted
from pipeline.fetch.settings import FetchSettings

MAX_JPEG_PX = 65_500
"""The longest side libjpeg writes."""
MAX_PROFILE_BYTES = 1 << 20
"""Larger colour profiles are ignored: those are printers', which do not apply."""

_WHITE = (255, 255, 255)
_LONG_SIDE_MODES = ("keep_ratio_largest", "border")


def resize_plan(
    decoded_px: tuple[int, int], full_px: tuple[int, int], settings: FetchSettings
) -> tuple[tuple[int, int], Image.Resampling]:
    """Return the size of the resized image, before a crop or border, and the filter for it.

    Args:
        decoded_px: width and height as decoded.
        full_px: width and height before any DCT scale; sizes follow from these.
        settings: `image_size`, `resize_mode`, `resize_filter`.
    """
    side = max if settings.resize_mode in _LONG_SIDE_MODES else min
    size = full_px
    if settings.resize_mode != "no":
        size = fitted(*full_px, side(full_px), settings.image_size)
    if settings.resize_filter == "hamming":
        return size, Image.Resampling.HAMMING
    return size, fast_filter(side(decoded_px), settings.image_size)


def framed(image: Image.Image, settings: FetchSettings) -> Image.Image:
    """Return the resized image cropped to its middle square or padded to a square, if so set."""
    width, height = image.size
    if settings.resize_mode == "center_crop":
        side = min(width, height, settings.image_size)
        left, top = (width - side) // 2, (height - side) // 2
        return image.crop((left, top, left + side, top + side))
    if settings.resize_mode == "border":
        side = settings.image_size
        square = Image.new("RGB", (side, side), _WHITE)
        square.paste(image, ((side - width) // 2, (side - height) // 2))
        return square
    return image


def is_srgb(profile: bytes) -> bool:
    """Tell whether a colour profile describes itself as sRGB; a broken one does not."""
    return _space(profile) == "srgb"


def to_srgb(image: Image.Image, profile: bytes, *, is_colour: bool) -> tuple[Image.Image, str]:
    """Return the image in sRGB and the flag that says what was done; no flag if it was sRGB.

    Args:
        image: mode RGB.
        profile: the ICC profile that came with it.
        is_colour: whether the file held RGB, so that an RGB profile can apply.
    """
    space = _space(profile) if is_colour else ""
    if space == "srgb":
        return image, ""
    if space != "rgb":
        return image, "icc_ignored"
    try:
        converted = ImageCms.applyTransform(image, _transform(profile))
    except (ImageCms.PyCMSError, ValueError, OSError):
        return image, "icc_ignored"
    return converted or image, "icc_applied"


def jpeg_bytes(image: Image.Image, quality: int) -> bytes:
    """Return a baseline JPEG, colour at half resolution, without metadata."""
    image.info = {}  # Pillow would write a comment found there
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()


@functools.lru_cache(maxsize=16)
def _space(profile: bytes) -> str:
    """Return `srgb`, `rgb` for other RGB profiles, or nothing for all that cannot apply."""
    if len(profile) > MAX_PROFILE_BYTES:
        return ""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
        space, description = opened.xcolor_space.strip(), opened.profile_description or ""
    except (ImageCms.PyCMSError, ValueError, OSError, TypeError):
        return ""
    if space != "RGB":
        return ""
    return "srgb" if "srgb" in description.lower() else "rgb"


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), "RGB", "RGB"
    )
