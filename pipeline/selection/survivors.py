"""Kernels that count queries: per unit, and summed by one unit that reads all counts."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.queries.select import ALL, narrowed_threshold
from manifests.base.errors import OpenwitError
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.units import Source, Unit
from pipeline.records import QUERY_COUNTS
from pipeline.selection.choose import Matches, hash_matches
from pipeline.selection.quotas import Draw, Listed, load_quotas, quota_rows

SURVIVORS = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("survived", pa.int64(), nullable=False),
        pa.field("under", pa.int64(), nullable=False),
    ]
)
"""Pairs of a query, and those at or below its threshold of the stage before."""
CHOSEN = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("selected", pa.int64(), nullable=False),
        pa.field("kept", pa.int64(), nullable=False),
    ]
)
"""Pairs that a query selects, and kept pairs that contain it."""


class QueryCounts:
    """Counts by query id, in as many columns as a schema has behind `query_id`."""

    def __init__(self, schema: pa.Schema, queries: int) -> None:
        """Count nothing yet."""
        self._schema = schema
        self.columns = [np.zeros(queries, np.int64) for _ in schema.names[1:]]

    def add(self, column: int, ids: NDArray[np.int32]) -> None:
        """Count each id once more."""
        np.add.at(self.columns[column], ids, 1)

    def add_files(self, sources: tuple[Source, ...]) -> None:
        """Add the counts of files of the schema."""
        for source in sources:
            for batch in read_batches(source.path):
                ids = batch["query_id"].to_numpy()
                for column, name in zip(self.columns, self._schema.names[1:], strict=True):
                    column[ids] += batch[name].to_numpy()  # an id comes once in a file

    def rows(self) -> pa.RecordBatch:
        """Return the ids with a count that is not 0, ascending."""
        ids = np.flatnonzero(np.logical_or.reduce([column > 0 for column in self.columns]))
        arrays = [pa.array(ids, pa.int32()), *(pa.array(column[ids]) for column in self.columns)]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def read_matches(unit: Unit) -> Iterator[tuple[pa.RecordBatch, Matches]]:
    """Yield ids and matches of a unit's pairs in order."""
    for source in unit.sources:
        for batch in read_batches(source.path, ["pair_id", "matched_query_ids"]):
            yield batch, Matches.of(batch["matched_query_ids"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountSurvivors:
    """`SURVIVORS` of each unit."""

    draw: Draw
    before: Listed
    """`QUOTAS` of preselect."""

    def run(self, unit: Unit, sink: Sink) -> None:
        """Count one unit.

        Raises:
            OpenwitError: if a pair comes twice.
        """
        keys = self.draw.keys()
        quotas = load_quotas(self.before, len(keys))
        counts = QueryCounts(SURVIVORS, len(keys))
        ids: list[pa.Array] = []
        for batch, matches in read_matches(unit):
            places = matches.open(quotas)
            u = hash_matches(batch["pair_id"], matches, places, keys, self.draw.seed)
            is_under = np.ones(len(matches.ids), np.bool_)
            is_under[places] = u <= quotas.theta[matches.ids[places]]
            counts.add(0, matches.ids)
            counts.add(1, matches.ids[is_under])
            ids.append(batch["pair_id"])
        _check_distinct(pa.chunked_array(ids, pa.binary(16)))
        sink.write(counts.rows())


def _check_distinct(ids: pa.ChunkedArray) -> None:
    if pc.count_distinct(ids).as_py() < len(ids):
        counts = pc.value_counts(ids)
        twice = counts.filter(pc.greater(counts.field("counts"), 1))[0].as_py()
        raise OpenwitError(
            f"pair id {twice['values'].hex()}: {twice['counts']} rows of it reached balance: "
            "each pair must come once, do the stages from match on again"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SumSurvivors:
    """`QUOTAS` of all queries that had pairs, with thresholds if there is no more to know.

    The ids of short queries go into the note `short`: those that lost pairs to preselect, of which
    then fewer than the cap survived. The note `head` counts those with more survivors than the cap.
    """

    draw: Draw
    before: Listed
    """`QUOTAS` of preselect."""
    narrows: bool
    """Whether thresholds of preselect are narrowed; else they are lifted."""
    is_foreign: bool
    """Whether they stay as they are, for they are of another pool."""

    def run(self, unit: Unit, sink: Sink) -> None:
        """Sum up the counts of all units."""
        caps = self.draw.cap_of_each()
        before = load_quotas(self.before, len(caps))
        counts = QueryCounts(SURVIVORS, len(caps))
        counts.add_files(unit.sources)
        survived, under = counts.columns
        ids = np.flatnonzero(before.pairs)
        theta = before.theta[ids].tolist()
        if self.narrows and not self.is_foreign:
            each = zip(theta, under[ids].tolist(), caps[ids].tolist(), strict=True)
            theta = [narrowed_threshold(*values) for values in each]
        elif not self.is_foreign:
            theta = [ALL] * len(ids)
        base = before.base if self.is_foreign else survived
        is_short = (before.theta[ids] != np.uint64(ALL)) & (under[ids] < caps[ids])
        sink.note("short", [] if self.is_foreign else ids[is_short].tolist())
        sink.note("head", int((survived > caps).sum()))
        sink.write(quota_rows(ids, survived[ids], base[ids], theta))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SumChosen:
    """What the dataset says of each query: matched, survived, selected, kept, threshold."""

    queries: int
    matched: Listed
    survived: Listed
    final: Listed

    def run(self, unit: Unit, sink: Sink) -> None:
        """Sum up the counts of all units."""
        counts = QueryCounts(CHOSEN, self.queries)
        counts.add_files(unit.sources)
        matched = load_quotas(self.matched, self.queries).pairs
        ids = np.flatnonzero(matched)
        survived = load_quotas(self.survived, self.queries).pairs[ids]
        theta = load_quotas(self.final, self.queries).theta[ids]
        selected, kept = (column[ids] for column in counts.columns)
        columns = (matched[ids], survived, selected, kept, theta)
        arrays = [pa.array(ids, pa.int32()), *map(pa.array, columns)]
        sink.write(pa.RecordBatch.from_arrays(arrays, schema=QUERY_COUNTS))
