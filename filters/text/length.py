"""Length rules of texts: characters are code points, words stand between white space."""

import dataclasses
from typing import Literal

from filters.verdict import Drop, DropReason

Profile = Literal["none", "datacomp-basic", "coyo", "laion"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TextLength:
    """Drop a text that is too short or too long, in characters or in words."""

    min_chars: int = 1
    max_chars: int | None = None
    min_words: int = 1
    max_words: int | None = None
    cut_chars: int | None = None
    """A longer text is cut to this many code points before it is judged; whoever asks cuts it."""

    def __post_init__(self) -> None:
        """Refuse bounds that no text can keep."""
        for kind in ("chars", "words"):
            low, high = getattr(self, f"min_{kind}"), getattr(self, f"max_{kind}")
            if low < 1:
                raise ValueError(f"min_{kind} must be at least 1, got {low}")
            if high is not None and high < low:
                raise ValueError(f"max_{kind} must be at least min_{kind} = {low}, got {high}")
        if self.cut_chars is not None and self.cut_chars < self.min_chars:
            raise ValueError(
                f"min_chars must be at most {self.cut_chars}, to which texts are cut, "
                f"got {self.min_chars}"
            )

    @property
    def counts_words(self) -> bool:
        """Whether words matter, and not characters alone."""
        return self.min_words > 1 or self.max_words is not None

    def __call__(self, text: str) -> Drop | None:
        """Return why the text is dropped, or None to keep it."""
        if not text:
            return Drop(DropReason.TEXT_EMPTY, 0)
        if len(text) < self.min_chars:
            return Drop(DropReason.TEXT_TOO_SHORT, len(text))
        if self.max_chars is not None and len(text) > self.max_chars:
            return Drop(DropReason.TEXT_TOO_LONG, len(text))
        if not self.counts_words:
            return None
        words = len(text.split())
        if words < self.min_words:
            return Drop(DropReason.TOO_FEW_WORDS, words)
        if self.max_words is not None and words > self.max_words:
            return Drop(DropReason.TOO_MANY_WORDS, words)
        return None


PROFILES: dict[Profile, TextLength] = {
    "none": TextLength(),
    "datacomp-basic": TextLength(min_chars=6, min_words=3),
    "coyo": TextLength(min_chars=6, max_chars=1000, min_words=3, max_words=256),
    "laion": TextLength(min_chars=5, cut_chars=2000),
}
"""Published rules: DataComp's basic filter (more than 2 words, more than 5 characters), COYO-700M,
LAION-400M."""
ONLY_LANGUAGES: dict[Profile, tuple[str, ...]] = {"datacomp-basic": ("en",), "coyo": ("en",)}
"""Languages to which a profile's texts are limited; published."""
MOST_PAIRS: dict[Profile, int] = {"coyo": 10}
"""Pairs that may have one text; published: COYO-700M."""
