"""One member of a sample: is the image an image, is the JSON that of its row?"""

import io
import json
import warnings
from collections.abc import Mapping
from typing import Any

MAX_PIXELS = 89_478_485
"""Pillow's own limit, above which it warns."""
FORMATS = ("JPEG",)
"""What an image may be: all are named `.jpg`."""


def differing_keys(data: bytes, expected: bytes) -> set[str]:
    """Return in which keys two JSON members differ, or another reason why they are not equal."""
    wanted = json.loads(expected)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {"not JSON"}
    if not isinstance(found, dict):
        return {"not an object"}
    names = {name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)}
    return {name[:50] for name in names} or {"written in another way"}


def decode_problem(
    data: bytes, row: Mapping[str, Any], formats: tuple[str, ...] = FORMATS
) -> tuple[str, str]:
    """Decode an image and return a finding's code and message, both empty if all is well."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked here
            with Image.open(io.BytesIO(data), formats=formats) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    return "image_too_large", f"{width} x {height} px, at most {MAX_PIXELS}"
                # A JPEG's data are all read and checked as ever; only its pixels are made an eighth
                # as wide and high, and no fault of a file shows in these alone.
                image.draft(None, (1, 1))
                image.load()
    except Image.DecompressionBombError as error:
        return "image_too_large", str(error)[:200]
    except Exception as error:  # whatever a decoder raises, the image is bad
        return "undecodable_image", f"{type(error).__name__}: {error}"[:200]
    if (width, height) == (row["width"], row["height"]):
        return "", ""
    told = f"{row['width']} x {row['height']}"
    return "dimensions_mismatch", f"the image is {width} x {height} px, its row says {told}"
