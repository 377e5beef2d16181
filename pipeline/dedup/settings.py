"""When two images count as one, and how much is compared to find out (`[dedup]`)."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

from filters.hashes.bands import FEW_HASHES, MAX_SHORT_DISTANCE, Bands, short_bands, wide_bands
from filters.hashes.matching import Nearness

USUAL_THRESHOLD, MAX_THRESHOLD = 80, 100
LOOSE_THRESHOLD = 64
"""Bits up to which hashes alone tell images apart, without colours."""
CHROMA_OFF = 255
NORMAL_TABLES, HIGH_TABLES = 16, 32

Preset = Literal["openwit", "coyo", "imagehash64", "exact"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecontaminateSettings:
    """Pairs that show an evaluation image (`[dedup.decontaminate]`)."""

    eval: tuple[str, ...] = ()
    """Hash files of evaluation sets, made by `openwit-pipeline hashes build`."""
    action: Literal["drop", "flag"] = "drop"
    """`flag` keeps the pairs and names what they show in `eval_hits`."""
    mode: Literal["auto", "exhaustive", "keys"] = "auto"
    """`exhaustive` compares each image with each evaluation image, `keys` those that share a band
    up to one bit, which finds all within 31 bits; `auto` is `exhaustive` up to `max_pairs`."""
    max_pairs: int = 1_000_000_000_000
    """Most pairs that `auto` compares: 25,000 CPU-seconds at 4e7 a second (measured)."""
    radius: int = 100
    """Bits of 512 within which a pair shows an evaluation image; provisional. Measured: unrelated
    photographs differ in 252, standard deviation 21.5."""
    radius_graphic: int = 31
    """The same if the evaluation image or the pair's is graphic; provisional."""

    def __post_init__(self) -> None:
        """Refuse values that are out of range."""
        _check(self, "max_pairs", 1, 1 << 62)
        _check(self, "radius", 0, 160)
        _check(self, "radius_graphic", 0, 160)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DedupSettings:
    """Near-duplicate removal (`[dedup]`)."""

    preset: Preset = "openwit"
    """`exact`: 15 bits, every band compared, unconditional. `imagehash64`: pHashes of 64 bits
    within 4, no colours. `coyo`: equal pHash and equal text. Flat images always go by pixels."""
    threshold: int | None = None
    """Bits of 512 that two copies of a photograph may differ in, 0 to 100. Unset: 80, without
    `chroma_max` 64, 15 in `exact`, 4 of 64 in `imagehash64`. Measured on the half for tuning: 80
    finds what 64 does and all overlays of text, and neither takes two photographs for one; 96 finds
    4 % more logos, and twice as many wrong pairs of drawings (24 of 8,450)."""
    threshold_graphic: int | None = None
    """The same if both are drawings, screenshots or text. Unset: 15, what 16 bands guarantee; in
    `imagehash64` the same as `threshold`. Measured: a drawing and a photograph, or a photograph and
    a copy that an edit made look drawn, are told apart by `threshold`."""
    chroma_max: int = 16
    """Levels of 255 by which the colours of two copies may differ in the mean; 255 switches the
    test off. Measured: 8 keeps 75 to 97 % of brightness, contrast and gamma edits, 16 91 to 100 %,
    with no wrong pair of photographs for either."""
    chroma_max_graphic: int = 4
    """The same if both are graphic."""
    match_gray: bool = True
    """Whether a gray and a coloured image may be copies whatever their colours, unless both are
    drawings: two flags may differ in nothing else."""
    recall: Literal["normal", "high"] = "normal"
    """`normal` compares images that share one of 16 bands, `high` one of 32, at twice the cost."""
    text: Literal["image", "image_text", "image_k"] = "image"
    """`image` keeps one pair an image, `image_text` one for each text of it, `image_k` up to
    `captions_k` with distinct texts, each with its own copy of the image."""
    alternates_max: int = 8
    """Most texts that a kept pair takes over from its duplicates; provisional."""
    captions_k: int = 4
    """Most pairs an image keeps under `image_k`; provisional."""
    prefer: str = ""
    """Column of whole numbers, 0 to 255; of two copies the one with the higher value stays."""
    against: tuple[str, ...] = ()
    """Hash files of published datasets: pairs that show their images go."""
    block: tuple[str, ...] = ()
    """Hash files of images that must not come back."""
    max_bucket: int = 512
    """Images of one band that are all compared with each other; provisional. Of more, each is
    compared with the best ones and with those that share a further band."""
    stars: int = 64
    """Best images of a crowded band with which all others are compared; provisional."""
    recheck_max: int = 4096
    """Most kept images of a band crowded twice that are all compared in the end; provisional."""
    max_key_rows: int = 4_000_000
    """Images that a band may be predicted to have before it is left out as saying nothing."""
    max_overflow: float = 0.001
    """Images in crowded bands not compared in full, per kept image, above which the stage fails;
    1 switches that off. Provisional."""
    local_edges: int = 10_000_000
    """Most duplicate relations that the one choosing worker may hold, about 100 bytes each."""
    audit_sample: int = 1000
    """Kept images compared with all kept ones to measure what was missed; 0 switches it off."""
    audit_pairs: int = 200
    """Dropped pairs shown on the audit's page, equal numbers for each range of distances."""
    allow_loose: bool = False
    """Whether thresholds over 64 may go without a colour test."""
    allow_mixed_hash: bool = False
    """Whether hashes of different Pillow versions are compared."""
    decontaminate: DecontaminateSettings = dataclasses.field(default_factory=DecontaminateSettings)

    def __post_init__(self) -> None:
        """Refuse values that are out of range, or so loose that they merge what differs."""
        most = {"imagehash64": MAX_SHORT_DISTANCE, "exact": 15}.get(self.preset, MAX_THRESHOLD)
        for name in ("threshold", "threshold_graphic"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                place = f" under the preset {self.preset}" if most != MAX_THRESHOLD else ""
                raise ValueError(f"{name} must be 0 to {most}{place}, got {value}")
        _check(self, "chroma_max", 0, CHROMA_OFF)
        _check(self, "chroma_max_graphic", 0, CHROMA_OFF)
        _check(self, "alternates_max", 0, 1000)
        _check(self, "captions_k", 1, 1000)
        _check(self, "max_bucket", 2, 1 << 16)
        _check(self, "stars", 1, 1 << 16)
        _check(self, "recheck_max", 2, 1 << 16)
        _check(self, "max_key_rows", 1, 1 << 31)
        _check(self, "max_overflow", 0, 1)
        _check(self, "local_edges", 1, 1 << 31)
        _check(self, "audit_sample", 0, 100_000)
        _check(self, "audit_pairs", 0, 10_000)
        self._check_together()

    def _check_together(self) -> None:
        rule = self.nearness
        for name, chroma in (
            ("threshold", "chroma_max"),
            ("threshold_graphic", "chroma_max_graphic"),
        ):
            bits = getattr(rule, name)
            is_loose = bits > LOOSE_THRESHOLD and getattr(rule, chroma) == CHROMA_OFF
            if is_loose and not self.allow_loose:
                raise ValueError(
                    f"{name} must be at most {LOOSE_THRESHOLD} while {chroma} is {CHROMA_OFF}, got "
                    f"{bits}: lower it, or set allow_loose"
                )
        if self.text == "image_text" and self.against:
            raise ValueError(
                "text must be image or image_k with against, got image_text: published hashes have "
                "no texts"
            )
        if self.preset in ("coyo", "imagehash64") and (self.against or self.fixed_sets):
            raise ValueError(
                f"preset must be openwit or exact with against, block or decontaminate.eval, got "
                f"{self.preset}: it compares no hash records"
            )

    @property
    def nearness(self) -> Nearness:
        """When two images count as one."""
        short = self.preset == "imagehash64"
        wide = LOOSE_THRESHOLD if self.chroma_max == CHROMA_OFF else USUAL_THRESHOLD
        usual = {"exact": 15, "imagehash64": MAX_SHORT_DISTANCE}.get(self.preset, wide)
        bits = self.threshold if self.threshold is not None else usual
        usual_graphic = bits if short else 15
        graphic = self.threshold_graphic
        return Nearness(
            threshold=bits,
            threshold_graphic=graphic if graphic is not None and not short else usual_graphic,
            chroma_max=CHROMA_OFF if short else self.chroma_max,
            chroma_max_graphic=CHROMA_OFF if short else self.chroma_max_graphic,
            match_gray=self.match_gray,
            max_bucket=self.max_bucket,
            stars=self.stars,
        )

    def bands(self, nodes: int) -> Bands:
        """Return how hashes are cut, which for short ones depends on their number."""
        if self.preset == "imagehash64":
            return short_bands(self.nearness.threshold, few=nodes <= FEW_HASHES)
        tables = HIGH_TABLES if self.recall == "high" else NORMAL_TABLES
        return wide_bands(tables, judged=self.preset != "exact")

    @property
    def node_texts(self) -> int:
        """Texts of a node that go on: a kept pair's own, those it keeps as pairs, alternates."""
        own = self.captions_k if self.text == "image_k" else 1
        return own + self.alternates_max if self.alternates_max or own > 1 else 0

    @property
    def fixed_sets(self) -> tuple[tuple[str, str], ...]:
        """Hash files that images are screened with: kind and path."""
        return (
            *(("block", path) for path in self.block),
            *(("eval", path) for path in self.decontaminate.eval),
        )

    def of_edges(self) -> dict[str, Any]:
        """Return the settings that decide which images are compared and found equal."""
        return {
            **dataclasses.asdict(self.nearness),
            "preset": self.preset,
            "recall": self.recall,
            "max_key_rows": self.max_key_rows,
        }

    def resolved(self, absolute: Callable[[str], str]) -> "DedupSettings":
        """Return the same with the paths of its hash files made absolute."""
        inner = self.decontaminate
        return dataclasses.replace(
            self,
            against=tuple(map(absolute, self.against)),
            block=tuple(map(absolute, self.block)),
            decontaminate=dataclasses.replace(inner, eval=tuple(map(absolute, inner.eval))),
        )


def _check(settings: Any, name: str, least: float, most: float) -> None:
    value = getattr(settings, name)
    if not least <= value <= most or not math.isfinite(value):
        raise ValueError(f"{name} must be {least} to {most}, got {value}")
