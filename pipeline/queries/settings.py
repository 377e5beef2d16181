"""What a list is built from, and by which rules (`[queries]`)."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

Profile = Literal["clip", "metaclip"]
Rank = Literal["npmi", "pmi"]
Paths = str | tuple[str, ...]

INPUTS = ("dump", "index", "text", "ngrams", "pageviews", "wordnet")
"""Settings that name what a list is built from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
    """What the queries of one language are built from (`[queries]`, `[queries.languages.xx]`)."""

    dump: Paths = ()
    """MediaWiki XML, plain, gzip or bz2; a path or a list of paths."""
    index: Paths = ()
    """For each dump, the index of its bzip2 streams: blocks are then read in parallel."""
    text: Paths = ()
    """Plain UTF-8 text, one segment a line, plain, gzip or bz2."""
    ngrams: Paths = ()
    """Counts made elsewhere: lines `word TAB count`, `first TAB second TAB count`, and one
    `TAB count` with the number of all words."""
    pageviews: Paths = ()
    """Hourly page-view files, plain, gzip or bz2."""
    wordnet: str = ""
    """Folder with data.noun, data.verb, data.adj and data.adv of WordNet 3.0 or 3.1."""

    def __post_init__(self) -> None:
        """Refuse indexes that belong to no dump."""
        if self.index and len(as_paths(self.index)) != len(as_paths(self.dump)):
            raise ValueError(
                f"index must name one index for each of {len(as_paths(self.dump))} dumps, got "
                f"{len(as_paths(self.index))}"
            )

    @property
    def has_inputs(self) -> bool:
        """Whether anything is named that a list can be built from."""
        return any(getattr(self, name) for name in INPUTS)

    @property
    def has_words(self) -> bool:
        """Whether anything is named that words are counted in."""
        return bool(self.dump or self.text or self.ngrams)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueriesSettings(Sources):
    """The table `[queries]`: a ready list, or the rules and inputs to build one."""

    file: str = ""
    """A ready list: Parquet, JSON array, or text; excludes the inputs."""
    profile: Profile = "clip"
    """`clip` follows the CLIP paper, `metaclip` the published MetaCLIP recipe."""
    lang: str = "en"
    """Language of the inputs, a BCP 47 primary tag; also the project of the page views."""
    languages: dict[str, Sources] = dataclasses.field(default_factory=dict)
    """Inputs of further languages, by tag; the rules hold for each of them."""
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
        """Refuse values out of range and settings that contradict each other."""
        Sources.__post_init__(self)
        for name in ("budget", "unigram_min_count", "reference_words", "max_types"):
            _check_at_least(name, getattr(self, name), 1)
        _check_at_least("bigram_min_count", self.bigram_min_count, 1)
        _check_at_least("bigram_max", self.bigram_max, 0)
        _check_at_least("title_min_views", self.title_min_views, 0)
        for lang in (self.lang, *self.languages):
            if not re.fullmatch(r"[a-z]{2,8}", lang):
                raise ValueError(f"lang must be a BCP 47 primary tag such as 'en', got {lang!r}")
        if self.lang in self.languages and self.has_inputs:
            raise ValueError(f"languages must not name {self.lang!r} again, which is lang")
        if not self.namespaces:
            raise ValueError("namespaces must name at least one namespace, got none")
        if self.file and self.of_each:
            raise ValueError("file must be empty when a list is built from inputs, got both")
        if self.title_min_views and not any(each.pageviews for each in self.of_each):
            raise ValueError("title_min_views must be unset without pageviews, got a threshold")

    @property
    def of_each(self) -> "tuple[QueriesSettings, ...]":
        """The settings of each language that has inputs, by tag."""
        if not self.languages:
            return (self,) if self.has_inputs else ()
        given: dict[str, Sources] = {**({self.lang: self} if self.has_inputs else {})}
        given |= {lang: sources for lang, sources in self.languages.items() if sources.has_inputs}
        return tuple(self._for(lang, given[lang]) for lang in sorted(given))

    def _for(self, lang: str, sources: Sources) -> "QueriesSettings":
        values = {name: getattr(sources, name) for name in INPUTS}
        views = self.title_min_views if sources.pageviews else None
        return dataclasses.replace(self, **values, lang=lang, languages={}, title_min_views=views)

    def resolved(self, resolve: Callable[[str], str]) -> "QueriesSettings":
        """Return the same settings with each path passed through `resolve`."""
        languages = {
            lang: dataclasses.replace(sources, **_resolved(sources, INPUTS, resolve))
            for lang, sources in self.languages.items()
        }
        own = _resolved(self, (*INPUTS, "file"), resolve)
        return dataclasses.replace(self, **own, languages=languages)


def _resolved(sources: Sources, names: Sequence[str], resolve: Callable[[str], str]) -> Any:
    changes: dict[str, Paths] = {}
    for name in names:
        value: Paths = getattr(sources, name)
        if isinstance(value, str):
            changes[name] = resolve(value) if value else value
        else:
            changes[name] = tuple(resolve(path) for path in value)
    return changes


def as_paths(value: Paths) -> tuple[str, ...]:
    """Return a setting that is a path or a list of paths as a tuple."""
    return ((value,) if value else ()) if isinstance(value, str) else value


def _check_at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
