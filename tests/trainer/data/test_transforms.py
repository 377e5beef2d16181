"""Pixels, beside open_clip's own transforms."""

import contextlib
import io
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import image_transform
from PIL import Image
from torchvision.transforms import Compose

from tests.trainer.data.conftest import huge_png, noise_jpeg
from trainer.data.transforms import (
    DECODE_ERRORS,
    TooManyPixelsError,
    channels_first,
    decode,
    own_randomness,
    without_normalising,
)

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
MOST = 89_478_485


def encoded(file_format: str, mode: str = "RGB", size: tuple[int, int] = (4, 3)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 200).save(file, file_format)
    return file.getvalue()


@pytest.mark.parametrize("is_train", [True, False])
def test_bytes_normalised_later_equal_open_clip_bit_by_bit(is_train: bool) -> None:
    whole = image_transform(
        12,
        is_train=is_train,
        mean=MEAN,
        std=STD,
        aug_cfg={"scale": (0.5, 1.0)} if is_train else None,
    )
    ours = Compose(without_normalising(whole.transforms))
    image = decode(noise_jpeg(1), MOST)
    with own_randomness() as seed:
        seed(5)
        expected = whole(image)
        seed(5)
        [pixels] = channels_first(np.array(ours(image))[None])
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    assert pixels.dtype == torch.uint8
    assert torch.equal((pixels / 255 - mean) / std, expected)  # as `trainer.model` does it


def test_another_end_of_the_transform_is_refused() -> None:
    steps = image_transform(12, is_train=False, mean=MEAN, std=STD).transforms
    with pytest.raises(RuntimeError, match=r"ends with \['MaybeConvertMode', 'MaybeToTensor'\]"):
        without_normalising(steps[:-1])


def test_pixels_are_channels_first() -> None:
    image = Image.new("RGB", (3, 2))
    image.putpixel((2, 1), (7, 8, 9))
    [pixels] = channels_first(np.array(image)[None])
    assert pixels.shape == (3, 2, 3)
    assert pixels[:, 1, 2].tolist() == [7, 8, 9]
    assert int(pixels.sum()) == 24


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("PNG", "P"),
        ("PNG", "I;16"),
        ("WEBP", "RGB"),
    ],
)
def test_images_become_rgb(file_format: str, mode: str) -> None:
    image = decode(encoded(file_format, mode), MOST)
    assert (image.mode, image.size) == ("RGB", (4, 3))


@pytest.mark.parametrize("file_format", ["GIF", "TIFF", "BMP", "EPS", "ICO"])
def test_formats_no_dataset_holds_are_not_decoded(file_format: str) -> None:
    with pytest.raises(DECODE_ERRORS, match="not one of JPEG, PNG, WEBP"):
        decode(encoded(file_format), MOST)


@pytest.mark.parametrize("data", [b"", b"not an image", noise_jpeg(1)[:-200], noise_jpeg(1)[:30]])
def test_damaged_images_raise_an_expected_error(data: bytes) -> None:
    with pytest.raises(DECODE_ERRORS):
        decode(data, MOST)


@given(
    st.sampled_from([encoded("PNG"), encoded("PNG", "P"), encoded("WEBP"), noise_jpeg(2)]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8),
)
@settings(deadline=None, max_examples=200)
def test_flipped_bytes_give_an_image_or_an_expected_error(
    data: bytes, flips: list[tuple[int, int]]
) -> None:
    damaged = bytearray(data)
    for place, value in flips:
        damaged[place % len(damaged)] = value
    with contextlib.suppress(*DECODE_ERRORS):
        assert decode(bytes(damaged), 10**6).mode == "RGB"


def test_an_image_of_the_most_pixels_is_decoded() -> None:
    assert decode(encoded("JPEG", size=(40, 25)), 1000).size == (40, 25)
    with pytest.raises(TooManyPixelsError, match="40 x 26 px, at most 1000"):
        decode(encoded("JPEG", size=(40, 26)), 1000)


@pytest.mark.parametrize("side", [9_460, 20_000, 60_000])  # just above, 4 and 40 times the limit
def test_a_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    with pytest.raises(TooManyPixelsError, match=r"9460|pixels"):
        decode(huge_png(side, side), MOST)


def draw() -> list[float]:
    """Draw as transforms do."""
    return [float(torch.rand(())), random.random(), float(np.random.random())]  # noqa: NPY002, S311


def draw_and_fail() -> None:
    with own_randomness() as seed:
        seed(99)
        draw()
        raise KeyError


@pytest.mark.parametrize("value", [0, 7, 2**32, 2**64 - 1])
def test_each_seed_gives_its_own_draws_from_every_generator(value: int) -> None:
    with own_randomness() as seed:
        seed(value)
        first = draw()
        seed(value)
        assert draw() == first
        seed(value ^ 1)
        assert not set(first) & set(draw())


def test_generators_go_on_as_if_nothing_was_drawn() -> None:
    with own_randomness() as seed:
        seed(3)
        draw()
        expected = draw()
        seed(3)
        draw()
        with pytest.raises(KeyError):
            draw_and_fail()
        assert draw() == expected
