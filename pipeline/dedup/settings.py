"""When two images count as one, and how much is compared to find out (`[dedup]`)."""

import dataclasses
from typing import Any, Literal

from filters.hashes.bands import HIGH_TABLES, NORMAL_TABLES

MAX_THRESHOLD = 100
MAX_THRESHOLD_WITHOUT_CHROMA = 64
CHROMA_OFF = 255


@dataclasses.dataclass(frozen=True, kw_only=True)
class DedupSettings:
    """Near-duplicate removal (`[dedup]`)."""

    threshold: int = 64
    """Bits of 512 that two copies of a photograph may differ in, 0 to 100; provisional."""
    threshold_graphic: int = 15
    """The same if one of them is a drawing, screenshot or text; 15 is what 16 bands guarantee."""
    chroma_max: int = 8
    """Levels of 255 by which the colours of two copies may differ in the mean; 255 switches the
    test off. Provisional; measured: 8 keeps 72 to 93 % of brightness, contrast and gamma edits."""
    chroma_max_graphic: int = 4
    """The same for graphics. Measured: 4 keeps 28 to 60 % of those edits of photographs."""
    match_gray: bool = False
    """Whether a gray and a coloured image may be copies whatever their colours."""
    recall: Literal["normal", "high"] = "normal"
    """`normal` compares images that share one of 16 bands, `high` one of 32, at twice the cost."""
    alternates_max: int = 8
    """Most texts that a kept pair takes over from its duplicates; provisional."""
    max_bucket: int = 512
    """Images of one band that are all compared with each other; provisional. Of more, each is
    compared with the best ones and with those that share a further band."""
    stars: int = 64
    """Best images of a crowded band with which all others are compared; provisional."""
    local_edges: int = 10_000_000
    """Most duplicate relations that the one choosing worker may hold, about 100 bytes each."""

    def __post_init__(self) -> None:
        """Refuse values that are out of range, or so loose that they merge what differs."""
        self._check("threshold", 0, MAX_THRESHOLD)
        self._check("threshold_graphic", 0, MAX_THRESHOLD)
        self._check("chroma_max", 0, CHROMA_OFF)
        self._check("chroma_max_graphic", 0, CHROMA_OFF)
        self._check("alternates_max", 0, 1000)
        self._check("max_bucket", 2, 1 << 16)
        self._check("stars", 1, 1 << 16)
        self._check("local_edges", 1, 1 << 31)
        pairs = (("threshold", "chroma_max"), ("threshold_graphic", "chroma_max_graphic"))
        for threshold, chroma in pairs:
            bits = getattr(self, threshold)
            if bits > MAX_THRESHOLD_WITHOUT_CHROMA and getattr(self, chroma) == CHROMA_OFF:
                raise ValueError(
                    f"{threshold} must be at most {MAX_THRESHOLD_WITHOUT_CHROMA} while {chroma} "
                    f"is {CHROMA_OFF}, got {bits}"
                )

    def _check(self, name: str, least: int, most: int) -> None:
        value = getattr(self, name)
        if not least <= value <= most:
            raise ValueError(f"{name} must be {least} to {most}, got {value}")

    @property
    def tables(self) -> int:
        """Number of bands of a hash."""
        return HIGH_TABLES if self.recall == "high" else NORMAL_TABLES

    def of_edges(self) -> dict[str, Any]:
        """Return the settings that decide which images are compared and found equal."""
        others = ("alternates_max", "local_edges")
        return {name: value for name, value in vars(self).items() if name not in others}
