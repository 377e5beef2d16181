"""Every sample of a shard: both files against the record, then each sample against its row."""

import collections
import dataclasses
import gc
import itertools
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.base import storage
from manifests.base.errors import OpenwitError
from manifests.format.checks.foreign import check_foreign
from manifests.format.checks.tar_pass import TarPass
from manifests.format.reader import ShardReader
from manifests.format.records import Finding
from manifests.format.schema import JSON_NUMBERS, JSON_TEXTS, OFFSET_COLUMNS, SAMPLES

COLUMNS = sorted(
    {
        "key",
        "pair_id",
        "query_ids",
        "selected_by",
        "phash",
        "reencoded",
        "image_source",
        *JSON_TEXTS,
        *JSON_NUMBERS,
        *OFFSET_COLUMNS,
    }
)


@dataclasses.dataclass
class ShardCheck:
    """What one shard showed."""

    findings: list[Finding] = dataclasses.field(default_factory=list)
    counted: bool = False
    """Whether the rows could be read, so that the counts are those of all samples."""
    kept: dict[int, int] = dataclasses.field(default_factory=dict)
    """Samples by query id that matched."""
    selected: dict[int, int] = dataclasses.field(default_factory=dict)
    """Samples by query id that selected them."""


def check_samples(
    reader: ShardReader,
    *,
    sorted_ids: bool = True,
    queries: int | None = None,
    skip: frozenset[int] = frozenset(),
    basis: str = "",
    progress: Callable[[int], None] = lambda row: None,
) -> ShardCheck:
    """Compare both files of a shard with its record, and each sample with its row.

    Args:
        reader: the shard.
        sorted_ids: whether pair ids must ascend; else the tar is as somebody else wrote it.
        queries: rows of `queries.parquet`; None: not known.
        skip: rows whose image is not decoded, because a decoder died of it before.
        basis: `original` or `stored`: which image has the perceptual hash, to compare it; empty:
            hashes are not looked at.
        progress: told the row before its image is decoded.
    """
    check = ShardCheck()
    check.findings += [
        finding for finding in reader.check("fast") if finding.code == "missing_file"
    ]
    missing = {finding.path for finding in check.findings}
    rows = None
    if reader.shard.parquet.path not in missing:
        check.findings += reader.check_sha256(reader.shard.parquet)
        check.findings += reader.check_footer()
        rows = _read_rows(reader, check)
    if rows is not None:
        check.counted = True
        _check_order(reader, rows, sorted_ids, check)
        check.kept = _check_queries(reader, rows, "query_ids", queries, check)
        check.selected = _check_queries(reader, rows, "selected_by", queries, check)
    if reader.shard.tar.path not in missing and not sorted_ids:
        check.findings += check_foreign(reader, rows, skip=skip, progress=progress)
    elif reader.shard.tar.path not in missing:
        try:
            with storage.open_read(reader.tar_path) as file:
                passed = TarPass(reader, rows, file, skip=skip, basis=basis, progress=progress)
                # The rows stay: Python's collector need not look at them at every image.
                gc.freeze()
                passed.run()
                check.findings += passed.findings
        except OSError as error:
            check.findings.append(
                reader.finding("unreadable_file", reader.shard.tar, str(error)[:200])
            )
        finally:
            gc.unfreeze()
    return check


def _read_rows(reader: ShardReader, check: ShardCheck) -> pa.RecordBatch | None:
    if any(finding.code in ("unreadable_parquet", "count_mismatch") for finding in check.findings):
        return None
    try:
        table = reader.table(COLUMNS)
        table.validate(full=True)
    except (OpenwitError, pa.ArrowException) as error:
        code = "unreadable_parquet"
        check.findings.append(reader.finding(code, reader.shard.parquet, str(error)[:200]))
        return None
    unfit = [
        field.name
        for field in SAMPLES
        if field.name in COLUMNS
        and not (
            table[field.name].type.equals(field.type)
            and (field.nullable or not table[field.name].null_count)
        )
    ]
    if unfit:
        message = f"columns of another type, or with nulls: {', '.join(unfit)}"
        check.findings.append(reader.finding("schema_mismatch", reader.shard.parquet, message))
        return None
    # A shard has at least one row, so there is one batch.
    return table.combine_chunks().to_batches()[0]


def _check_order(
    reader: ShardReader, rows: pa.RecordBatch, sorted_ids: bool, check: ShardCheck
) -> None:
    file, shard = reader.shard.parquet, reader.shard
    for name, code in (("key", "duplicate_key"), ("pair_id", "duplicate_pair_id")):
        values = rows[name].to_pylist()
        seen = collections.Counter(values)
        check.findings += [
            reader.finding(code, file, f"{count} samples have the {name} {value}", key=str(value))
            for value, count in seen.items()
            if count > 1
        ]
        if name == "pair_id" and not sorted_ids:
            continue
        check.findings += [
            reader.finding("order", file, f"{name} must ascend", f"> {before}", value, value)
            for before, value in itertools.pairwise(values)
            if value < before
        ]
    ends = {
        "key_first": (shard.key_first, rows["key"][0]),
        "key_last": (shard.key_last, rows["key"][-1]),
        "pair_id_min": (shard.pair_id_min, pc.min(rows["pair_id"])),
        "pair_id_max": (shard.pair_id_max, pc.max(rows["pair_id"])),
    }
    for name, (told, found) in ends.items():
        if told != found.as_py():
            message = f"{name} is not that of the samples"
            check.findings.append(
                reader.finding("record_mismatch", file, message, told, found.as_py())
            )


def _check_queries(
    reader: ShardReader, rows: pa.RecordBatch, column: str, queries: int | None, check: ShardCheck
) -> dict[int, int]:
    """Return how many samples name each query; ids that are no query are findings."""
    ids = pc.list_flatten(rows[column])
    counts = {
        int(entry["values"]): int(entry["counts"])
        for entry in pc.value_counts(ids.drop_null()).to_pylist()
    }
    limit = np.iinfo(np.int32).max if queries is None else queries
    bad = sorted(query for query in counts if not 0 <= query < limit)
    if bad:
        message = f"{column} names queries that are not listed: {bad[:5]}"
        check.findings.append(
            reader.finding("query_id_range", reader.shard.parquet, message, f"0 to {limit - 1}")
        )
    return {query: count for query, count in counts.items() if 0 <= query < limit}
