"""Stage match: candidates in, one row per pair whose text contains a query out.

`match-find` judges and matches each part by itself; `match` brings equal pairs together. With a
limit on equal texts that step is `match-merge`, and `match` leaves out what is over the limit.
Unit of account: one (candidate, text) occurrence.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from filters.queries.by_language import LanguageMatchers
from filters.queries.match_form import Case
from filters.queries.matcher import Matcher, Mode
from filters.text.categories import unicode_version
from filters.text.language import detector_version
from filters.text.length import MOST_PAIRS, ONLY_LANGUAGES, PROFILES, Profile, TextLength
from filters.verdict import DropReason
from pipeline.engine import files
from pipeline.engine.context import Engine
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep, Packet, ShuffleStep, bucket_count, top_bits
from pipeline.engine.units import Unit
from pipeline.records import MATCHED
from pipeline.selection.blocks import RunBlockList, at_place
from pipeline.selection.frequency import TEXTS, CountTexts, LimitTexts
from pipeline.selection.ledger import ledger_rows
from pipeline.selection.occurrences import OccurrenceRules, cut_texts, explode, find_matches
from pipeline.selection.pairs import Extras, ForeignId, merge_pairs
from pipeline.selection.quotas import content_digest, listed, load_list

VERSION = 2
ROW_BYTES = 1024
"""Bytes of a matched row, measured on real pages as 400 to 900."""
TEXT_BYTES = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSettings:
    """Rules a text must pass before it is matched (`[text]`)."""

    profile: Profile = "none"
    """Published rules to start from; the keys below replace single values."""
    min_chars: int | None = None
    """Code points, at least."""
    max_chars: int | None = None
    """Code points, at most."""
    min_words: int | None = None
    """Runs between white space, at least."""
    max_words: int | None = None
    """Runs between white space, at most."""
    languages: tuple[str, ...] | None = None
    """BCP 47 primary tags of the languages that stay; empty: all."""
    detect_language: bool = False
    """Whether the column `lang` is filled though no rule asks for it; 0.3 ms each."""
    max_frequency: int | None = None
    """Most pairs that may have one text; those of a text that more have are all dropped."""
    words_file: str = ""
    """UTF-8, a word or phrase a line, any case: a text that contains one is dropped."""
    list_entity_passes: int | None = None
    """How often character references in texts of URL lists are decoded; 1, with `coyo` 0."""

    def __post_init__(self) -> None:
        """Refuse bounds that contradict each other, and a number of passes below 0."""
        _ = self.length
        if self.entity_passes < 0:
            raise ValueError(f"list_entity_passes must be at least 0, got {self.entity_passes}")
        if self.most_pairs is not None and self.most_pairs < 1:
            raise ValueError(f"max_frequency must be at least 1, got {self.most_pairs}")
        if (self.detect_language or self.only_languages) and not detector_version():
            raise ValueError("languages cannot be told without pip install 'openwit[lang]'")

    @property
    def entity_passes(self) -> int:
        """The passes that result."""
        if self.list_entity_passes is not None:
            return self.list_entity_passes
        return 0 if self.profile == "coyo" else 1

    @property
    def only_languages(self) -> tuple[str, ...]:
        """The languages that result."""
        usual = ONLY_LANGUAGES.get(self.profile, ())
        return usual if self.languages is None else self.languages

    @property
    def most_pairs(self) -> int | None:
        """The limit on equal texts that results."""
        usual = MOST_PAIRS.get(self.profile)
        return usual if self.max_frequency is None else self.max_frequency

    @property
    def length(self) -> TextLength:
        """The length rules that result."""
        names = ("min_chars", "max_chars", "min_words", "max_words")
        own = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return dataclasses.replace(PROFILES[self.profile], **own)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatchSettings:
    """How queries are looked for in texts (`[match]`)."""

    mode: Mode = "openwit"
    """`openwit`: tokens between blanks, folded quotes and dashes; `metaclip-v1`: as published."""
    case: Case = "sensitive"
    """`fold` compares without case; for `openwit` only."""
    languages: Literal["all", "by-lang"] = "all"
    """`all` tries every query on every text; `by-lang` only those of the text's language, or those
    of language `und` where the list has none of it."""
    foreign_ids: tuple[ForeignId, ...] = ()
    """Ids that other collections give the pairs; they go into tables beside the parts."""

    def __post_init__(self) -> None:
        """Refuse combinations that do not exist."""
        if self.languages == "by-lang" and not detector_version():
            raise ValueError("languages cannot be told without pip install 'openwit[lang]'")
        if self.mode == "metaclip-v1" and self.case != "sensitive":
            raise ValueError(f"case must be 'sensitive' in mode metaclip-v1, got {self.case!r}")


@functools.lru_cache(maxsize=1)
def _matchers(list_path: str, list_sha256: str, match: MatchSettings) -> LanguageMatchers:
    """Return the process's one set of matchers."""
    build = functools.partial(_build, match.mode, match.case)
    queries = load_list(list_path, list_sha256)
    return LanguageMatchers(queries, build, by_lang=match.languages == "by-lang")


def _build(mode: Mode, case: Case, queries: Sequence[str], ids: Sequence[int]) -> Matcher:
    return Matcher(queries, ids=ids, mode=mode, case=case)


@functools.lru_cache(maxsize=1)
def _words(path: str, sha256: str) -> Matcher:
    _ = sha256  # a changed file is another matcher
    lines = files.read_bytes(path).decode("utf-8-sig").split("\n")
    return Matcher([word for line in lines if (word := line.strip())], case="fold")


