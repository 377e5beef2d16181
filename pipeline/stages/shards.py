"""Stage shards: the selection and its blobs in, tars and Parquet files under one manifest out.

Order is ascending pair id, so a sample's key is its rank and shards are ranges of ids. Only
metadata and references cross the shuffle; each shard reads its own images from the blobs, in
bounded windows.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.base.errors import RefusedError
from manifests.format.naming import MAX_SAMPLES
from manifests.format.schema import sample_schema
from manifests.format.writer import Layout
from pipeline.dataset.ranks import COUNTS, CountPrefixes, Ranks, prefix_bits
from pipeline.dataset.root import DatasetSettings, commit_dataset, make_way
from pipeline.dataset.samples import DATASET, WriteShard
from pipeline.dataset.tables import Origin
from pipeline.engine import files
from pipeline.engine.context import Engine
from pipeline.engine.stage_dir import StageRecord, folder_of, generation, spec_digest
from pipeline.engine.steps import MapStep, ShuffleStep
from pipeline.engine.units import Source, canonical_json
from pipeline.records import SELECTED
from pipeline.selection.quotas import paired_units

__all__ = ["DatasetSettings", "ShardsSettings", "run"]

VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardsSettings:
    """Size and content of the shards (`[shards]`)."""

    samples_per_shard: int = 10_000
    """Samples in each shard but the last, 1 to 1,000,000."""
    row_group_rows: int = 10_000
    """Rows of a Parquet row group; provisional."""
    zstd_level: int = 3
    """Of the Parquet files, 1 to 19; provisional."""
    window_bytes: int = 128 << 20
    """Image bytes that a shard's writer holds at once; changes no output byte; provisional."""
    read_concurrency: int = 16
    """Blobs that a shard's writer reads at once; changes no output byte; provisional."""
    coalesce_gap_bytes: int = 65_536
    """Images of a blob that are closer than this are read at once; provisional."""
    max_shard_bytes: int = 4 << 30
    """Most image bytes of a mean shard; more are refused before work; provisional."""
    dedup_columns: bool = True
    """Whether the samples keep their hash records, about 270 bytes each."""
    ledger_examples: int = 100
    """Dropped pairs of each stage and reason that keep URL and caption, 0 to 100; provisional."""
    replace: bool = False
    """Whether a dataset of other settings or inputs in ROOT/dataset may be removed."""

    def __post_init__(self) -> None:
        self.layout()  # checks its own fields
        for name in ("window_bytes", "read_concurrency", "max_shard_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.coalesce_gap_bytes < 0:
            raise ValueError(
                f"coalesce_gap_bytes must be at least 0, got {self.coalesce_gap_bytes}"
            )
        if not 0 <= self.ledger_examples <= 100:
            raise ValueError(f"ledger_examples must be from 0 to 100, got {self.ledger_examples}")

    def layout(self) -> Layout:
        """Return what the shard writer needs of these settings."""
        return Layout(
            samples_per_shard=self.samples_per_shard,
            row_group_rows=self.row_group_rows,
            zstd_level=self.zstd_level,
            schema=sample_schema(dedup_columns=self.dedup_columns),
        )


def run(
    engine: Engine,
    shards: ShardsSettings,
    dataset: DatasetSettings,
    *,
    deduped: StageRecord,
    selected: StageRecord,
    query_counts: StageRecord,
    list_path: str,
    list_sha256: str,
    list_digest: str,
    cap: int | None,
    history: Sequence[StageRecord],
    inputs: Sequence[Source],
    input_kind: str,
    config: Mapping[str, Any],
) -> StageRecord:
    """Write the dataset below ROOT/dataset and commit its manifest.

    Args:
        engine: runs the steps.
        shards: size and content of the shards.
        dataset: what the manifest says of the collection.
        deduped: pairs, with the columns of `DEDUPED`.
        selected: which of them to write: of each of its parts, with the columns of `SELECTION`.
        query_counts: its parts have the columns of `QUERY_COUNTS`.
        list_path: the query list, Parquet, a row per query id.
        list_sha256: of that file.
        list_digest: names the list's queries and languages, whatever file holds them.
        cap: the most pairs a query selects; None where no cap is promised.
        history: all steps of the run, in order.
        inputs: all input files of the run, in any order.
        input_kind: what they are (`input.kind`).
        config: the resolved settings that affect data; no run path, no credential.

    Raises:
        RefusedError: if ROOT/dataset holds another dataset, or shards would be too large.
        OpenwitError: if a blob or a shard on disk is not what its record says.
    """
    origin = Origin(
        query_counts=query_counts,
        list_path=list_path,
        list_sha256=list_sha256,
        list_digest=list_digest,
        cap=cap,
        history=history,
        inputs=sorted(inputs, key=lambda source: source.name),
        input_kind=input_kind,
        config=config,
    )
    return _write(engine, shards, dataset, deduped, selected, origin)


def _write(
    engine: Engine,
    shards: ShardsSettings,
    dataset: DatasetSettings,
    deduped: StageRecord,
    selected: StageRecord,
    origin: Origin,
) -> StageRecord:
    units = paired_units(deduped, selected)
    counted = engine.run(_count_step(selected, shards), units, [deduped, selected])
    step = _write_step(engine.root, shards, _ranks(counted, shards), origin)
    digest = spec_digest(step, [deduped, selected, counted])
    spec = f"{digest[:12]}-{generation(step, units)}"
    make_way(engine.root, folder_of(step.name, digest), spec, replace=shards.replace)
    for folder in ("", "shards", "ledger"):  # which the engine, that sweeps its own, does not know
        files.sweep(files.join(engine.root, DATASET, folder))
    written = engine.run(step, units, [deduped, selected, counted])
    commit_dataset(
        written,
        spec=spec,
        dataset=dataset,
        origin=origin,
        layout=shards.layout(),
        examples=shards.ledger_examples,
    )
    return written


def _count_step(selected: StageRecord, shards: ShardsSettings) -> MapStep:
    bits = prefix_bits(-(-selected.rows_out // shards.samples_per_shard))
    return MapStep(
        name="shards-count",
        stage="shards",
        version=VERSION,
        parameters={"bits": bits},
        outputs={"part": COUNTS},
        accounts=False,
        kernel=CountPrefixes(bits),
    )


def _ranks(counted: StageRecord, shards: ShardsSettings) -> Ranks:
    """Sum the counts of all parts, and refuse shards that would be too large."""
    bits = int(counted.parameters["bits"])
    rows = np.zeros(1 << bits, np.int64)
    image_bytes = 0
    for path in counted.paths("part"):
        with files.open_read(path) as file:
            table = pq.read_table(file)
        np.add.at(rows, table["prefix"].to_numpy(), table["rows"].to_numpy())
        image_bytes += pc.sum(table["image_bytes"]).as_py() or 0
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(rows)])
    ranks = Ranks(bits, starts, shards.samples_per_shard)
    if ranks.shards * shards.samples_per_shard > MAX_SAMPLES:
        raise RefusedError(
            f"shards.samples_per_shard: {ranks.shards} shards of {shards.samples_per_shard} need "
            f"keys above {MAX_SAMPLES - 1}: choose a divisor of 10^9, or select fewer pairs"
        )
    mean_bytes = image_bytes / max(1, ranks.rows)
    if mean_bytes * min(ranks.rows, shards.samples_per_shard) > shards.max_shard_bytes:
        raise RefusedError(
            f"shards.samples_per_shard: {shards.samples_per_shard} images of {mean_bytes:.0f} "
            f"bytes are more than max_shard_bytes = {shards.max_shard_bytes}: at most "
            f"{max(1, int(shards.max_shard_bytes / mean_bytes))} fit"
        )
    return ranks


def _write_step(root: str, shards: ShardsSettings, ranks: Ranks, origin: Origin) -> ShuffleStep:
    inputs = tuple(source.name for source in origin.inputs)
    return ShuffleStep(
        name="shards",
        stage="shards",
        version=VERSION,
        parameters={
            "samples_per_shard": shards.samples_per_shard,
            "row_group_rows": shards.row_group_rows,
            "zstd_level": shards.zstd_level,
            "dedup_columns": shards.dedup_columns,
            # Samples name their inputs by number, so the list of names is in their bytes.
            "inputs": hashlib.sha256(canonical_json(inputs)).hexdigest(),
        },
        outputs={},
        accounts=False,
        kernel=WriteShard(
            root=root,
            layout=shards.layout(),
            ranks=ranks,
            inputs=inputs,
            window_bytes=shards.window_bytes,
            read_concurrency=shards.read_concurrency,
            gap_bytes=shards.coalesce_gap_bytes,
        ),
        buckets=max(1, ranks.shards),
        sort_keys={"row": ["pair_id"]},
        schemas={"row": SELECTED},
    )
