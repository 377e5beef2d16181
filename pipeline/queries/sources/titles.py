"""Titles of pages, ranked by page views or by the pages that link to them."""

import heapq
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar
from urllib.parse import unquote_to_bytes

from manifests.base.errors import RefusedError
from pipeline.queries.corpus import Corpus
from pipeline.queries.counts import SortedTable, Tally
from pipeline.queries.credit import Candidate, Drops, form_key, reject_reason
from pipeline.queries.lines import MALFORMED_PERCENT, split_lines
from pipeline.queries.settings import Profile, QueriesSettings, as_paths
from pipeline.queries.sources.inflate import Inflater
from pipeline.queries.sources.wikitext import MAX_TITLE_BYTES, upper_first
from pipeline.queries.thresholds import Thresholds, title_share_max

MAX_HOPS = 5
"""Redirects that are followed one after another; what still leads on is dropped."""
HOUR_MIN_VIEWS = 50
"""Published: MetaCLIP ignores a title's hours with fewer views."""

V = TypeVar("V")
W = TypeVar("W")
NewTally = Callable[[str], Tally]
_SPLIT = "\x1f"
"""Between a form and its title; neither holds it, for control characters were refused."""
_LINE = re.compile(rb"(\S+) (\S+) (\d{1,18}) (\d{1,18})")
_QUALIFIER = re.compile(r" \([^()]+\)$")


def ranked_titles(
    settings: QueriesSettings,
    corpus: Corpus,
    thresholds: Thresholds,
    new: NewTally,
) -> tuple[list[Candidate], Thresholds, Drops]:
    """Return the best titles, best first, the thresholds as used, and what was dropped.

    Rank: views (or pages that link) descending, UTF-8 bytes.

    Args:
        settings: profile, language, page-view files.
        corpus: titles, links and redirects of the dumps.
        thresholds: least views, most titles.
        new: makes a named tally.

    Raises:
        RefusedError: if a page-view file is missing or is none.
    """
    drops = Drops()
    with_dump = bool(settings.dump)
    if settings.pageviews:
        views = new("views")
        drops["title", "malformed"] = _read_views(settings, views)
        values: Iterator[tuple[str, int]] = views.items()
        if with_dump and settings.profile == "clip":
            values = _of_kept_pages(corpus, views, new, unseen=False)
    else:
        values = _of_kept_pages(corpus, corpus.links, new, unseen=True)
    spelled = new("spelled")
    for title, count in values:
        spelled.add(_spell(title, settings.profile), count)
    forms = _forms(spelled, settings.profile, int(thresholds.title_min_views.used or 0), new, drops)
    titles = sum(1 for _ in _firsts(forms))
    drops["title", "equal_form"] = sum(1 for _ in forms.items()) - titles
    thresholds = title_share_max(settings, thresholds, titles)
    best = heapq.nsmallest(
        int(thresholds.title_max.used or 0), ((-count, title) for title, count in _firsts(forms))
    )
    drops["title", "over_max"] = titles - len(best)
    candidates = [Candidate(title, views=-count) for count, title in best]
    return candidates, thresholds, +drops


def _forms(spelled: Tally, profile: Profile, least: int, new: NewTally, drops: Drops) -> Tally:
    """Return titles that may be queries, each behind its form."""
    forms = new("forms")
    for title, count in spelled.items():
        reason = "below_min_views" if count < least else reject_reason(title, profile)
        if reason:
            drops["title", reason] += 1
        else:
            forms.add(f"{form_key(title, profile)}{_SPLIT}{title}", count)
    return forms


def _firsts(forms: Tally) -> Iterator[tuple[str, int]]:
    """Yield one title of each form, the first by bytes."""
    last = None
    for key, count in forms.items():
        form, _, title = key.partition(_SPLIT)
        if form != last:
            yield title, count
        last = form


def _spell(title: str, profile: Profile) -> str:
    if profile == "clip":
        title = _QUALIFIER.sub("", title)
    return unicodedata.normalize("NFC", title)


def _of_kept_pages(
    corpus: Corpus, values: Tally, new: NewTally, *, unseen: bool
) -> Iterator[tuple[str, int]]:
    """Yield kept pages with their values, those of redirects included.

    Args:
        corpus: titles and redirects.
        values: by title.
        new: makes a named tally.
        unseen: whether pages without a value count too, with 0.
    """
    settled = settle(values, corpus.redirects, new)
    for title, _, value in _left_join(corpus.titles.items(), settled.items()):
        if value is not None or unseen:
            yield title, value or 0


def settle(values: Tally, redirects: SortedTable, new: NewTally) -> Tally:
    """Return values by title after redirects were followed; longer chains and cycles are lost."""
    settled = new("settled")
    for hop in range(MAX_HOPS + 1):
        moved = new(f"moved-{hop}")
        for title, value, target in _left_join(values.items(), redirects.items()):
            if target is None:
                settled.add(title, value)
            else:
                moved.add(target, value)
        values = moved
    return settled


def _left_join(
    left: Iterator[tuple[str, V]], right: Iterator[tuple[str, W]]
) -> Iterator[tuple[str, V, W | None]]:
    """Join two sorted streams of distinct keys; keys of `left` without a partner get None."""
    key, found = next(right, (None, None))
    for name, value in left:
        while key is not None and key < name:
            key, found = next(right, (None, None))
        yield name, value, found if key == name else None


def _read_views(settings: QueriesSettings, views: Tally) -> int:
    """Add the views of all files and return the number of malformed lines."""
    clip = settings.profile == "clip"
    projects = {settings.lang.encode(), *([f"{settings.lang}.m".encode()] if clip else [])}
    malformed = 0
    for path in as_paths(settings.pageviews):
        lines = bad = first_bad = 0
        for lines, line in enumerate(split_lines(Inflater(path)), 1):
            match = _LINE.fullmatch(line.removesuffix(b"\r"))
            title = _view_title(match[2]) if match else None
            if match is None or title is None:
                bad += 1
                first_bad = first_bad or lines
            elif match[1] in projects and ":" not in title and title:
                count = int(match[3])
                if clip or count >= HOUR_MIN_VIEWS:
                    views.add(upper_first(title) if clip else title, count)
        if bad * 100 > lines * MALFORMED_PERCENT:
            _refuse_views(path, bad, lines, first_bad)
        malformed += bad
    return malformed


def _view_title(escaped: bytes) -> str | None:
    """Return a title, None if it is no UTF-8, empty if no page can have it."""
    data = unquote_to_bytes(escaped) if b"%" in escaped else escaped
    try:
        title = " ".join(data.decode().replace("_", " ").split())
    except UnicodeDecodeError:
        return None
    fits = len(data) <= MAX_TITLE_BYTES and not any(ord(character) < 32 for character in title)
    return title if fits else ""


def _refuse_views(path: str, bad: int, lines: int, first: int) -> NoReturn:
    raise RefusedError(
        f"{path} line {first}: {bad} of {lines} lines are not `project title views bytes`: "
        "is it an hourly page-view file?"
    )
