"""The tables beside the shards: queries, inputs, ledger; and the funnel."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.format.ledger import write_ledger
from manifests.format.manifest import Manifest
from manifests.format.records import ListedFile
from manifests.format.schema import INPUTS, QUERIES
from manifests.format.table import TableWriter
from pipeline.engine import files
from pipeline.engine.parts import read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.units import Source

EVERY_PAIR = np.uint64(2**64 - 1)
"""Theta of a query that selects all its pairs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """The run that a dataset comes from."""

    query_counts: StageRecord
    """Its parts have the columns of `QUERY_COUNTS`."""
    list_path: str
    """Parquet with query_id, query and, if known, lang and source, a row per query id."""
    list_sha256: str
    list_digest: str
    """Names the list's queries and languages, whatever file holds them."""
    cap: int | None
    history: Sequence[StageRecord]
    """All steps of the run, in order."""
    inputs: Sequence[Source]
    """Sorted by name: samples name them by their place."""
    input_kind: str
    config: Mapping[str, Any]
    """The resolved settings that affect data; no run path, no credential."""


def funnel(history: Sequence[StageRecord]) -> list[dict[str, Any]]:
    """Return rows in, rows out and drops of each stage that accounts for its rows, in order."""
    stages: dict[str, list[StageRecord]] = {}
    for record in history:
        if record.accounts:
            stages.setdefault(record.stage, []).append(record)
    lines = []
    for stage, steps in stages.items():
        drops: dict[str, int] = {}
        for step in steps:
            for reason, count in step.drops.items():
                drops[reason] = drops.get(reason, 0) + count
        lines.append(
            {
                "stage": stage,
                # Steps hand rows on to each other, so this is what came in to the first ones.
                "rows_in": steps[-1].rows_out + sum(drops.values()),
                "rows_out": steps[-1].rows_out,
                "drops": dict(sorted(drops.items())),
                "failed_units": sum(len(step.skipped) for step in steps),
            }
        )
    return lines


def list_rows(origin: Origin) -> int:
    """Return the number of queries of the list."""
    with files.open_read(origin.list_path) as file:
        return int(pq.ParquetFile(file).metadata.num_rows)


def write_queries(root: str, origin: Origin) -> ListedFile:
    """Write `queries.parquet` below the dataset folder `root`: the list with its counts."""
    with files.open_read(origin.list_path) as file:
        listed = pq.read_table(file)
    rows = len(listed)
    counts = {
        name: np.zeros(rows, np.int64) for name in ("matched", "survived", "selected", "kept")
    }
    theta = np.full(rows, EVERY_PAIR)
    for path in origin.query_counts.paths("part"):
        for batch in read_batches(path):
            ids = batch["query_id"].to_numpy()
            for name, column in counts.items():
                column[ids] = batch[name].to_numpy()
            theta[ids] = batch["theta"].to_numpy()
    columns = {"query_id": np.arange(rows, dtype=np.int32), "theta": theta, **counts}
    for name in ("query", "lang", "source"):
        known = name in listed.schema.names
        texts = listed[name].cast(pa.string()) if known else pa.nulls(rows, pa.string())
        columns[name] = texts.combine_chunks() if known else texts
    batch = pa.RecordBatch.from_arrays([pa.array(columns[name]) for name in QUERIES.names],
                                       schema=QUERIES)  # fmt: skip
    return _write_table(root, "queries.parquet", "queries", QUERIES, [batch])


def write_inputs(root: str, origin: Origin) -> ListedFile:
    """Write `inputs.parquet` below the dataset folder `root`: a row per input file."""
    rows = [
        {
            "input": number,
            "uri": public_uri(source.name),
            "kind": origin.input_kind,
            "bytes": source.bytes,
            "sha256": source.sha256,
        }
        for number, source in enumerate(origin.inputs)
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=INPUTS)
    return _write_table(root, "inputs.parquet", "inputs", INPUTS, [batch])


def listed_inputs(manifest: Manifest) -> set[tuple[str, int]]:
    """Return URI and bytes of each input file of a dataset."""
    rows = [
        row
        for file in manifest.listed("inputs")
        for batch in read_batches(manifest.path(file.path), ["uri", "bytes"])
        for row in batch.to_pylist()
    ]
    return {(row["uri"], row["bytes"]) for row in rows}


def public_uri(name: str) -> str:
    """Return an input's name without user info and without a query, where signatures are.

    >>> public_uri("https://me:secret@example.com/a.warc.gz?X-Amz-Signature=12")
    'https://example.com/a.warc.gz'
    """
    scheme, mark, rest = name.partition("://")
    if not mark:
        return name
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def write_ledgers(root: str, origin: Origin, examples: int) -> list[ListedFile]:
    """Write the ledger of each stage that accounts for its rows.

    Args:
        root: folder or URI of the dataset.
        origin: its history names the files of dropped rows.
        examples: how many pairs of each stage and reason keep URL and caption.
    """
    stages: dict[str, list[str]] = {}
    for record in origin.history:
        if record.accounts:
            stages.setdefault(record.stage, []).extend(record.paths("drops"))
    return [
        file
        for stage, paths in stages.items()
        for file in write_ledger(
            root, stage, _reread(paths), examples=examples, open_new=files.new_file
        )
    ]


def _reread(paths: Sequence[str]) -> Callable[[], Iterable[pa.RecordBatch]]:
    return lambda: (batch for path in paths for batch in read_batches(path))


def _write_table(
    root: str, name: str, role: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> ListedFile:
    with files.new_file(root) as file:
        writer = TableWriter(file, schema)
        for batch in batches:
            writer.write(batch)
        writer.close()
        entry = ListedFile(
            path=name, role=role, bytes=file.bytes, sha256=file.sha256, rows=writer.rows
        )
        file.publish(files.join(root, name))
    return entry
