"""What a list is built from, the rules of two profiles, and how thresholds follow the corpus."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Literal

Profile = Literal["clip", "metaclip"]
Rank = Literal["npmi", "pmi"]
Paths = str | tuple[str, ...]

REFERENCE_UNIGRAMS = 251_465
"""Published: unigrams of MetaCLIP's 500,000 entries, with 100,646 bigrams and 61,235 titles."""
TITLE_MAX = 61_235
PMI_MIN = 30.0
"""Published: MetaCLIP keeps bigrams with a PMI of at least 30, bits."""
COUNT_FLOOR = 3
"""A scaled minimum count never falls below this; provisional."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueriesSettings:
    """The table `[queries]`: a ready list, or the rules and inputs to build one."""

    file: str = ""
    """A ready list: Parquet, JSON array, or text; excludes the inputs below."""
    profile: Profile = "clip"
    """`clip` follows the CLIP paper, `metaclip` the published MetaCLIP recipe."""
    lang: str = "en"
    """Language of the inputs, a BCP 47 primary tag; also the project of the page views."""
    dump: Paths = ()
    """MediaWiki XML, plain, gzip or bz2; a path or a list of paths."""
    text: Paths = ()
    """Plain UTF-8 text, one segment a line, plain, gzip or bz2."""
    pageviews: Paths = ()
    """Hourly page-view files, plain, gzip or bz2."""
    wordnet: str = ""
    """Folder with data.noun, data.verb, data.adj and data.adv of WordNet 3.0 or 3.1."""
    budget: int = 500_000
    """Most queries in the list; WordNet is never cut. Published: CLIP."""
    unigram_min_count: int = 100
    """Occurrences a word needs. Published: CLIP."""
    bigram_min_count: int | None = None
    """Occurrences a bigram needs; unset: 10 in `clip` (provisional), 1 in `metaclip`."""
    bigram_rank: Rank | None = None
    """What bigrams are ranked by; unset: `npmi` in `clip`, `pmi` in `metaclip`."""
    bigram_max: int = 100_646
    """Most bigrams. Published: MetaCLIP."""
    title_min_views: int | None = None
    """Page views a title needs; unset: none in `clip`, 70 in `metaclip` (published)."""
    scale: Literal["auto", "off"] = "auto"
    """Whether thresholds shrink for a corpus smaller than `reference_words`."""
    reference_words: int = 4_500_000_000
    """Published: words of English Wikipedia, April 2024."""
    max_types: int = 2_000_000
    """Distinct entries held in memory before a sorted run goes to disk; provisional."""
    namespaces: tuple[int, ...] = (0,)
    """Namespaces of the dump whose pages are read."""
    wordnet_lemmas: Literal["first", "all"] = "first"
    """Words of a synset that become queries."""
    allow_truncated: bool = False
    """Whether a dump that ends early is counted instead of refused."""

    def __post_init__(self) -> None:
        for name in ("budget", "unigram_min_count", "reference_words", "max_types"):
            _check_at_least(name, getattr(self, name), 1)
        _check_at_least("bigram_min_count", self.bigram_min_count, 1)
        _check_at_least("bigram_max", self.bigram_max, 0)
        _check_at_least("title_min_views", self.title_min_views, 0)
        if not re.fullmatch(r"[a-z]{2,8}", self.lang):
            raise ValueError(f"lang must be a BCP 47 primary tag such as 'en', got {self.lang!r}")
        if not self.namespaces:
            raise ValueError("namespaces must name at least one namespace, got none")
        if self.file and self.has_inputs:
            raise ValueError("file must be empty when a list is built from inputs, got both")
        if self.title_min_views and not self.pageviews:
            raise ValueError("title_min_views must be unset without pageviews, got a threshold")

    @property
    def has_inputs(self) -> bool:
        """Whether anything is named that a list can be built from."""
        return bool(self.dump or self.text or self.pageviews or self.wordnet)

    def resolved(self, resolve: Callable[[str], str]) -> "QueriesSettings":
        """Return the same settings with each path passed through `resolve`."""
        changes: dict[str, Paths] = {}
        for name in ("file", "dump", "text", "pageviews", "wordnet"):
            value: Paths = getattr(self, name)
            if isinstance(value, str):
                changes[name] = resolve(value) if value else value
            else:
                changes[name] = tuple(resolve(path) for path in value)
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type] # names are fields


def as_paths(value: Paths) -> tuple[str, ...]:
    """Return a setting that is a path or a list of paths as a tuple."""
    return ((value,) if value else ()) if isinstance(value, str) else value


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """One threshold of the list, as asked for and as used."""

    requested: int | float | None
    used: int | float | None
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """All thresholds of one build."""

    unigram_min_count: Threshold
    bigram_min_count: Threshold
    bigram_min_pmi: Threshold
    bigram_max: Threshold
    title_max: Threshold
    title_min_views: Threshold
    rank: Rank


def thresholds_for(settings: QueriesSettings, words: int) -> Thresholds:
    """Return the thresholds for a corpus of `words` words, before unigrams are known.

    Args:
        settings: as configured.
        words: N; 0 if no text was read.
    """
    metaclip = settings.profile == "metaclip"
    scaled = settings.scale == "auto" and 0 < words < settings.reference_words
    bigram_min = settings.bigram_min_count or (1 if metaclip else 10)
    views_min = settings.title_min_views
    if views_min is None:
        views_min = 70 if metaclip else 0
    return Thresholds(
        unigram_min_count=_scaled_count(settings, settings.unigram_min_count, words, scaled),
        bigram_min_count=_scaled_count(settings, bigram_min, words, scaled),
        bigram_min_pmi=_scaled_pmi(settings, PMI_MIN if metaclip else None, words, scaled),
        bigram_max=Threshold(
            requested=settings.bigram_max, used=settings.bigram_max, reason="literal"
        ),
        title_max=_title_max(settings, metaclip),
        title_min_views=(
            Threshold(requested=views_min, used=views_min, reason="never scaled")
            if settings.pageviews
            else Threshold(requested=views_min, used=0, reason="in-links are not views")
        ),
        rank=settings.bigram_rank or ("pmi" if metaclip else "npmi"),
    )


def with_unigrams(
    thresholds: Thresholds, settings: QueriesSettings, words: int, unigrams: int
) -> Thresholds:
    """Return the thresholds with the bounds on bigrams and titles that `unigrams` kept allow."""
    if settings.scale == "off" or not 0 < words < settings.reference_words:
        return thresholds
    bigrams = divide_half_up(unigrams * settings.bigram_max, REFERENCE_UNIGRAMS)
    titles = divide_half_up(unigrams * TITLE_MAX, REFERENCE_UNIGRAMS)
    reason = f"scaled to {unigrams} unigrams"
    return dataclasses.replace(
        thresholds,
        bigram_max=dataclasses.replace(thresholds.bigram_max, used=bigrams, reason=reason),
        title_max=dataclasses.replace(
            thresholds.title_max, used=min(titles, settings.budget), reason=reason
        ),
    )


def divide_half_up(dividend: int, divisor: int) -> int:
    """Return the quotient of whole numbers, rounded, a half upwards."""
    return (2 * dividend + divisor) // (2 * divisor)


def _scaled_count(settings: QueriesSettings, count: int, words: int, scaled: bool) -> Threshold:
    if not scaled:
        return Threshold(requested=count, used=count, reason="literal")
    used = max(COUNT_FLOOR, divide_half_up(count * words, settings.reference_words))
    return Threshold(requested=count, used=used, reason=f"scaled to {words} words")


def _scaled_pmi(
    settings: QueriesSettings, pmi: float | None, words: int, scaled: bool
) -> Threshold:
    if pmi is None or not scaled:
        return Threshold(requested=pmi, used=pmi, reason="literal" if pmi else "none")
    used = round(pmi - math.log2(settings.reference_words / words), 6)
    return Threshold(requested=pmi, used=used, reason=f"scaled to {words} words")


def _title_max(settings: QueriesSettings, metaclip: bool) -> Threshold:
    if metaclip:
        return Threshold(requested=TITLE_MAX, used=TITLE_MAX, reason="literal")
    return Threshold(requested=None, used=settings.budget, reason="the rest of the budget")


def _check_at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
