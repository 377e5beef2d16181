"""Candidates to one row per (candidate, text), judged by the text rules and matched."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.queries.matcher import Matcher
from filters.queries.query_list import UNKNOWN_LANG
from filters.text.length import TextLength
from filters.verdict import DropReason
from manifests.format.ids import pair_id
from pipeline.engine.parts import Sink
from pipeline.records import ID, MATCHED
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


def find_matches(
    rows: pa.Table, rule: TextLength, matcher: Matcher, *, raw: bool, sink: Sink
) -> Iterator[pa.RecordBatch]:
    """Judge and match occurrences; drops go to the sink, matched rows are yielded.

    Args:
        rows: of `explode`.
        rule: length rules.
        matcher: finds the queries.
        raw: whether the text as found is matched where there is one, as `metaclip-v1` needs.
        sink: counts occurrences in and takes the drops.
    """
    sink.rows_in(rows.num_rows)
    rows = _judge_lengths(rows, rule, sink)
    if not rows.num_rows:
        return
    texts = pc.coalesce(rows["raw"], rows["text"]) if raw else rows["text"]
    found = matcher.match(texts.combine_chunks())
    is_matched = pc.greater(pc.list_value_length(found), 0)
    lost = rows.filter(pc.invert(is_matched))
    reason = DropReason.NO_QUERY_MATCH.value
    _drop(lost, [reason] * lost.num_rows, [None] * lost.num_rows, sink)
    rows = rows.filter(is_matched)
    if rows.num_rows:
        yield _as_pairs(rows, found.filter(is_matched))


def _judge_lengths(rows: pa.Table, rule: TextLength, sink: Sink) -> pa.Table:
    chars = pc.utf8_length(rows["text"]).to_numpy()
    suspect = (chars < rule.min_chars) | rule.counts_words
    if rule.max_chars is not None:
        suspect |= chars > rule.max_chars
    places = np.flatnonzero(suspect)
    texts = rows["text"].take(pa.array(places)).to_pylist()
    verdicts = [
        (place, verdict)
        for place, text in zip(places.tolist(), texts, strict=True)
        if (verdict := rule(text)) is not None
    ]
    if not verdicts:
        return rows
    lost = [place for place, _ in verdicts]
    _drop(
        rows.take(pa.array(lost)),
        [verdict.reason.value for _, verdict in verdicts],
        [str(verdict.value) for _, verdict in verdicts],
        sink,
    )
    kept = np.ones(rows.num_rows, np.bool_)
    kept[lost] = False
    return rows.filter(pa.array(kept))


def _drop(rows: pa.Table, reasons: list[str], values: list[str | None], sink: Sink) -> None:
    pairs = rows.select(["url", "text"]).append_column("pair_id", _pair_ids(rows))
    sink.drop(ledger_rows(pairs, sink.stage, reasons, values))


def _pair_ids(rows: pa.Table) -> pa.Array:
    urls, texts = rows["url"].to_pylist(), rows["text"].to_pylist()
    return pa.array([pair_id(url, text) for url, text in zip(urls, texts, strict=True)], ID)


def _as_pairs(rows: pa.Table, matched: pa.ListArray) -> pa.RecordBatch:
    count = rows.num_rows
    columns = {
        **{name: rows[name] for name in rows.column_names},
        "pair_id": _pair_ids(rows),
        "text_source": rows["source"],
        "lang": pa.repeat(UNKNOWN_LANG, count),
        "lang_score": pa.nulls(count, pa.float32()),
        "matched_query_ids": matched,
        "seen": pa.repeat(pa.scalar(1, pa.int64()), count),
    }
    table = pa.table([columns[name] for name in MATCHED.names], schema=MATCHED)
    return table.combine_chunks().to_batches()[0]
