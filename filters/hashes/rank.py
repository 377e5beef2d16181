"""Which copy of an image is the best, and which of its texts say something."""

import hashlib
import re
import unicodedata

import numpy as np
from numpy.typing import NDArray

PUBLISHED, NEW = 1, 2
"""Generations: a row of a published dataset stands before each row of this run."""
FEW_WORDS = 3
MANY_WORDS = 64
"""Texts of 3 to 64 words score best; provisional."""
RANK_BYTES = 20
SCORE_BYTE = 3
"""Where a rank holds 255 minus the caption score."""
TEXT_KEY_BYTES = 16

# Both run in linear time: each starts at one place, or at a dot, and has no nested repetition.
_EXTENSION = re.compile(r"\.(jpe?g|jfif|png|gif|webp|avif|svg|bmp|tiff?)\Z", re.IGNORECASE)
_CAMERA = re.compile(r"[^\W\d_]+[_.-]\d{3,}\Z")


def rank_keys(
    pair_ids: NDArray[np.uint8],
    short_sides_px: NDArray[np.int32],
    scores: NDArray[np.uint8],
    preferences: NDArray[np.uint8] | int = 0,
    generation: int = NEW,
) -> NDArray[np.uint8]:
    """Return keys whose order as bytes is that of the rows, best first; no two are equal.

    Generation, preference, size class of the short side, caption score, pair id.

    Args:
        pair_ids: shape (n, 16).
        short_sides_px: shape (n,).
        scores: shape (n,), of `caption_score`.
        preferences: shape (n,), or one for all; higher is better.
        generation: `PUBLISHED` or `NEW`.

    Returns:
        Shape (n, 20).
    """
    ranks = np.empty((len(pair_ids), RANK_BYTES), np.uint8)
    ranks[:, 0] = generation
    ranks[:, 1] = 255 - np.asarray(preferences, np.uint8)
    _, exponents = np.frexp(np.maximum(short_sides_px, 1).astype(np.float64))
    ranks[:, 2] = 255 - (exponents - 1)  # floor of the logarithm to base 2
    ranks[:, SCORE_BYTE] = 255 - scores
    ranks[:, 4:] = pair_ids
    return ranks


def caption_score(text: str) -> int:
    """Return 0 for an address or file name, 1 for a very short or long text, else 2."""
    tokens = text.split()
    if len(tokens) == 1 and _is_name(tokens[0]):
        return 0
    return 2 if FEW_WORDS <= len(tokens) <= MANY_WORDS else 1


def text_key(text: str) -> bytes:
    """Return 16 bytes that are equal for texts that differ in case, width or blanks only."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    data = " ".join(folded.split()).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=TEXT_KEY_BYTES).digest()


def _is_name(token: str) -> bool:
    if "://" in token or token[:4].lower() == "www.":
        return True
    return bool(_EXTENSION.search(token) or _CAMERA.match(token))
