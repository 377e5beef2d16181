"""The hash record of an image: what near-duplicates are found by, equal bits on every machine."""

import dataclasses
import functools
import hashlib
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, __version__

from filters.hashes.borders import find_border
from filters.hashes.canonical import canonical
from filters.hashes.dct import above_median, low_frequencies
from filters.hashes.lanczos import thumbnail

__all__ = ["FLAT", "GRAPHIC", "GRAY", "HashRecord", "canonical", "record", "self_test"]

FLAT = 1
"""Too little structure to compare: equal pixels alone make a duplicate."""
GRAPHIC = 2
"""Drawing, screenshot or text: its hashes collide sooner, so the radius is smaller."""
GRAY = 4
"""Without colour."""

STRIP_ROWS = 64
"""Of the made-up images that are made at once; whole planes of 32 bits would be the most that a
process of `fetch` ever holds."""

HASH_VERSIONS = {
    "0c6219861dfe4df35602d0ce8f2ef9ba16f61b414711787d3a8baaa8b42f9edf": "ow1/p12",
    "c0e3418e5cf5ade666b313ff1a69603f6920e788c3942dca8efc61b193dbeb76": "ow1/p13",
}
"""`self_test` digest to version: thumbnails as Pillow 12.3.0 makes them, which `lanczos` does under
any Pillow, and as 13.0.0 does, which resizes some shapes differently."""

FLAT_QUALITY = 20
GRAPHIC_QUALITY = 50
GRAPHIC_DHASH_BITS = 40
GRAPHIC_EQUAL_COEFFICIENTS = 8
GRAPHIC_LEVELS = 5
GRAPHIC_PIXELS = 1639
"""40 % of the 4,096 pixels in a window of `GRAPHIC_LEVELS` adjacent levels."""
GRAPHIC_COMMON_LEVELS = 4
GRAPHIC_COMMON_PERCENT = 45
"""So many of the image's own pixels have one of its few commonest levels: screenshots, whose plain
areas of several levels the 64 x 64 form blurs. Measured in a manual: 18 of 20 pairs of screenshots
taken for copies are told apart, and 2 of 71 photographs, both painted, are taken for drawings."""
GRAY_RANGE = 2
_PERCENT = np.arange(256) * 100 // 255
"""Difference of two levels to percent of the range."""
MIN_HASH_PX = 16
"""An image with a shorter side is flat."""


