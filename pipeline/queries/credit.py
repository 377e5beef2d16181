"""Candidates of all sources to the rows of a list: credit, equal forms, the budget."""

import collections
import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence

from filters.queries.match_form import match_form
from filters.queries.query_list import SOURCES
from filters.text.categories import ranges, regex_class
from pipeline.queries.settings import Profile

MAX_QUERY_CHARS = 256
ORDER: dict[Profile, tuple[str, ...]] = {
    "clip": ("unigram", "bigram", "title", "wordnet"),
    "metaclip": ("digits", "wordnet", "unigram", "bigram", "title"),
}
"""Sources in the order in which they are credited."""
CUT_ORDER = ("title", "bigram", "unigram")
"""Over budget, these give way in this order; WordNet and digits never do."""
ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A query as one source offers it."""

    query: str
    count: int | None = None
    score: float | None = None
    views: int | None = None


@dataclasses.dataclass(slots=True)
class Row:
    """A row of the list, growing while sources are merged."""

    query: str
    source: str
    sources: int
    count: int | None = None
    score: float | None = None
    views: int | None = None


Drops = collections.Counter[tuple[str, str]]
"""By (source, reason)."""


def merge_sources(
    candidates: Mapping[str, Sequence[Candidate]], profile: Profile, budget: int
) -> tuple[list[Row], Drops]:
    """Return the rows of a list, sorted by UTF-8 bytes, and what was dropped.

    Args:
        candidates: by source, best first.
        profile: decides on credit, on what may be a query, and when two are equal.
        budget: most rows; WordNet and digits may exceed it.
    """
    rows: dict[str, Row] = {}
    drops: Drops = collections.Counter()
    for source in ORDER[profile]:
        for candidate in sorted(candidates.get(source, ()), key=lambda each: each.query):
            reason = reject_reason(candidate.query, profile)
            if reason is None and not _take(rows, candidate, source, profile):
                reason = "equal_form"
            if reason is not None:
                drops[source, reason] += 1
    _cut(rows, candidates, profile, budget, drops)
    return sorted(rows.values(), key=lambda row: row.query), drops


def reject_reason(query: str, profile: Profile) -> str | None:
    """Return why a string cannot be a query in a profile, or None if it can."""
    if not query:
        return "empty"
    if len(query) > MAX_QUERY_CHARS:
        return "too_long"
    if profile == "metaclip":
        return "punctuation" if query in ASCII_PUNCTUATION else None
    if _CONTROLS.search(query):
        return "controls"
    if not match_form(query).strip():
        return "empty"
    return None if _word_class().search(query) else "punctuation"


def form_key(query: str, profile: Profile) -> str:
    """Return what two equal queries of a profile share."""
    return match_form(query) if profile == "clip" else query


_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")


@functools.cache
def _word_class() -> re.Pattern[str]:
    return re.compile(f"[{regex_class([*ranges('L'), *ranges('M'), *ranges('N')])}]")


def _take(rows: dict[str, Row], candidate: Candidate, source: str, profile: Profile) -> bool:
    """Add a candidate to the rows; False if a row of another spelling stands for it."""
    key = form_key(candidate.query, profile)
    row = rows.get(key)
    if row is None:
        rows[key] = Row(
            candidate.query,
            source,
            SOURCES[source],
            candidate.count,
            candidate.score,
            candidate.views,
        )
        return True
    if not row.sources & SOURCES[source]:
        row.sources |= SOURCES[source]
        row.count = candidate.count if row.count is None else row.count
        row.score = candidate.score if row.score is None else row.score
        row.views = candidate.views if row.views is None else row.views
    return row.query == candidate.query


def _cut(
    rows: dict[str, Row],
    candidates: Mapping[str, Sequence[Candidate]],
    profile: Profile,
    budget: int,
    drops: Drops,
) -> None:
    may_go = 0
    for source in CUT_ORDER:
        may_go |= SOURCES[source]
        for candidate in reversed(candidates.get(source, ())):  # worst rank first
            if len(rows) <= budget:
                return
            key = form_key(candidate.query, profile)
            if key in rows and not rows[key].sources & ~may_go:
                del rows[key]
                drops[source, "over_budget"] += 1