@dataclasses.dataclass(frozen=True)
class _FindMatches:
    list_path: str
    list_sha256: str
    text: TextSettings
    words_sha256: str
    match: MatchSettings
    blocked: tuple[RunBlockList, ...]

    def run(self, unit: Unit, sink: Sink) -> None:
        rules = self._rules()
        cut_chars = rules.length.cut_chars
        truncated = 0
        for source in unit.sources:
            for batch in read_batches(source.path):
                rows = explode(batch)
                if cut_chars is not None:
                    rows, cut = cut_texts(rows, cut_chars)
                    truncated += cut
                for found in find_matches(rows, rules, sink):
                    sink.write(found)
        if cut_chars is not None:
            sink.note("text_truncated", truncated)

    def _rules(self) -> OccurrenceRules:
        path = self.text.words_file
        return OccurrenceRules(
            blocked=self.blocked,
            length=self.text.length,
            words=_words(path, self.words_sha256) if path else None,
            words_name=path.rpartition("/")[2],
            languages=frozenset(self.text.only_languages),
            detects=self.text.detect_language,
            matchers=_matchers(self.list_path, self.list_sha256, self.match),
            is_raw=self.match.mode == "metaclip-v1",
        )


@dataclasses.dataclass(frozen=True)
class _MergePairs:
    buckets: int
    extras: Extras

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Merge a unit's equal pairs first: a logo on every page costs one row per archive."""
        batches = [batch for source in unit.sources for batch in read_batches(source.path)]
        table = merge_pairs(pa.Table.from_batches(batches, schema=MATCHED))
        for batch in table.combine_chunks().to_batches():
            yield Packet("pair", top_bits(batch["pair_id"], self.buckets), batch)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        _ = bucket
        table = merge_pairs(tables["pair"])
        sink.rows_in(pc.sum(table["seen"]).as_py() or 0)
        again = table.filter(pc.greater(table["seen"], 1))
        merged = [seen - 1 for seen in again["seen"].to_pylist()]
        reasons = [DropReason.DUPLICATE_PAIR.value] * len(merged)
        sink.drop(ledger_rows(again, sink.stage, reasons, [str(n) for n in merged], merged))
        for batch in table.to_batches():
            sink.write(batch)
        self.extras.write(table, sink)


def run(
    engine: Engine,
    text: TextSettings,
    match: MatchSettings,
    list_path: str,
    list_sha256: str,
    extracted: StageRecord,
    *,
    blocked: Sequence[RunBlockList] = (),
    list_digest: str = "",
) -> StageRecord:
    """Find and merge the pairs that contain a query.

    Args:
        engine: runs the steps.
        text: rules before matching; its paths are absolute.
        match: how queries are looked for.
        list_path: where the query list is.
        list_sha256: of the list file; it names the content.
        extracted: candidates, with the columns of `CANDIDATES`.
        blocked: block lists of the run.
        list_digest: names the list's queries and languages, whatever file holds them.
    """
    asked = at_place(blocked, "match")
    detects = text.detect_language or text.only_languages or match.languages == "by-lang"
    words = files.sha256_of(text.words_file) if text.words_file else ""
    find = MapStep(
        name="match-find",
        stage="match",
        version=VERSION,
        parameters={
            "list": list_sha256,
            "list_digest": list_digest,
            "rule": dataclasses.asdict(text.length),
            "languages": text.only_languages,
            "words": words,
            "detector": detector_version() if detects else "",
            "blocked": [each.parameters for each in asked],
            "mode": match.mode,
            "case": match.case,
            "by_lang": match.languages,
            "unicode": unicode_version(),
        },
        outputs={"part": MATCHED},
        kernel=_FindMatches(list_path, list_sha256, text, words, match, asked),
    )
    found = engine.run(find, extracted.next_units("part"), [extracted])
    extras = Extras(match.foreign_ids)
    if text.most_pairs is None:
        return engine.run(
            _merge("match", engine, extras, list_sha256, found), found.next_units("part"), [found]
        )
    plain = Extras(())
    merged = engine.run(
        _merge("match-merge", engine, plain, list_sha256, found), found.next_units("part"), [found]
    )
    return _limit_texts(engine, text.most_pairs, extras, list_sha256, merged)


def _merge(
    name: str, engine: Engine, extras: Extras, list_sha256: str, found: StageRecord
) -> ShuffleStep:
    buckets = bucket_count(found.rows_out, ROW_BYTES, engine.bucket_bytes)
    return ShuffleStep(
        name=name,
        stage="match",
        version=VERSION,
        parameters={
            "list": list_sha256,
            "buckets": buckets,
            "foreign_ids": extras.foreign_ids,
        },
        outputs=extras.outputs,
        kernel=_MergePairs(buckets, extras),
        buckets=buckets,
        sort_keys={"pair": ["pair_id", "source_file", "source_offset", "position", "text_source"]},
        schemas={"pair": MATCHED},
    )


def _limit_texts(
    engine: Engine, most: int, extras: Extras, list_sha256: str, merged: StageRecord
) -> StageRecord:
    buckets = bucket_count(merged.rows_out, TEXT_BYTES, engine.bucket_bytes)
    counted = ShuffleStep(
        name="match-texts",
        stage="match",
        version=VERSION,
        parameters={"most": most, "buckets": buckets},
        outputs={"part": TEXTS},
        accounts=False,
        kernel=CountTexts(buckets, most),
        buckets=buckets,
        sort_keys={"text": TEXTS.names},
        schemas={"text": TEXTS},
    )
    texts = engine.run(counted, merged.next_units("part"), [merged])
    limit = MapStep(
        name="match",
        stage="match",
        version=VERSION,
        parameters={
            "list": list_sha256,
            "texts": content_digest(texts),
            "foreign_ids": extras.foreign_ids,
        },
        outputs=extras.outputs,
        kernel=LimitTexts(listed(texts), extras),
    )
    return engine.run(limit, merged.next_units("part"), [merged, texts])
