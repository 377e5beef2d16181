"""The quota of each query: how many pairs it has, and the threshold under which it selects them."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.queries.query_list import QueryList, count_rows, read, read_pairs
from filters.queries.select import ALL, QueryKeys
from manifests.base.errors import OpenwitError
from pipeline.engine import files
from pipeline.engine.parts import read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.units import Unit
from pipeline.selection.caps import Caps

QUOTAS = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("pairs", pa.int64(), nullable=False),
        pa.field("base", pa.int64(), nullable=False),
        pa.field("theta", pa.uint64(), nullable=False),
    ]
)
"""One row per query that has pairs, ascending: the record that explains every decision. `base` is
the count that `theta` was made from: `pairs`, or that of another pool (`select.counts_file`)."""


ALL_UNITS = "all"
"""Id of a unit that reads what all units of a step wrote."""


@dataclasses.dataclass(frozen=True)
class Quotas:
    """The columns of `QUOTAS` by query id; a query without pairs has 0 and selects all."""

    pairs: NDArray[np.int64]
    """Shape (queries,)."""
    base: NDArray[np.int64]
    """Shape (queries,)."""
    theta: NDArray[np.uint64]
    """Shape (queries,)."""

    @functools.cached_property
    def is_open(self) -> NDArray[np.bool_]:
        """Whether each query has a threshold, or else selects all its pairs, shape (queries,)."""
        return self.theta != np.uint64(ALL)

    @functools.cached_property
    def misses(self) -> NDArray[np.float64]:
        """The probability that each query does not select a pair of its own, shape (queries,)."""
        misses = np.zeros(len(self.theta), np.float64)
        head = np.flatnonzero(self.is_open)
        misses[head] = [1.0 - (theta + 1) / 2**64 for theta in self.theta[head].tolist()]
        return misses


Listed = tuple[tuple[str, str], ...]
"""Files as (path, sha256); the digest keeps a changed file from passing for a cached one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draw:
    """What decisions depend on besides thresholds: the list that numbers queries, seed and caps."""

    list_path: str
    list_sha256: str
    seed: int
    caps: Caps

    def keys(self) -> QueryKeys:
        """Return the process's query keys."""
        return load_query_keys(self.list_path, self.list_sha256)

    def cap_of_each(self) -> NDArray[np.int64]:
        """Return the cap of each query, shape (queries,)."""
        return _load_caps(self.list_path, self.list_sha256, self.caps)


@functools.lru_cache(maxsize=1)
def load_quotas(tables: Listed, queries: int) -> Quotas:
    """Read `QUOTAS` files, later ones over earlier ones, into arrays by query id."""
    quotas = Quotas(
        np.zeros(queries, np.int64), np.zeros(queries, np.int64), np.full(queries, ALL, np.uint64)
    )
    for path, _ in tables:
        for batch in read_batches(path):
            ids = batch["query_id"].to_numpy()
            for name in ("pairs", "base", "theta"):
                getattr(quotas, name)[ids] = batch[name].to_numpy()
    return quotas


@functools.lru_cache(maxsize=1)
def load_query_keys(list_path: str, list_sha256: str) -> QueryKeys:
    """Return the process's keys of the list's queries, by id."""
    _ = list_sha256  # as in `load_list`
    with files.open_read(list_path) as file:
        return QueryKeys(read_pairs(file, list_path))


@functools.lru_cache(maxsize=1)
def count_listed(list_path: str, list_sha256: str) -> int:
    """Return the number of queries of a list, without reading them if it is ours."""
    _ = list_sha256  # as in `load_list`
    with files.open_read(list_path) as file:
        return count_rows(file, list_path)


@functools.lru_cache(maxsize=1)
def _load_caps(list_path: str, list_sha256: str, caps: Caps) -> NDArray[np.int64]:
    if not caps.by_lang:
        return np.full(len(load_query_keys(list_path, list_sha256)), caps.usual, np.int64)
    return caps.of(load_list(list_path, list_sha256).langs)


def load_list(list_path: str, list_sha256: str) -> QueryList:
    """Read a query list from a path or URI."""
    _ = list_sha256  # the callers' caches know a changed file by it
    with files.open_read(list_path) as file:
        return read(file, list_path)


def check_list(record: StageRecord, list_sha256: str) -> None:
    """Refuse to go on with another list than the one that numbered a step's queries.

    Raises:
        OpenwitError: if it is another.
    """
    if record.parameters["list"] != list_sha256:
        raise OpenwitError(
            f"{record.folder}: made with query list {record.parameters['list']}, this is "
            f"{list_sha256}: do the stages from match on with one list"
        )


def listed(*records: StageRecord, role: str = "part") -> Listed:
    """Return the files of a role of steps as (path, sha256), without empty ones."""
    return tuple(
        (path, file.sha256)
        for record in records
        for path, file in zip(record.paths(role), record.files(role), strict=True)
        if file.rows
    )


def content_digest(*records: StageRecord) -> list[str]:
    """Return the digests of all files of steps, for the parameters of what depends on all of them.

    A step's own digest names how it counts, not what it counted.
    """
    return [file.sha256 for record in records for unit in record.units for file in unit.files]


def one_unit(record: StageRecord, role: str) -> list[Unit]:
    """Return one unit of all files of a role: for steps that sum up what each unit counted."""
    units = record.next_units(role)
    sources = tuple(source for unit in units for source in unit.sources if source.rows)
    return [Unit(id=ALL_UNITS, step=record.step, sources=sources)]


def paired_units(pairs: StageRecord, more: StageRecord, role: str = "part") -> list[Unit]:
    """Return the units of the pairs, each with what `more` made of the same unit, or of all.

    The added sources, files of a role, have the role `more`.
    """
    made = {unit.id: unit.sources for unit in more.next_units(role)}
    return [
        dataclasses.replace(
            unit,
            sources=unit.sources
            + tuple(
                dataclasses.replace(source, role="more")
                for source in made.get(unit.id, made.get(ALL_UNITS, ()))
            ),
        )
        for unit in pairs.next_units("part")
    ]


def quota_rows(
    ids: Sequence[int] | NDArray[np.signedinteger[Any]],
    pairs: NDArray[np.int64],
    base: NDArray[np.int64],
    thetas: NDArray[np.uint64],
) -> pa.RecordBatch:
    """Return rows of `QUOTAS`."""
    arrays = [pa.array(ids, pa.int32()), *map(pa.array, (pairs, base, thetas))]
    return pa.RecordBatch.from_arrays(arrays, schema=QUOTAS)
