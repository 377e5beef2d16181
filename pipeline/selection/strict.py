"""The strict rule: no query is in more kept pairs than its cap; first come in a hashed order."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filters.queries.select import StrictOrder, take_room
from filters.verdict import DropReason
from pipeline.engine import files
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.units import Source, Unit
from pipeline.records import ID, SELECTION
from pipeline.selection.choose import more_sources, read_pairs
from pipeline.selection.ledger import ledger_rows
from pipeline.selection.quotas import Draw
from pipeline.selection.survivors import CHOSEN, QueryCounts

ORDERED = pa.schema(
    [
        pa.field("v", pa.uint64(), nullable=False),
        pa.field("pair_id", ID, nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("query_ids", pa.list_(pa.int32()), nullable=False),
    ]
)
"""A unit's pairs in the order in which they are asked for, with their rows in the unit."""
DECIDED = pa.schema([pa.field("unit", pa.string(), nullable=False), ("full", pa.int32())])
"""One row per pair, in the order of units and their rows: the query that was full, null if kept."""
WINDOW_ROWS = 1 << 18
"""Pairs sorted at once, about."""


@dataclasses.dataclass(frozen=True)
class OrderPairs:
    """`ORDERED` of each unit."""

    seed: int

    def run(self, unit: Unit, sink: Sink) -> None:
        """Hash and sort one unit's pairs."""
        order = StrictOrder(self.seed)
        batches = [batch for batch, _ in read_pairs(unit)]
        if not batches:
            return
        pairs = pa.Table.from_batches(batches).combine_chunks()
        v = np.array([order(each) for each in pairs["pair_id"].to_pylist()], np.uint64)
        rows = pa.array(np.arange(pairs.num_rows))
        columns = [pa.array(v), pairs["pair_id"], rows, pairs["matched_query_ids"]]
        table = pa.table(columns, schema=ORDERED)
        table = table.sort_by([("v", "ascending"), ("pair_id", "ascending")])
        for batch in table.combine_chunks().to_batches():
            sink.write(batch)


@dataclasses.dataclass(frozen=True)
class ApplyStrict:
    """`DECIDED` for all units: one pass in the order of hashes, one count per query."""

    draw: Draw

    def run(self, unit: Unit, sink: Sink) -> None:
        """Decide about all pairs; 4 bytes a pair are held."""
        room = self.draw.cap_of_each().tolist()
        full = [np.full(source.rows, -1, np.int32) for source in unit.sources]
        for window in _windows(unit.sources):
            columns = (window[name].to_pylist() for name in ("source", "row", "query_ids"))
            for source, row, ids in zip(*columns, strict=True):
                blocked = take_room(ids, room)
                if blocked is not None:
                    full[source][row] = blocked
        for source, decisions in zip(unit.sources, full, strict=True):
            names = pa.repeat(unit_of(source), len(decisions))
            values = pa.array(decisions, pa.int32(), mask=decisions < 0)
            sink.write(pa.RecordBatch.from_arrays([names, values], schema=DECIDED))


def unit_of(source: Source) -> str:
    """Return the id of the unit that wrote a part."""
    return source.name.rpartition("/part-")[2].removesuffix(".parquet")


def _windows(sources: tuple[Source, ...]) -> Iterator[pa.Table]:
    """Merge sorted files: yield their rows in order, some `WINDOW_ROWS` at a time."""
    readers = [_Sorted(source.path, number) for number, source in enumerate(sources)]
    count = -(-sum(source.rows for source in sources) // WINDOW_ROWS)
    for window in range(1, count + 1):
        bound = (window << 64) // count - 1
        table = pa.concat_tables([reader.up_to(bound) for reader in readers])
        yield table.sort_by([("v", "ascending"), ("pair_id", "ascending")])


class _Sorted:
    def __init__(self, path: str, number: int) -> None:
        self._batches = read_batches(path)
        self._rest = ORDERED.empty_table()
        self._number = number

    def up_to(self, bound: int) -> pa.Table:
        """Return the rows with hashes up to and with `bound` that were not yet returned."""
        held = [self._rest]
        while not held[-1].num_rows or held[-1]["v"][-1].as_py() <= bound:
            batch = next(self._batches, None)
            if batch is None:
                break
            held.append(pa.Table.from_batches([batch]))
        table = pa.concat_tables(held)
        count = pc.sum(pc.less_equal(table["v"], pa.scalar(bound, pa.uint64()))).as_py() or 0
        self._rest = table.slice(count)
        found = table.slice(0, count)
        return found.append_column("source", pa.repeat(self._number, count))


def _read_decisions(sources: tuple[Source, ...], unit: str) -> NDArray[np.int64]:
    """Return for each row of a unit the query that was full, -1 if the pair is kept."""
    found = [np.zeros(0, np.int64)]
    for source in sources:
        with files.open_read(source.path) as file:
            table = pq.read_table(file, filters=[("unit", "=", unit)])
        found.append(pc.fill_null(table["full"], -1).to_numpy().astype(np.int64))
    return np.concatenate(found)


def _strict_drops(batch: pa.RecordBatch, full: NDArray[np.int64], stage: str) -> pa.RecordBatch:
    """Return the ledger rows of the pairs whose query was full."""
    lost = np.flatnonzero(full >= 0)
    rows = batch.select(["pair_id", "url", "text"]).take(pa.array(lost))
    reasons = pa.repeat(DropReason.OVER_CAP_STRICT.value, len(lost))
    return ledger_rows(rows, stage, reasons, pa.array(full[lost]).cast(pa.string()))


@dataclasses.dataclass(frozen=True)
class BalanceStrict:
    """Carry out what was decided about each pair."""

    queries: int

    def run(self, unit: Unit, sink: Sink) -> None:
        """Keep and drop one unit's pairs."""
        counts = QueryCounts(CHOSEN, self.queries)
        full = _read_decisions(more_sources(unit), unit.id)
        start = 0
        for batch, matches in read_pairs(unit, "url", "text"):
            blocked = full[start : start + batch.num_rows]
            start += batch.num_rows
            kept = blocked < 0
            sink.rows_in(batch.num_rows)
            sink.drop(_strict_drops(batch, blocked, sink.stage))
            rows = batch.filter(pa.array(kept))
            columns = [rows["pair_id"], rows["matched_query_ids"]]
            columns.append(pa.nulls(rows.num_rows, pa.float64()))
            sink.write(pa.RecordBatch.from_arrays(columns, schema=SELECTION))
            for column in (0, 1):
                counts.add(column, matches.ids[kept[matches.rows]])
        sink.write(counts.rows(), "counts")
