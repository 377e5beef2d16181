"""Candidates to one row per (candidate, text), judged by the text rules and matched."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.queries.by_language import LanguageMatchers
from filters.queries.matcher import Matcher
from filters.text.language import Languages, detect_languages
from filters.text.length import TextLength
from filters.verdict import DropReason
from manifests.format.ids import pair_id
from pipeline.engine.parts import Sink
from pipeline.records import ID, MATCHED
from pipeline.selection.blocks import RunBlockList, find_blocked
from pipeline.selection.ledger import ledger_rows


def explode(batch: pa.RecordBatch) -> pa.Table:
    """Return one row per text of each candidate: its columns, and `source`, `text`, `raw`."""
    texts = batch.column("texts")
    fields = pc.list_flatten(texts)
    rows = pa.Table.from_batches([batch]).drop_columns(["texts"])
    rows = rows.take(pc.list_parent_indices(texts))
    for name in ("source", "text", "raw"):
        rows = rows.append_column(name, pc.struct_field(fields, name))
    return rows.set_column(
        rows.schema.get_field_index("text"), "text", pc.fill_null(rows["text"], "")
    )


def cut_texts(rows: pa.Table, cut_chars: int) -> tuple[pa.Table, int]:
    """Return rows with longer texts cut to `cut_chars` code points, and how many were."""
    texts = rows["text"]
    is_longer = pc.greater(pc.utf8_length(texts), cut_chars)
    shorter = pc.utf8_rtrim(pc.utf8_slice_codeunits(texts, 0, cut_chars), " ")
    column = pc.if_else(is_longer, shorter, texts)
    return (
        rows.set_column(rows.schema.get_field_index("text"), "text", column),
        pc.sum(is_longer).as_py() or 0,
    )


@dataclasses.dataclass(frozen=True)
class OccurrenceRules:
    """What judges and matches occurrences, in the order in which it is asked."""

    blocked: tuple[RunBlockList, ...]
    length: TextLength
    words: Matcher | None
    """Finds blocked words."""
    words_name: str
    """What the ledger calls their list."""
    languages: frozenset[str]
    """Languages that stay; all, if empty."""
    detects: bool
    """Whether the language of what matched is told though no rule asks for it."""
    matchers: LanguageMatchers
    is_raw: bool
    """Whether the text as found is matched where there is one, as `metaclip-v1` needs."""


def find_matches(rows: pa.Table, rules: OccurrenceRules, sink: Sink) -> Iterator[pa.RecordBatch]:
    """Judge and match occurrences; drops go to the sink, matched rows are yielded.

    Args:
        rows: of `explode`.
        rules: decide.
        sink: counts occurrences in and takes the drops.
    """
    sink.rows_in(rows.num_rows)
    if rules.blocked:
        rows = _without(rows, find_blocked(rows, rules.blocked), sink)
    rows = _without(rows, _judge_lengths(rows, rules.length), sink)
    if rules.words is not None:
        rows = _without(rows, _with_blocked_words(rows, rules.words, rules.words_name), sink)
    langs: Languages | None = None
    if rules.languages or rules.matchers.by_lang:
        langs = detect_languages(rows["text"].to_pylist())
    if langs is not None and rules.languages:
        verdicts = {
            row: (DropReason.LANGUAGE.value, lang)
            for row, lang in enumerate(langs.codes)
            if lang not in rules.languages
        }
        rows, langs = _without(rows, verdicts, sink), langs.without(verdicts)
    if not rows.num_rows:
        return
    texts = pc.coalesce(rows["raw"], rows["text"]) if rules.is_raw else rows["text"]
    found = rules.matchers.match(texts.combine_chunks(), langs.codes if langs else None)
    lost = np.flatnonzero(pc.list_value_length(found).to_numpy() == 0).tolist()
    unmatched = dict.fromkeys(lost, (DropReason.NO_QUERY_MATCH.value, None))
    rows, found = _without(rows, unmatched, sink), _kept(found, unmatched)
    if rows.num_rows:
        if langs is not None:
            langs = langs.without(unmatched)
        elif rules.detects:
            langs = detect_languages(rows["text"].to_pylist())
        yield _as_pairs(rows, found, langs or Languages.unknown(rows.num_rows))


Verdicts = Mapping[int, tuple[str, str | None]]
"""Reason and value by row, ascending."""


def _judge_lengths(rows: pa.Table, rule: TextLength) -> Verdicts:
    chars = pc.utf8_length(rows["text"]).to_numpy()
    suspect = (chars < rule.min_chars) | rule.counts_words
    if rule.max_chars is not None:
        suspect |= chars > rule.max_chars
    places = np.flatnonzero(suspect)
    texts = rows["text"].take(pa.array(places)).to_pylist()
    return {
        place: (verdict.reason.value, str(verdict.value))
        for place, text in zip(places.tolist(), texts, strict=True)
        if (verdict := rule(text)) is not None
    }


def _with_blocked_words(rows: pa.Table, words: Matcher, name: str) -> Verdicts:
    sizes = pc.list_value_length(words.match(rows["text"].combine_chunks())).to_numpy()
    return dict.fromkeys(np.flatnonzero(sizes).tolist(), (DropReason.BLOCKED_WORD.value, name))


def _without(rows: pa.Table, verdicts: Verdicts, sink: Sink) -> pa.Table:
    """Return the rows that have no verdict; the others are dropped."""
    if not verdicts:
        return rows
    lost = rows.take(pa.array(list(verdicts), pa.int64()))
    pairs = lost.select(["url", "text"]).append_column("pair_id", _pair_ids(lost))
    reasons = [reason for reason, _ in verdicts.values()]
    values = [value for _, value in verdicts.values()]
    sink.drop(ledger_rows(pairs, sink.stage, reasons, values))
    return _kept(rows, verdicts)


def _kept(rows: Any, verdicts: Verdicts) -> Any:
    kept = np.ones(len(rows), np.bool_)
    kept[list(verdicts)] = False
    return rows.filter(pa.array(kept))


def _pair_ids(rows: pa.Table) -> pa.Array:
    urls, texts = rows["url"].to_pylist(), rows["text"].to_pylist()
    return pa.array([pair_id(url, text) for url, text in zip(urls, texts, strict=True)], ID)


def _as_pairs(rows: pa.Table, matched: pa.ListArray, langs: Languages) -> pa.RecordBatch:
    count = rows.num_rows
    columns = {
        **{name: rows[name] for name in rows.column_names},
        "pair_id": _pair_ids(rows),
        "text_source": rows["source"],
        "lang": pa.array(langs.codes, pa.string()),
        "lang_score": pa.array(langs.scores, pa.float32()),
        "matched_query_ids": matched,
        "seen": pa.repeat(pa.scalar(1, pa.int64()), count),
    }
    table = pa.table([columns[name] for name in MATCHED.names], schema=MATCHED)
    return table.combine_chunks().to_batches()[0]
