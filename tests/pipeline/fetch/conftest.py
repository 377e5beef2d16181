import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def photo() -> Callable[[int, int], Image.Image]:
    """Give smooth colour pictures of any size, none of which is flat."""

    def make(width: int, height: int) -> Image.Image:
        noise = np.random.default_rng(width * 10_000 + height).integers(0, 256, (12, 16, 3))
        small = Image.fromarray(noise.astype(np.uint8))
        return small.resize((width, height), Image.Resampling.BICUBIC)

    return make


@pytest.fixture(scope="session")
def encoded() -> Encode:
    """Give the file of an image: `encoded(image, "PNG", quality=90)`."""

    def encode(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return encode
