"""Crops, pixel for pixel those of torchvision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, RandomResizedCrop

from trainer.data.crops import QuickCrop, with_quick_crop

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8))
SIDES = st.integers(1, 90)


@given(SIDES, SIDES, st.floats(0.01, 1), st.integers(0, 2**64 - 1))
@settings(max_examples=100, deadline=None)
def test_crops_are_those_of_torchvision(width: int, height: int, least: float, seed: int) -> None:
    theirs = RandomResizedCrop((7, 9), (least, 1), interpolation=InterpolationMode.BICUBIC)
    image = NOISE.crop((0, 0, width, height))
    torch.default_generator.manual_seed(seed)
    expected, state = theirs(image), torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    found = with_quick_crop(theirs)(image)
    assert found.tobytes() == expected.tobytes()
    assert torch.equal(torch.default_generator.get_state(), state)  # what follows draws alike


@pytest.mark.parametrize("size", [(90, 90), (90, 20), (20, 90), (80, 77)])
def test_when_no_draw_fits_the_middle_is_taken_as_by_torchvision(size: tuple[int, int]) -> None:
    theirs = RandomResizedCrop(8, (4, 5))  # four times the image
    image = NOISE.crop((0, 0, *size))
    assert QuickCrop(theirs)(image).tobytes() == theirs(image).tobytes()


def test_other_steps_are_left_alone() -> None:
    class Own(RandomResizedCrop):  # type: ignore[misc] # torchvision has no types
        """May draw otherwise."""

    for step in (CenterCrop(8), Own(8), RandomResizedCrop(8, interpolation=InterpolationMode.BOX)):
        assert with_quick_crop(step) is step
    assert type(with_quick_crop(RandomResizedCrop(8))) is QuickCrop
