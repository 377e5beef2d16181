"""Equal pairs to one row: the best occurrence speaks, all are counted, all marks are kept."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from manifests.base.errors import OpenwitError
from pipeline.pages.texts import SOURCES
from pipeline.records import MATCHED

SOURCE_RANK = pa.array(SOURCES)
"""Text sources, the best first; others come after them."""
_ORDER = ("page_url", "source_file", "source_offset", "position")


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
