"""Pixels: open_clip's transforms without their last two steps, which run on the device."""

import contextlib
import io
import random
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from trainer.data.crops import with_quick_crop

ImageTransform = Callable[[Image.Image], Image.Image]

FORMATS = ("JPEG", "PNG", "WEBP")
"""What images of a dataset may be; hostile bytes meet no other decoder of Pillow."""
DECODE_ERRORS = (OSError, ValueError, SyntaxError, NotImplementedError, MemoryError)
"""What Pillow raises on damaged images; anything else is our fault and stops the run."""


class TooManyPixelsError(ValueError):
    """An image is larger than the settings allow; it was not decoded."""


def without_normalising(steps: Sequence[object]) -> list[Callable[[Image.Image], Image.Image]]:
    """Return open_clip's steps but the last two, after checking that these make floats of pixels.

    Workers so send a byte a value instead of four, and the device does the same arithmetic. Random
    crops are made quicker.

    Raises:
        RuntimeError: if this version of open_clip ends its transform otherwise.
    """
    names = [type(step).__name__ for step in steps[-2:]]
    if names != ["MaybeToTensor", "Normalize"]:
        raise RuntimeError(
            f"open_clip's transform ends with {names}, expected MaybeToTensor and Normalize: "
            "install open_clip_torch>=3.3,<4"
        )
    return [with_quick_crop(step) for step in steps[:-2]]


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """Return the RGB image in `data`.

    Raises:
        TooManyPixelsError: before decoding, if width times height is above `max_pixels`.
        OSError: or another of `DECODE_ERRORS`, if Pillow cannot decode it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the pixels decide
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise TooManyPixelsError(str(error)) from None
        except UnidentifiedImageError:  # its text holds a memory address
            raise OSError(f"not one of {', '.join(FORMATS)}") from None
        if image.width * image.height > max_pixels:
            raise TooManyPixelsError(f"{image.width} x {image.height} px, at most {max_pixels}")
        if image.mode == "RGB":
            image.load()  # `convert` would copy it
            return image
        return image.convert("RGB")


def channels_first(pixels: NDArray[np.uint8]) -> Tensor:
    """Return images, shape (n, height, width, 3), as a tensor, shape (n, 3, height, width)."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


@contextlib.contextmanager
def own_randomness() -> Iterator[Callable[[int], None]]:
    """Give a function that seeds every generator a transform may use; restore them at the end.

    Not `torch.manual_seed`: it also queues the seeding of CUDA devices.
    """
    torch_state, python_state = torch.default_generator.get_state(), random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002 (transforms draw from it)

    def seed(value: int) -> None:
        torch.default_generator.manual_seed(value)
        random.seed(value)
        np.random.seed(value & 0xFFFFFFFF)  # noqa: NPY002 (transforms draw from it)

    try:
        yield seed
    finally:
        torch.default_generator.set_state(torch_state)
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002 (transforms draw from it)
