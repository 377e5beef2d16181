import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from filters.hashes.lanczos import thumbnail

SIZES = [(17, 16), (32, 32), (64, 64)]


def by_pillow(luma: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(luma).resize(size, Image.Resampling.LANCZOS))


@pytest.mark.parametrize("size", SIZES)
@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 400), st.integers(1, 400)),
        elements=st.sampled_from([0, 1, 127, 128, 254, 255]),
        fill=st.sampled_from([0, 255]),
    )
)
def test_thumbnails_are_pillows(size: tuple[int, int], luma: NDArray[np.uint8]) -> None:
    assert np.array_equal(thumbnail(luma.astype(np.float64), size), by_pillow(luma, size))


@pytest.mark.parametrize("size", SIZES)
def test_noise_of_many_widths_becomes_pillows_thumbnail(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 900), dtype=np.uint8)
    for width in range(256, 900, 23):
        luma = noise[:, :width]
        assert np.array_equal(thumbnail(luma.astype(np.float64), size), by_pillow(luma, size))


def test_strips_are_resized_in_pillows_order() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2100, 20), dtype=np.uint8)
    for luma in (noise, noise[:2000], noise.T):
        for size in SIZES:
            assert np.array_equal(thumbnail(luma.astype(np.float64), size), by_pillow(luma, size))
