"""Stage match: candidates in, one row per pair whose text contains a query out.

`match-find` judges and matches each part by itself; `match` brings equal pairs together.
Unit of account: one (candidate, text) occurrence.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.queries.match_form import Case
from filters.queries.matcher import Matcher, Mode
from filters.text.categories import unicode_version
from filters.text.length import PROFILES, Profile, TextLength
from filters.verdict import DropReason
from pipeline.engine.context import Engine
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep, Packet, ShuffleStep, bucket_count, top_bits
from pipeline.engine.units import Unit
from pipeline.records import MATCHED
from pipeline.selection.ledger import ledger_rows
from pipeline.selection.occurrences import cut_texts, explode, find_matches
from pipeline.selection.pairs import merge_pairs
from pipeline.selection.quotas import load_list

VERSION = 1
ROW_BYTES = 1024
"""Bytes of a matched row, measured on real pages as 400 to 900."""
COUNTS = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("pairs", pa.int64(), nullable=False),
    ]
)
"""Pairs of each query in one part, ascending."""


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

    def __post_init__(self) -> None:
        """Refuse bounds that contradict each other."""
        _ = self.length

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

    def __post_init__(self) -> None:
        """Refuse a combination that does not exist."""
        if self.mode == "metaclip-v1" and self.case != "sensitive":
            raise ValueError(f"case must be 'sensitive' in mode metaclip-v1, got {self.case!r}")


@functools.lru_cache(maxsize=1)
def _matcher(list_path: str, list_sha256: str, mode: Mode, case: Case) -> Matcher:
    """Return the process's one automaton."""
    return Matcher(load_list(list_path, list_sha256).queries, mode=mode, case=case)


@dataclasses.dataclass(frozen=True)
class _FindMatches:
    list_path: str
    list_sha256: str
    rule: TextLength
    mode: Mode
    case: Case

    def run(self, unit: Unit, sink: Sink) -> None:
        matcher = _matcher(self.list_path, self.list_sha256, self.mode, self.case)
        is_raw = self.mode == "metaclip-v1"
        truncated = 0
        for source in unit.sources:
            for batch in read_batches(source.path):
                rows = explode(batch)
                if self.rule.cut_chars is not None:
                    rows, cut = cut_texts(rows, self.rule.cut_chars)
                    truncated += cut
                for found in find_matches(rows, self.rule, matcher, raw=is_raw, sink=sink):
                    sink.write(found)
        if self.rule.cut_chars is not None:
            sink.note("text_truncated", truncated)


@dataclasses.dataclass(frozen=True)
class _MergePairs:
    buckets: int

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
        sink.write(count_queries(table["matched_query_ids"]), "counts")


def count_queries(lists: pa.ChunkedArray) -> pa.RecordBatch:
    """Return how many lists hold each query id, ascending, with the columns of `COUNTS`."""
    ids = pc.list_flatten(lists).to_numpy()
    found, counts = np.unique(ids, return_counts=True)
    return pa.RecordBatch.from_arrays(
        [pa.array(found, pa.int32()), pa.array(counts, pa.int64())], schema=COUNTS
    )


def run(
    engine: Engine,
    text: TextSettings,
    match: MatchSettings,
    list_path: str,
    list_sha256: str,
    extracted: StageRecord,
) -> StageRecord:
    """Find and merge the pairs that contain a query.

    Args:
        engine: runs the steps.
        text: rules before matching.
        match: how queries are looked for.
        list_path: where the query list is.
        list_sha256: of the list file; it names the content.
        extracted: candidates, with the columns of `CANDIDATES`.
    """
    find = MapStep(
        name="match-find",
        stage="match",
        version=VERSION,
        parameters={
            "list": list_sha256,
            "rule": dataclasses.asdict(text.length),
            "mode": match.mode,
            "case": match.case,
            "unicode": unicode_version(),
        },
        outputs={"part": MATCHED},
        kernel=_FindMatches(list_path, list_sha256, text.length, match.mode, match.case),
    )
    found = engine.run(find, extracted.next_units("part"), [extracted])
    buckets = bucket_count(found.rows_out, ROW_BYTES, engine.bucket_bytes)
    merge = ShuffleStep(
        name="match",
        stage="match",
        version=VERSION,
        parameters={"list": list_sha256, "buckets": buckets},
        outputs={"part": MATCHED, "counts": COUNTS},
        kernel=_MergePairs(buckets),
        buckets=buckets,
        sort_keys={"pair": ["pair_id", "source_file", "source_offset", "position", "text_source"]},
        schemas={"pair": MATCHED},
    )
    return engine.run(merge, found.next_units("part"), [found])
