"""Plain borders of a picture: where to crop, so that a framed copy hashes like the picture."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PROBE_PX = 512
"""Borders are looked for on the luma reduced to a long side of at most this."""
LEVEL_RANGE = 12
"""A border's pixels lie this close, in levels, to the median of the outermost line."""
MIN_KEPT_PX = 16
"""A crop with a shorter side than this is not made."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in px, as Pillow crops."""


def find_border(luma: Image.Image) -> Box | None:
    """Return the box inside plain borders, or None if nothing worth cropping is found.

    On each side a border is made of the leading lines of which at least 98 % of the pixels are near
    the lower median of the outermost line, at most 45 % of the side. At least 16 x 16 px must
    remain and more than 1 % of the area go.

    Args:
        luma: mode L.
    """
    factor = -(-max(luma.size) // PROBE_PX)
    levels = np.asarray(luma.reduce(factor) if factor > 1 else luma)
    left, right = _leading(levels.T), _leading(levels.T[::-1])
    top, bottom = _leading(levels), _leading(levels[::-1])
    width, height = luma.size
    box = (left * factor, top * factor, width - right * factor, height - bottom * factor)
    kept_width, kept_height = box[2] - box[0], box[3] - box[1]
    if min(kept_width, kept_height) < MIN_KEPT_PX:
        return None
    if (width * height - kept_width * kept_height) * 100 <= width * height:
        return None
    return box


def _leading(lines: NDArray[np.uint8]) -> int:
    """Count the leading lines that are border; most pictures have none, so one line comes first."""
    middle = int(np.sort(lines[0])[(lines.shape[1] - 1) // 2])
    if not _is_border(lines[0], middle):
        return 0
    limit = len(lines) * 45 // 100
    is_border = _is_border(lines[:limit], middle)
    return limit if is_border.all() else int(np.argmin(is_border))


def _is_border(lines: NDArray[np.uint8], middle: int) -> NDArray[np.bool_]:
    """Tell of each line whether at least 98 % of its pixels are within range of `middle`."""
    near = (lines >= middle - LEVEL_RANGE) & (lines <= middle + LEVEL_RANGE)
    made: NDArray[np.bool_] = near.sum(axis=-1) * 100 >= 98 * lines.shape[-1]
    return made