@dataclasses.dataclass(frozen=True, slots=True)
class HashRecord:
    """What `record` finds in an image; the columns of the same names, with `dedup_` before them."""

    hash: bytes
    """64 bytes: dHash-256, then pHash-256, each 16 rows x 16 bits, first bit most significant."""
    chroma: bytes
    """32 bytes: 4 x 4 cells row by row, Cb then Cr."""
    quality: int
    """PDQ's gradient quality, 0 to 100."""
    flags: int
    """Sum of `FLAT`, `GRAPHIC`, `GRAY`."""
    trim: bytes | None
    """97 bytes: hash, chroma and flags without plain borders; None if there are none."""
    pixels: bytes | None
    """16 bytes, flat images only: blake2b of size and pixels."""
    phash: str | None
    """16 hexadecimal digits, equal to imagehash's pHash of the same image; None if flat."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Probe:
    hash: bytes
    chroma: bytes
    quality: int
    flags: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Thumbnails:
    """The resized images of which all bits are made."""

    line: NDArray[np.uint8]
    """Shape (16, 17), luma."""
    square: NDArray[np.uint8]
    """Shape (64, 64), luma."""
    cells: NDArray[np.uint8]
    """Shape (4, 4, 3), YCbCr."""


def record(image: Image.Image) -> HashRecord:
    """Hash a canonical image.

    Args:
        image: mode RGB, upright, as `canonical` gives it.

    Source: imagehash 4.3.2 is the oracle of the bits; quality is PDQ's formula.
    """
    luma = image.convert("L")
    levels = _levels(luma)
    probe = _probe(image, luma, levels)
    if probe.flags & FLAT:
        size = struct.pack("<II", *image.size)
        pixels = hashlib.blake2b(size + image.tobytes(), digest_size=16).digest()
        return HashRecord(probe.hash, probe.chroma, probe.quality, probe.flags, None, pixels, None)
    return HashRecord(
        hash=probe.hash,
        chroma=probe.chroma,
        quality=probe.quality,
        flags=probe.flags,
        trim=_trimmed(image, luma, levels),
        pixels=None,
        phash=phash_bits(thumbnail(levels, (32, 32))).hex(),
    )


@functools.cache
def self_test() -> str:
    """Return the hash version of this machine's libraries, found by hashing five made-up images.

    Raises:
        ValueError: if the resized images differ from those of every known version.
    """
    digest = hashlib.sha256()
    for width, height in ((300, 200), (200, 300), (20, 30), (1000, 40), (2000, 1500)):
        image = sample_image(width, height)
        luma = image.convert("L")
        levels = _levels(luma)
        small, made = thumbnail(levels, (32, 32)), _thumbnails(image, luma, levels)
        for array in (made.line, made.square, small, made.cells):
            digest.update(array.tobytes())
    version = HASH_VERSIONS.get(digest.hexdigest())
    if version is None:
        raise ValueError(
            f"hash version must be one of {sorted(HASH_VERSIONS.values())}, got digest "
            f"{digest.hexdigest()} from Pillow {__version__}: install Pillow 12.3.0 or 13.0.0"
        )
    return version


def sample_image(width_px: int, height_px: int) -> Image.Image:
    """Return the made-up image W(w, h), a disc on ramps under a chequered texture."""
    x = np.arange(width_px, dtype=np.int32)[None, :]
    radius = min(width_px, height_px) // 4
    pixels = np.empty((height_px, width_px, 3), np.uint8)
    for top in range(0, height_px, STRIP_ROWS):
        strip = pixels[top : top + STRIP_ROWS]
        y = np.arange(top, top + len(strip), dtype=np.int32)[:, None]
        disc = (x - width_px // 3) ** 2 + (y - height_px // 2) ** 2 < radius**2
        strip[..., 0] = (255 * x // (width_px - 1) + np.int32(96) * disc) % 256
        strip[..., 1] = 255 * y // (height_px - 1)
        strip[..., 2] = 160 * ((x // 16 + y // 16) % 2) + (7 * x + 13 * y + x * y // 5) % 64
    return Image.fromarray(pixels)


def phash_bits(square: NDArray[np.uint8]) -> bytes:
    """Return the pHash of a square: a quarter of its side in bits a side.

    Args:
        square: shape (32, 32) gives 64 bits, (64, 64) gives 256.
    """
    return _pack(above_median(low_frequencies(square, len(square) // 4))[0])


def dhash_bits(line: NDArray[np.uint8]) -> bytes:
    """Return the dHash of shape (16, 17) luma: 256 bits, set where the right pixel is brighter."""
    return _pack(line[:, 1:] > line[:, :-1])


def gradient_quality(square: NDArray[np.uint8]) -> int:
    """Return PDQ's quality of shape (64, 64) luma, 0 for plain to 100."""
    levels = square.astype(np.int16)
    steps = np.abs(levels[1:] - levels[:-1]), np.abs(levels[:, 1:] - levels[:, :-1])
    return min(100, sum(int(_PERCENT[each].sum()) for each in steps) // 90)


def _pack(bits: NDArray[np.bool_]) -> bytes:
    return np.packbits(bits, axis=None).tobytes()


def _levels(luma: Image.Image) -> NDArray[np.float64]:
    return np.asarray(luma).astype(np.float64)


def _thumbnails(image: Image.Image, luma: Image.Image, levels: NDArray[np.float64]) -> _Thumbnails:
    """Resize; long images are first averaged down, which costs a fraction of a wide Lanczos."""
    factor = max(1, min(max(luma.size) // 512, min(luma.size) // 64))
    gray = _levels(luma.reduce(factor)) if factor > 1 else levels
    return _Thumbnails(
        line=thumbnail(gray, (17, 16)),
        square=thumbnail(gray, (64, 64)),
        cells=np.asarray(image.resize((4, 4), Image.Resampling.BOX).convert("YCbCr")),
    )


def _probe(image: Image.Image, luma: Image.Image, levels: NDArray[np.float64]) -> _Probe:
    thumbnails = _thumbnails(image, luma, levels)
    dhash = dhash_bits(thumbnails.line)
    bits, equal = above_median(low_frequencies(thumbnails.square, 16))
    quality = gradient_quality(thumbnails.square)
    chroma = np.ascontiguousarray(thumbnails.cells[:, :, 1:])
    flags = 0
    if quality < FLAT_QUALITY or min(image.size) < MIN_HASH_PX:
        flags |= FLAT
    if _is_graphic(quality, dhash, equal, thumbnails.square) or _has_few_levels(luma):
        flags |= GRAPHIC
    if int(chroma.min()) >= 128 - GRAY_RANGE and int(chroma.max()) <= 128 + GRAY_RANGE:
        flags |= GRAY
    return _Probe(dhash + _pack(bits), chroma.tobytes(), quality, flags)


def _is_graphic(
    quality: int, dhash: bytes, equal_coefficients: int, square: NDArray[np.uint8]
) -> bool:
    if quality < GRAPHIC_QUALITY or equal_coefficients >= GRAPHIC_EQUAL_COEFFICIENTS:
        return True
    if int.from_bytes(dhash, "big").bit_count() < GRAPHIC_DHASH_BITS:
        return True
    counts = np.cumsum(np.bincount(square.reshape(-1), minlength=256 + GRAPHIC_LEVELS))
    windows = counts[GRAPHIC_LEVELS:] - counts[:-GRAPHIC_LEVELS]
    return max(int(windows.max()), int(counts[GRAPHIC_LEVELS - 1])) >= GRAPHIC_PIXELS


def _has_few_levels(luma: Image.Image) -> bool:
    common = sorted(luma.histogram())[-GRAPHIC_COMMON_LEVELS:]
    return 100 * sum(common) >= GRAPHIC_COMMON_PERCENT * luma.width * luma.height


def _trimmed(image: Image.Image, luma: Image.Image, levels: NDArray[np.float64]) -> bytes | None:
    """Return the second probe, without plain borders; a flat one says nothing and is left out."""
    box = find_border(luma)
    if box is None:
        return None
    left, top, right, bottom = box
    probe = _probe(image.crop(box), luma.crop(box), levels[top:bottom, left:right])
    if probe.flags & FLAT:
        return None
    return probe.hash + probe.chroma + bytes([probe.flags])
