"""Low frequencies of a discrete cosine transform, in integers that no CPU can change."""

import functools

import numpy as np
from numpy.typing import NDArray

SCALE_BITS = 16
"""The cosines are rounded to multiples of 2^-16."""


@functools.cache
def cosines(points: int, frequencies: int) -> NDArray[np.float64]:
    """Return the rounded DCT-II table: rint(65536 cos(pi k (2n+1) / 2N)).

    Args:
        points: N, samples per line.
        frequencies: how many rows k, from 0.

    Returns:
        Shape (frequencies, points), integers in float64; read-only.
    """
    k = np.arange(frequencies)[:, None]
    n = np.arange(points)[None, :]
    table = np.rint(2.0**SCALE_BITS * np.cos(np.pi * k * (2 * n + 1) / (2 * points)))
    table.setflags(write=False)
    return table


def low_frequencies(pixels: NDArray[np.uint8], frequencies: int) -> NDArray[np.float64]:
    """Return the low-frequency corner of the DCT of a square of at most 64 x 64 pixels.

    All sums are integers below 2^53, so float64 holds them exactly, in any order of addition: the
    same bits from every BLAS. Centring at 128 keeps them small; the constant term is then put back.

    Args:
        pixels: shape (N, N), levels.
        frequencies: side of the corner.

    Returns:
        Shape (frequencies, frequencies), integers in float64, in units of 2^-32.
    """
    table = cosines(len(pixels), frequencies)
    corner: NDArray[np.float64] = table @ (pixels - 128.0) @ table.T
    corner[0, 0] = float(pixels.sum(dtype=np.int64)) * 2.0 ** (2 * SCALE_BITS)
    return corner


def above_median(values: NDArray[np.float64]) -> tuple[NDArray[np.bool_], int]:
    """Tell which of an even number of integers lie above their median, and count those equal to it.

    Args:
        values: integers of magnitude below 2^52, any shape of even size.
    """
    middle = values.size // 2
    ordered = np.partition(values, (middle - 1, middle), axis=None)
    twice_median = ordered[middle - 1] + ordered[middle]
    doubled = 2 * values
    return doubled > twice_median, int(np.count_nonzero(doubled == twice_median))
