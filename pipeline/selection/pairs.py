"""Equal pairs to one row, with all marks of all occurrences; what goes beside a part of pairs."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from manifests.base.errors import OpenwitError
from pipeline.engine.parts import Sink
from pipeline.pages.texts import SOURCES
from pipeline.records import ID, MATCHED

SOURCE_RANK = pa.array(SOURCES)
"""Text sources, the best first; others come after them."""
ForeignId = Literal["cc2dataset", "crawlingathome", "metaclip"]
"""The ids that other collections give a pair, so that what they know of it can be joined."""
_ORDER = ("page_url", "source_file", "source_offset", "position")

COUNTS = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("pairs", pa.int64(), nullable=False),
    ]
)
"""Pairs of each query in one part, ascending."""


def merge_pairs(table: pa.Table) -> pa.Table:
    """Return one row per pair id, sorted by it.

    Associative, commutative, and independent of the order of rows: the occurrence with the smallest
    (rank of its text source, page, archive, offset, position) gives the columns, nulls last;
    `seen` is summed, `optout` and `flags` are united, `page_tdm` is the strictest.

    Args:
        table: the columns of `MATCHED`.

    Raises:
        OpenwitError: if one id stands for two pairs.
    """
    if table.num_rows < 2:
        return table
    ranks = pc.fill_null(pc.index_in(table["text_source"], SOURCE_RANK), len(SOURCE_RANK))
    order = pc.sort_indices(  # nulls go last by default
        table.select(["pair_id", *_ORDER]).append_column("rank", ranks),
        sort_keys=[(name, "ascending") for name in ("pair_id", "rank", *_ORDER)],
    )
    table = table.take(order).combine_chunks()
    starts = _starts(table["pair_id"])
    if len(starts) == table.num_rows:
        return table
    merged = table.take(pa.array(starts))
    _check_equal(table, starts)
    seen = np.add.reduceat(table["seen"].to_numpy(), starts)
    merged = _set(merged, "seen", pa.array(seen, pa.int64()))
    for name in ("optout", "flags"):
        merged = _set(merged, name, _united(table[name], starts))
    return _set(merged, "page_tdm", _strictest(table["page_tdm"], starts))


def _starts(ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return where each run of equal ids begins; `ids` is sorted."""
    new = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(new) + 1])


def _check_equal(table: pa.Table, starts: NDArray[np.int64]) -> None:
    sizes = np.diff(np.concatenate([starts, [table.num_rows]]))
    firsts = pa.array(np.repeat(starts, sizes))
    for name in ("url", "text"):
        same = pc.equal(table[name], table[name].take(firsts))
        if not pc.all(same).as_py():
            bad = table["pair_id"].filter(pc.invert(same))[0].as_py().hex()
            raise OpenwitError(f"pair id {bad}: stands for two pairs that differ in {name}")


def _united(lists: pa.ChunkedArray, starts: NDArray[np.int64]) -> pa.Array:
    values = lists.to_pylist()
    stops = [*starts[1:].tolist(), len(values)]
    return pa.array(
        [
            sorted(set().union(*values[start:stop])) if stop - start > 1 else values[start]
            for start, stop in zip(starts.tolist(), stops, strict=True)
        ],
        MATCHED.field("flags").type,
    )


def _strictest(marks: pa.ChunkedArray, starts: NDArray[np.int64]) -> pa.Array:
    """Return the largest of each run, null if all are: 1 reserves, 0 does not, null is silent."""
    known = pc.fill_null(marks.cast(pa.int64()), -1).to_numpy()
    largest = np.maximum.reduceat(known, starts)
    return pa.array(largest, pa.int8(), mask=largest < 0)


def _set(table: pa.Table, name: str, values: Any) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.set_column(index, table.schema.field(index), values)


@dataclasses.dataclass(frozen=True)
class Extras:
    """What goes beside a part of pairs: counts of its queries, and ids of other collections."""

    foreign_ids: tuple[ForeignId, ...]

    @property
    def outputs(self) -> dict[str, pa.Schema]:
        """Schemas by role."""
        foreign = {"foreign": _foreign_schema(self.foreign_ids)} if self.foreign_ids else {}
        return {"part": MATCHED, "counts": COUNTS, **foreign}

    def write(self, pairs: pa.Table, sink: Sink) -> None:
        """Write them for the pairs of one part."""
        sink.write(count_queries(pairs["matched_query_ids"]), "counts")
        if self.foreign_ids:
            sink.write(_foreign_rows(pairs, self.foreign_ids), "foreign")


def count_queries(lists: pa.ChunkedArray) -> pa.RecordBatch:
    """Return how many lists hold each query id, ascending, with the columns of `COUNTS`."""
    ids = pc.list_flatten(lists).to_numpy()
    found, counts = np.unique(ids, return_counts=True)
    return pa.RecordBatch.from_arrays(
        [pa.array(found, pa.int32()), pa.array(counts, pa.int64())], schema=COUNTS
    )


def _foreign_schema(kinds: Sequence[ForeignId]) -> pa.Schema:
    """Return the columns of a table of ids: `pair_id`, and one for each kind."""
    fields = [pa.field(kind, pa.string(), nullable=False) for kind in kinds]
    return pa.schema([pa.field("pair_id", ID, nullable=False), *fields])


def _foreign_rows(pairs: pa.Table, kinds: Sequence[ForeignId]) -> pa.RecordBatch:
    """Return the ids of pairs.

    Args:
        pairs: `pair_id`, `url` and `text`.
        kinds: the ids to make.
    """
    both = list(zip(pairs["url"].to_pylist(), pairs["text"].to_pylist(), strict=True))
    columns = [pa.array([_MAKERS[kind](*each) for each in both], pa.string()) for kind in kinds]
    ids = pairs["pair_id"].combine_chunks()
    return pa.RecordBatch.from_arrays([ids, *columns], schema=_foreign_schema(kinds))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


_MAKERS: dict[ForeignId, Callable[[str, str], str]] = {
    "cc2dataset": lambda url, text: _md5(text + url),
    "crawlingathome": lambda url, text: _md5(url + text),
    "metaclip": lambda url, _: hashlib.sha224(url.encode()).hexdigest()[:24],
}
