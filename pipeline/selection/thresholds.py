"""Kernels that count what survived and set final thresholds; their buckets are query ranges."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.queries.select import ALL, QueryKeys, exact_threshold, narrowed_threshold
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.steps import Packet
from pipeline.engine.units import Unit
from pipeline.records import QUERY_COUNTS
from pipeline.selection.choose import Matches, hash_matches
from pipeline.selection.quotas import (
    Listed,
    QueryRanges,
    candidate_limit,
    load_query_keys,
    load_quotas,
    quota_rows,
)

SURVIVORS = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("survived", pa.int64(), nullable=False),
        pa.field("under", pa.int64(), nullable=False),
    ]
)
"""Pairs of a query, and those at or below its threshold of the stage before."""
HASHES = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("u", pa.uint64(), nullable=False),
    ]
)
"""Matches of head queries, with their hashes."""
CHOSEN = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("selected", pa.int64(), nullable=False),
        pa.field("kept", pa.int64(), nullable=False),
    ]
)
"""Pairs that a query selects, and kept pairs that contain it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draw:
    """What the hash of a (pair, query) depends on besides the two ids."""

    list_path: str
    list_sha256: str
    seed: int

    def keys(self) -> QueryKeys:
        """Return the process's query keys."""
        return load_query_keys(self.list_path, self.list_sha256)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountSurvivors:
    """Surviving pairs of each query that had any, and its threshold if there is no more to know.

    The ids of short queries go into the note `short`: those that lost pairs to preselect, of which
    then fewer than `cap` survived. The note `head` counts those with more survivors than `cap`.
    """

    draw: Draw
    ranges: QueryRanges
    before: Listed
    """`QUOTAS` of preselect."""
    cap: int
    probabilistic: bool
    """Whether the threshold of preselect is narrowed; else it is lifted."""

    def emit(self, unit: Unit) -> Iterator[Packet]:
        """Yield the unit's counts."""
        keys = self.draw.keys()
        theta = load_quotas(self.before, self.ranges.queries).theta
        survived = np.zeros(self.ranges.queries, np.int64)
        under = np.zeros(self.ranges.queries, np.int64)
        for batch, matches in _read_matches(unit):
            is_under = theta[matches.ids] == np.uint64(ALL)
            head = np.flatnonzero(~is_under)
            u = hash_matches(batch["pair_id"], matches, head, keys, self.draw.seed)
            is_under[head] = u <= theta[matches.ids[head]]
            np.add.at(survived, matches.ids, 1)
            np.add.at(under, matches.ids[is_under], 1)
        yield _counts(self.ranges, SURVIVORS, survived, under)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Write `QUOTAS` of one range of queries."""
        before = load_quotas(self.before, self.ranges.queries)
        ids = self.ranges.ids(bucket)
        ids = ids[before.pairs[ids] > 0]
        survived, under = _sums(tables["count"], self.ranges.queries)
        theta = before.theta[ids].tolist()
        if not self.probabilistic:
            theta = [ALL] * len(ids)
        elif len(ids):
            triples = zip(theta, under[ids].tolist(), strict=True)
            theta = [narrowed_threshold(each, count, self.cap) for each, count in triples]
        is_short = (before.theta[ids] < np.uint64(ALL)) & (under[ids] < self.cap)
        sink.note("short", ids[is_short].tolist())
        sink.note("head", int((survived[ids] > self.cap).sum()))
        sink.write(quota_rows(ids.tolist(), survived[ids].tolist(), theta))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetExactThresholds:
    """Of each query with more than `cap` surviving pairs, the hash of the last that it may select.

    Only hashes below a limit travel, about `cap` of a query. A query that after all has too few
    below its limit is written to the role `short` and must be asked again with `only`.
    """

    draw: Draw
    ranges: QueryRanges
    counts: Listed
    """`QUOTAS` of the survivors."""
    cap: int
    only: Listed = ()
    """If given, `QUOTAS` of the queries to ask; all their hashes travel."""

    def emit(self, unit: Unit) -> Iterator[Packet]:
        """Yield the hashes that may matter."""
        keys = self.draw.keys()
        is_asked = self._is_asked()
        limits = self._limits(is_asked)
        for batch, matches in _read_matches(unit):
            head = np.flatnonzero(is_asked[matches.ids])
            u = hash_matches(batch["pair_id"], matches, head, keys, self.draw.seed)
            queries = matches.ids[head]
            is_near = u <= limits[queries]
            queries = queries[is_near]
            rows = pa.RecordBatch.from_arrays(
                [pa.array(queries, pa.int32()), pa.array(u[is_near])], schema=HASHES
            )
            yield Packet("hash", self.ranges.of(queries), rows)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Write `QUOTAS` of one range of queries."""
        pairs = load_quotas(self.counts, self.ranges.queries).pairs
        ids = self.ranges.ids(bucket)
        ids = ids[self._is_asked()[ids]]
        found = tables["hash"]["query_id"].to_numpy()  # sorted, and so is u of each query
        hashes = tables["hash"]["u"].to_numpy()
        starts = np.searchsorted(found, ids, side="left").tolist()
        stops = np.searchsorted(found, ids, side="right").tolist()
        done: list[tuple[int, int, int]] = []
        short: list[tuple[int, int, int]] = []
        for query, start, stop in zip(ids.tolist(), starts, stops, strict=True):
            survived = int(pairs[query])
            if stop - start <= self.cap and not self.only:
                short.append((query, survived, ALL))
            else:
                theta = exact_threshold(hashes[start:stop].tolist(), self.cap)
                done.append((query, survived, theta))
        for role, rows in (("part", done), ("short", short)):
            columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
            sink.write(quota_rows(*columns), role)

    def _is_asked(self) -> NDArray[np.bool_]:
        """Return for each query whether its hashes travel."""
        if self.only:
            return load_quotas(self.only, self.ranges.queries).pairs > 0
        return load_quotas(self.counts, self.ranges.queries).pairs > self.cap

    def _limits(self, is_asked: NDArray[np.bool_]) -> NDArray[np.uint64]:
        """Return for each query the greatest hash that travels."""
        limits = np.full(self.ranges.queries, ALL, np.uint64)
        if not self.only:
            pairs = load_quotas(self.counts, self.ranges.queries).pairs
            for query in np.flatnonzero(is_asked).tolist():
                limits[query] = candidate_limit(int(pairs[query]), self.cap) - 1
        return limits


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountChosen:
    """What the dataset says of each query: matched, survived, selected, kept, threshold."""

    ranges: QueryRanges
    matched: Listed
    survived: Listed
    final: Listed

    def emit(self, unit: Unit) -> Iterator[Packet]:
        """Yield the unit's counts."""
        selected = np.zeros(self.ranges.queries, np.int64)
        kept = np.zeros(self.ranges.queries, np.int64)
        for source in unit.sources:
            for batch in read_batches(source.path, ["matched_query_ids", "selected_by"]):
                np.add.at(kept, Matches.of(batch["matched_query_ids"]).ids, 1)
                np.add.at(selected, Matches.of(batch["selected_by"]).ids, 1)
        yield _counts(self.ranges, CHOSEN, selected, kept)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Write `QUERY_COUNTS` of one range of queries."""
        queries = self.ranges.queries
        matched = load_quotas(self.matched, queries).pairs
        survived = load_quotas(self.survived, queries).pairs
        theta = load_quotas(self.final, queries).theta
        ids = self.ranges.ids(bucket)
        ids = ids[matched[ids] > 0]
        selected, kept = _sums(tables["count"], queries)
        columns = (matched[ids], survived[ids], selected[ids], kept[ids], theta[ids])
        arrays = [pa.array(ids, pa.int32()), *map(pa.array, columns)]
        sink.write(pa.RecordBatch.from_arrays(arrays, schema=QUERY_COUNTS))


def _read_matches(unit: Unit) -> Iterator[tuple[pa.RecordBatch, Matches]]:
    for source in unit.sources:
        for batch in read_batches(source.path, ["pair_id", "matched_query_ids"]):
            yield batch, Matches.of(batch["matched_query_ids"])


def _counts(ranges: QueryRanges, schema: pa.Schema, *counts: NDArray[np.int64]) -> Packet:
    """Return one row for each query with a count that is not 0."""
    ids = np.flatnonzero(np.logical_or.reduce([each > 0 for each in counts]))
    arrays = [pa.array(ids, pa.int32()), *(pa.array(each[ids]) for each in counts)]
    return Packet("count", ranges.of(ids), pa.RecordBatch.from_arrays(arrays, schema=schema))


def _sums(table: pa.Table, queries: int) -> Iterable[NDArray[np.int64]]:
    """Return the sum of each count column of a bucket, by query id."""
    ids = table["query_id"].to_numpy()
    sums = []
    for name in table.column_names[1:]:
        total = np.zeros(queries, np.int64)
        np.add.at(total, ids, table[name].to_numpy())
        sums.append(total)
    return sums
