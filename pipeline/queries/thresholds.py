"""Thresholds of the two profiles, and how they follow the size of a corpus."""

import dataclasses
import math

from pipeline.queries.settings import QueriesSettings, Rank

REFERENCE_UNIGRAMS = 251_465
"""Published: unigrams of MetaCLIP's 500,000 entries, with 100,646 bigrams and 61,235 titles."""
TITLE_MAX = 61_235
TITLE_PERCENT = 76
BIGRAM_PERCENT = 40
"""Published: MetaCLIP's second version, beyond English: bigrams per unigram, titles by views."""
PMI_MIN = 30.0
"""Published: MetaCLIP keeps bigrams with a PMI of at least 30, bits."""
COUNT_FLOOR = 3
"""A scaled minimum count never falls below this; provisional."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """One threshold of the list, as asked for and as used."""

    requested: int | float | None
    used: int | float | None
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """All thresholds of one language."""

    unigram_max: Threshold
    unigram_min_count: Threshold
    bigram_min_count: Threshold
    bigram_min_pmi: Threshold
    bigram_max: Threshold
    title_max: Threshold
    title_min_views: Threshold
    rank: Rank


def thresholds_for(settings: QueriesSettings, words: int, types: int = 0) -> Thresholds:
    """Return the thresholds for a corpus of `words` words, before unigrams are known.

    Args:
        settings: as configured, of one language.
        words: N; 0 if no text was read.
        types: different words; `metaclip` takes a share of them beyond English.
    """
    metaclip = settings.profile == "metaclip"
    if metaclip and settings.lang != "en":
        return _by_shares(settings, types)
    scaled = settings.scale == "auto" and 0 < words < settings.reference_words
    bigram_min = settings.bigram_min_count or (1 if metaclip else 10)
    views_min = settings.title_min_views
    if views_min is None:
        views_min = 70 if metaclip else 0
    return Thresholds(
        unigram_max=_literal(settings.budget),
        unigram_min_count=_scaled_count(settings, settings.unigram_min_count, words, scaled),
        bigram_min_count=_scaled_count(settings, bigram_min, words, scaled),
        bigram_min_pmi=_scaled_pmi(settings, PMI_MIN if metaclip else None, words, scaled),
        bigram_max=_literal(settings.bigram_max),
        title_max=_title_max(settings, metaclip),
        title_min_views=(
            Threshold(requested=views_min, used=views_min, reason="never scaled")
            if settings.pageviews
            else Threshold(requested=views_min, used=0, reason="in-links are not views")
        ),
        rank=settings.bigram_rank or ("pmi" if metaclip else "npmi"),
    )


def _by_shares(settings: QueriesSettings, types: int) -> Thresholds:
    """Return MetaCLIP's thresholds beyond English: shares of what there is, up to bounds."""
    unigrams = min(REFERENCE_UNIGRAMS, settings.budget, divide_half_up(types, 10))
    return Thresholds(
        unigram_max=Threshold(
            requested=REFERENCE_UNIGRAMS, used=unigrams, reason=f"a tenth of {types} types"
        ),
        unigram_min_count=_literal(1),
        bigram_min_count=_literal(1),
        bigram_min_pmi=_literal(None),
        bigram_max=_literal(settings.bigram_max),
        title_max=_literal(TITLE_MAX),
        title_min_views=_literal(0),
        rank=settings.bigram_rank or "pmi",
    )


def title_share_max(settings: QueriesSettings, thresholds: Thresholds, titles: int) -> Thresholds:
    """Return the thresholds with the share of `titles` that `metaclip` takes beyond English."""
    if settings.profile != "metaclip" or settings.lang == "en":
        return thresholds
    used = min(TITLE_MAX, divide_half_up(TITLE_PERCENT * titles, 100))
    reason = f"{TITLE_PERCENT} % of {titles} titles"
    return dataclasses.replace(
        thresholds, title_max=Threshold(requested=TITLE_MAX, used=used, reason=reason)
    )


def with_unigrams(
    thresholds: Thresholds, settings: QueriesSettings, words: int, unigrams: int
) -> Thresholds:
    """Return the thresholds with the bounds on bigrams and titles that `unigrams` kept allow."""
    if settings.profile == "metaclip" and settings.lang != "en":
        used = min(settings.bigram_max, divide_half_up(BIGRAM_PERCENT * unigrams, 100))
        reason = f"{BIGRAM_PERCENT} % of {unigrams} unigrams"
        share = dataclasses.replace(thresholds.bigram_max, used=used, reason=reason)
        return dataclasses.replace(thresholds, bigram_max=share)
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


def _literal(value: int | None) -> Threshold:
    return Threshold(requested=value, used=value, reason="literal")


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
        return _literal(TITLE_MAX)
    return Threshold(requested=None, used=settings.budget, reason="the rest of the budget")
