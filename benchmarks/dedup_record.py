"""CPU of the hash record beside imagehash and pdqhash, on the same decoded pictures.

    python -m benchmarks.dedup_record

imagehash makes as many bits: pHash and dHash of 256, pHash of 64. The record adds colours, quality
and the search for borders. Pictures are in memory, 512 px long. Each shape is met before it counts.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from benchmarks import harness
from benchmarks.fetch_web import pictures
from filters.hashes.perceptual import canonical, record

LONG_PX = 512


def record_costs(count: int) -> dict[str, float]:
    """Return CPU-ms of the record and its ratio to both libraries, best of three rounds.

    Raises:
        MissingError: if one of them is not installed.
    """
    imagehash = harness.need("imagehash", "imagehash")
    pdqhash = harness.need("pdqhash", "pdqhash")
    images = [_loaded(body) for body in pictures(count)]
    reduced = [canonical(image) for image in images]

    def bits_of_imagehash(image: Image.Image) -> None:
        imagehash.phash(image, 16), imagehash.dhash(image, 16), imagehash.phash(image)

    def all_of(work: Callable[[Image.Image], object], given: list[Image.Image]) -> harness.Work:
        return lambda: [work(image) for image in given]

    seconds = harness.alternate(
        {
            "record": all_of(record, images),
            "imagehash": all_of(bits_of_imagehash, images),
            "pdqhash": all_of(lambda image: pdqhash.compute(np.asarray(image)), images),
            "canonical": all_of(record, reduced),
        },
        rounds=3,
    )
    return {
        "record_ms": 1000 * seconds["record"] / count,
        "record_over_imagehash": seconds["record"] / seconds["imagehash"],
        "record_over_pdqhash": seconds["record"] / seconds["pdqhash"],
        "canonical_record_ms": 1000 * seconds["canonical"] / count,
    }


def _loaded(body: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(body)).convert("RGB")
    return image.resize(
        (LONG_PX * image.width // max(image.size), LONG_PX * image.height // max(image.size))
    )


if __name__ == "__main__":
    harness.run(lambda: harness.report([], [], record_costs(24), ""))
