"""Kernels that count queries: per unit, and summed by one unit that reads all counts."""

import collections
import dataclasses
import functools

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.queries.select import ALL, narrowed_threshold
from manifests.base.errors import OpenwitError
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.units import Source, Unit
from pipeline.records import QUERY_COUNTS
from pipeline.selection.choose import hash_matches, id_bytes, read_pairs
from pipeline.selection.quotas import Draw, Listed, load_quotas, quota_rows

SURVIVORS = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("survived", pa.int64(), nullable=False),
        pa.field("over", pa.int64(), nullable=False),
    ]
)
"""Pairs of a query, and those above its threshold of the stage before: others selected them."""
HASHES = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("u", pa.uint64(), nullable=False),
    ]
)
"""The matches of hashed queries with their hashes, in the order of pairs and queries."""
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
        self.columns[column] += np.bincount(ids, minlength=len(self.columns[column]))

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


@functools.lru_cache(maxsize=1)
def hashed_queries(draw: Draw, before: Listed) -> NDArray[np.bool_]:
    """Return for each query whether its matches are hashed, shape (queries,).

    Those that may have more survivors than the cap, for more pairs matched, and those that did not
    select all pairs before: no other can end with a threshold.
    """
    caps = draw.cap_of_each()
    quotas = load_quotas(before, len(caps))
    return (quotas.pairs > caps) | quotas.is_open


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountSurvivors:
    """`SURVIVORS` and `HASHES` of each unit: every hash is made once, later steps read it."""

    draw: Draw
    before: Listed
    """`QUOTAS` of preselect."""

    def run(self, unit: Unit, sink: Sink) -> None:
        """Count and hash one unit.

        Raises:
            OpenwitError: if a pair comes twice.
        """
        keys = self.draw.keys()
        theta = load_quotas(self.before, len(keys)).theta
        is_hashed = hashed_queries(self.draw, self.before)
        counts = QueryCounts(SURVIVORS, len(keys))
        ids: list[NDArray[np.uint8]] = []
        for batch, matches in read_pairs(unit):
            places = np.flatnonzero(is_hashed[matches.ids])
            u = hash_matches(batch["pair_id"], matches, places, keys, self.draw.seed)
            hashed = matches.ids[places]
            counts.add(0, matches.ids)
            counts.add(1, hashed[u > theta[hashed]])
            ids.append(id_bytes(batch["pair_id"]).copy())
            arrays = [pa.array(hashed, pa.int32()), pa.array(u)]
            sink.write(pa.RecordBatch.from_arrays(arrays, schema=HASHES), "hashes")
        _check_distinct(np.concatenate([np.zeros((0, 16), np.uint8), *ids]))
        sink.write(counts.rows())


def _check_distinct(ids: NDArray[np.uint8]) -> None:
    """Compare ids, shape (pairs, 16), with each other: halves first, which hardly ever agree."""
    heads = np.sort(ids[:, :8].copy().view(np.uint64).reshape(-1))
    if (heads[1:] == heads[:-1]).any():
        pair, rows = collections.Counter(ids.view("V16").reshape(-1).tolist()).most_common(1)[0]
        if rows > 1:
            raise OpenwitError(
                f"pair id {pair.hex()}: {rows} rows of it reached balance: each pair must come "
                "once, do the stages from match on again"
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
        survived, over = counts.columns
        under = survived - over
        theta = before.theta
        if not self.is_foreign:
            theta = np.full(len(caps), ALL, np.uint64)
            if self.narrows:
                theta = before.theta.copy()
                for head in np.flatnonzero(under > caps).tolist():
                    theta[head] = narrowed_threshold(
                        int(theta[head]), int(under[head]), int(caps[head])
                    )
        is_short = before.is_open & (under < caps) & (not self.is_foreign)
        sink.note("short", np.flatnonzero(is_short).tolist())
        sink.note("head", int((survived > caps).sum()))
        base = before.base if self.is_foreign else survived
        ids = np.flatnonzero(before.pairs)
        sink.write(quota_rows(ids, survived[ids], base[ids], theta[ids]))


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
