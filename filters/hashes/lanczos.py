"""A gray picture to a thumbnail, bit for bit as Pillow's Lanczos filter makes it, but faster.

Pillow weighs pixel by pixel. Here a pass along the lines is a few products of matrices. Pillow's
weights are integers, and all sums stay below 2^53, so float64 holds them exactly, in any order of
addition: the same thumbnails from every BLAS.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SUPPORT_PX = 3.0
"""The filter is Lanczos with three lobes: its reach in px of the thumbnail."""
WEIGHT_BITS = 22
"""The weights of a thumbnail's pixel are multiples of 2^-22."""
STRIP_RATIO = 100
"""Strips taller than this times their width are resized along their height first."""
BAND_PX = 16
"""Thumbnail pixels of one product: neighbours share most of the pixels that they weigh."""
MAX_PRODUCT = 1 << 18
"""Larger products wake OpenBLAS's threads, which for these sizes cost more than they give."""


class _Band(NamedTuple):
    """Neighbouring pixels of a thumbnail's line: where their pixels lie, and what these weigh."""

    start: int
    stop: int
    weights: NDArray[np.float32]
    """Shape (stop - start, at most `BAND_PX`), multiples of 2^-`WEIGHT_BITS`, so exact."""


def thumbnail(luma: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return what Pillow 12's `resize(size, LANCZOS)` returns for mode L.

    Args:
        luma: shape (height, width), levels 0 to 255.
        size: width and height in px.

    Returns:
        Shape (size[1], size[0]).
    """
    height, width = luma.shape
    if height > STRIP_RATIO * width:
        return _resampled(_resampled(luma.T, size[1]).T, size[0]).astype(np.uint8)
    return _resampled(_resampled(luma, size[0]).T, size[1]).T.astype(np.uint8)


def _resampled(lines: NDArray[np.float64], points: int) -> NDArray[np.float64]:
    """Resample each line to a number of points, rounded to levels."""
    lines = np.ascontiguousarray(lines)  # products of transposed views take twice the time
    made = np.empty((len(lines), points))
    done = 0
    for start, stop, weights in _bands(lines.shape[1], points):
        rows, end = max(1, MAX_PRODUCT // weights.size), done + weights.shape[1]
        exact = weights.astype(np.float64)
        for top in range(0, len(lines), rows):
            part = slice(top, top + rows)
            np.matmul(lines[part, start:stop], exact, out=made[part, done:end])
        done = end
    made += 0.5
    np.floor(made, out=made)
    return np.clip(made, 0, 255, out=made)


@functools.lru_cache(maxsize=1024)
def _bands(points: int, wanted: int) -> tuple[_Band, ...]:
    """Return the weights of a line of `points` pixels that becomes `wanted` long; about 30 kB.

    They take as long as half a thumbnail. So many are kept that most pictures find theirs: a
    canonical one has a side of 256 px, and one of mostly less than 512.
    """
    scale = points / wanted
    stretch = max(scale, 1.0)
    reach = SUPPORT_PX * stretch
    numbers = np.arange(wanted)[:, None]
    centres = (numbers + 0.5) * scale
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + reach + 0.5).astype(np.int64), points)
    places = first + np.arange(2 * math.ceil(reach) + 1)
    weights = _lanczos((places - centres + 0.5) / stretch)
    weights[places >= last] = 0.0
    weights *= 2.0**WEIGHT_BITS / weights.sum(axis=1, keepdims=True)
    table = np.zeros((wanted, int(places[-1, -1]) + 1))
    table[numbers, places] = np.rint(weights) * 2.0**-WEIGHT_BITS
    made = []
    for top in range(0, wanted, BAND_PX):
        end = min(top + BAND_PX, wanted)
        start, stop = int(first[top, 0]), int(last[end - 1, 0])
        part = table[top:end, start:stop].T.astype(np.float32, order="C")
        made.append(_Band(start, stop, part))
    return tuple(made)


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sinc(x) sinc(x / 3) within the reach of the filter, 0 beyond; of one sine a value."""
    third = np.pi / SUPPORT_PX * np.where(x == 0, 1e-20, x)  # the formula has a gap at 0
    square = np.sin(third)
    square *= square
    made: NDArray[np.float64] = square * (3.0 - 4.0 * square) / (SUPPORT_PX * third * third)
    made[abs(x) >= SUPPORT_PX] = 0.0
    return made
