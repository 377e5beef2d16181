"""Other libraries that find copies of images, for the quality of dedup."""

import functools
import io
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import harness

Edges = set[tuple[int, int]]
"""Places of two files that are copies, the first one first."""


def rgb_of(data: bytes) -> Image.Image:
    """Return the image of a file."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def peers_of() -> dict[str, Callable[[list[bytes]], Edges]]:
    """Return other libraries at the limits that they recommend, and at stricter ones, in steps.

    A method takes files and returns pairs of their places that it calls copies.

    Raises:
        MissingError: if one of them is not installed; `perception` is left out then.
    """
    imagededup = harness.need("imagededup.methods", "imagededup").PHash(verbose=False)
    pdqhash = harness.need("pdqhash", "pdqhash")
    imagehash = harness.need("imagehash", "imagehash")

    def dedup_bits(image: Image.Image) -> NDArray[np.uint8]:
        text = imagededup.encode_image(image_array=np.asarray(image))
        return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))

    def pdq_bits(image: Image.Image) -> NDArray[np.uint8] | None:
        bits, quality = pdqhash.compute(np.asarray(image))
        return np.asarray(bits, np.uint8) if quality >= 50 else None  # as PDQ's authors advise

    def phash_bits(image: Image.Image) -> NDArray[np.uint8]:
        return np.asarray(imagehash.phash(image).hash, np.uint8).reshape(-1)

    methods = {
        **_within("imagededup", dedup_bits, range(10, -1, -2)),
        **_within("pdqhash", pdq_bits, (31, 24, 16, 8, 0)),
        **_within("imagehash", phash_bits, range(8, -1, -2)),
    }
    try:  # it cannot share an environment with what needs a recent rich
        hasher = harness.need("perception.hashers", "perception").PHash(hash_size=16)
    except harness.MissingError:
        return methods

    def perception_bits(image: Image.Image) -> NDArray[np.uint8] | None:
        bits = hasher.compute(np.asarray(image), hash_format="vector")
        return None if bits is None else np.asarray(bits, np.uint8)  # None: flat

    return methods | _within("perception", perception_bits, range(51, -1, -10))  # 0.2 of 256 bits


def _within(
    name: str,
    bits_of: Callable[[Image.Image], NDArray[np.uint8] | None],
    limits: Iterable[int],
) -> dict[str, Callable[[list[bytes]], Edges]]:
    """Return the methods that compare all pairs of one kind of hashes, each within a limit."""
    bits = functools.cache(lambda data: bits_of(rgb_of(data)))

    def method(files: list[bytes], most: int) -> Edges:
        found = [(row, bits(data)) for row, data in enumerate(files)]
        kept = [(row, each) for row, each in found if each is not None]
        rows = [row for row, _ in kept]
        signs = np.stack([each for _, each in kept]).astype(np.float32) * 2 - 1
        return set(_near(signs, rows, most))

    return {f"{name} {most}": functools.partial(method, most=most) for most in limits}


def _near(signs: NDArray[np.float32], rows: list[int], most: int) -> Iterator[tuple[int, int]]:
    bits = signs.shape[1]
    for start in range(0, len(rows), 512):
        distance = (bits - signs[start : start + 512] @ signs.T) / 2
        for left, right in zip(*np.nonzero(distance <= most), strict=True):
            if left + start < right:
                yield rows[left + start], rows[right]
