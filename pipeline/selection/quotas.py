"""The quota of each query: how many pairs it has, and the threshold under which it selects them."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filters.queries.query_list import QueryList, read
from filters.queries.select import ALL, QueryKeys
from manifests.base.errors import OpenwitError
from pipeline.engine import files
from pipeline.engine.stage_dir import StageRecord

QUOTAS = pa.schema(
    [
        pa.field("query_id", pa.int32(), nullable=False),
        pa.field("pairs", pa.int64(), nullable=False),
        pa.field("theta", pa.uint64(), nullable=False),
    ]
)
"""One row per query that has pairs, ascending: the record that explains every decision."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectSettings:
    """How many pairs a query may select (`[select]`)."""

    cap: int = 20_000
    """Pairs per query, as in the CLIP paper, section 2.2."""
    seed: int = 0
    """Part of every keyed hash; another seed draws another selection."""

    def __post_init__(self) -> None:
        """Refuse a cap that selects nothing, and a seed that is no 63-bit number."""
        if self.cap < 1:
            raise ValueError(f"cap must be at least 1, got {self.cap}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be from 0 to 2^63 - 1, got {self.seed}")


@dataclasses.dataclass(frozen=True)
class Quotas:
    """Pairs and thresholds by query id; a query without pairs has 0 and selects all."""

    pairs: NDArray[np.int64]
    """Shape (queries,)."""
    theta: NDArray[np.uint64]
    """Shape (queries,)."""


Listed = tuple[tuple[str, str], ...]
"""Files as (path, sha256); the digest keeps a changed file from passing for a cached one."""


@dataclasses.dataclass(frozen=True)
class QueryRanges:
    """Buckets of a shuffle by query: ranges of ids of about equal length, in ascending order."""

    queries: int
    buckets: int

    def of(self, ids: NDArray[np.signedinteger[Any]]) -> NDArray[np.int64]:
        """Return the bucket of each query id."""
        return ids.astype(np.int64) * self.buckets // self.queries

    def ids(self, bucket: int) -> NDArray[np.int64]:
        """Return all query ids of a bucket."""
        first, stop = (-(-edge * self.queries // self.buckets) for edge in (bucket, bucket + 1))
        return np.arange(first, stop)


@functools.lru_cache(maxsize=4)
def load_quotas(tables: Listed, queries: int) -> Quotas:
    """Read `QUOTAS` files, later ones over earlier ones, into arrays by query id."""
    quotas = Quotas(np.zeros(queries, np.int64), np.full(queries, ALL, np.uint64))
    for path, _ in tables:
        with files.open_read(path) as file:
            table = pq.read_table(file)
        ids = table["query_id"].to_numpy()
        quotas.pairs[ids] = table["pairs"].to_numpy()
        quotas.theta[ids] = table["theta"].to_numpy()
    return quotas


@functools.lru_cache(maxsize=1)
def load_query_keys(list_path: str, list_sha256: str) -> QueryKeys:
    """Return the process's keys of the list's queries, by id."""
    queries = load_list(list_path, list_sha256)
    return QueryKeys(queries.langs, queries.queries)


@functools.lru_cache(maxsize=1)
def count_listed(list_path: str, list_sha256: str) -> int:
    """Return the number of queries of a list."""
    return len(load_list(list_path, list_sha256))


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


def candidate_limit(pairs: int, cap: int) -> int:
    """Return the hash below which the `cap` smallest of `pairs` hashes almost surely lie.

    The margin is more than eight standard deviations of the number of hashes below it; where it is
    not enough after all, the caller sees too few and asks for all.
    """
    margin = 8 * math.isqrt(cap) + 8
    return min(1 << 64, (cap + margin << 64) // pairs)


def quota_rows(ids: Sequence[int], pairs: Sequence[int], thetas: Sequence[int]) -> pa.RecordBatch:
    """Return rows of `QUOTAS`."""
    return pa.RecordBatch.from_arrays(
        [
            pa.array(ids, pa.int32()),
            pa.array(pairs, pa.int64()),
            pa.array(np.array(thetas, np.uint64)),
        ],
        schema=QUOTAS,
    )
