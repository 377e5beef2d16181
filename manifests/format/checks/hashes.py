"""The perceptual hash of a stored image, by `imagehash`, against that of its row."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifests.format.checks.members import FORMATS

SHORT_PX = 256
"""Short side of what is hashed; smaller images are hashed as they are."""
DECODE_PX = 512
"""A JPEG is decoded at the smallest power-of-two scale that leaves its short side this long."""
REENCODED_BITS = 10
"""Tolerance, provisional, where the original was hashed and the stored image is a copy of it."""
UNDECIDED = 256.0
"""A bit says whether a DCT coefficient of the image at 32 x 32 px is above the median of all 64.
An error of one gray level (RMS) moves a coefficient by 64. To encode a drawing anew is an error of
up to 4 levels (measured on a manual's figures), so a coefficient that is closer decides nothing."""
_SIDEWAYS = 5
"""EXIF orientations from here on swap width and height."""


def hash_problem(data: bytes, row: Mapping[str, Any], basis: str) -> tuple[str, str]:
    """Hash an image that can be decoded; return a finding's code and message, or both empty.

    Args:
        data: the stored image.
        row: its `phash`, null where an image has too little structure, and `reencoded`.
        basis: `original` or `stored`: which image was hashed.
    """
    if row["phash"] is None:
        return "", ""
    import imagehash

    is_copy = row["reencoded"] and basis == "original"
    image = _canonical(data)
    found = imagehash.phash(image)
    try:
        told = imagehash.hex_to_hash(row["phash"])
        differs = found.hash != told.hash
    except (ValueError, TypeError):
        return "phash_mismatch", f"the row's phash is no hash: {row['phash'][:50]!r}"
    tolerance = REENCODED_BITS if is_copy else 0
    if differs.sum() > tolerance and is_copy:
        differs &= _decides(image)
    if (distance := int(differs.sum())) <= tolerance:
        return "", ""
    return "phash_mismatch", f"{found}, its row says {told}: {distance} bits, at most {tolerance}"


def _decides(image: Any) -> NDArray[np.bool_]:
    """Return which bits of the hash, shape (8, 8), stay when the image is encoded anew."""
    from PIL import Image
    from scipy import fftpack

    pixels = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS))
    dct = fftpack.dct(fftpack.dct(pixels, axis=0), axis=1)[:8, :8]
    margins: NDArray[np.float64] = np.abs(dct - np.median(dct))
    return margins > UNDECIDED


def _fitted(side: int, short: int) -> int:
    """Return a side, px, of an image whose short side is reduced to `SHORT_PX`, rounded."""
    return side if short <= SHORT_PX else (2 * side * SHORT_PX + short) // (2 * short)


def _canonical(data: bytes) -> Any:
    """Return the image that is hashed: upright RGB, reduced by a rule of its size alone."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        short = min(width, height)
        scale = next((scale for scale in (8, 4, 2) if -(-short // scale) >= DECODE_PX), 1)
        if scale > 1:
            image.draft(None, (width // scale, height // scale))
        image.load()
        sideways = image.getexif().get(0x0112, 1) in range(_SIDEWAYS, 9)
        rgb = ImageOps.exif_transpose(image).convert("RGB")
    full = (height, width) if sideways else (width, height)
    target = (_fitted(full[0], short), _fitted(full[1], short))
    if rgb.size == target:
        return rgb
    is_half = min(rgb.size) >= 2 * SHORT_PX
    return rgb.resize(target, Image.Resampling.BOX if is_half else Image.Resampling.HAMMING)
