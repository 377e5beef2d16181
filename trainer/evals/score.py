"""CLIP scores: how near a sample's image and text are, one Parquet file a shard."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from manifests.base import storage
from manifests.base.console import progress
from manifests.base.errors import OpenwitError, RefusedError
from manifests.format.manifest import Manifest
from manifests.format.records import ShardRecord
from trainer.data.requests import Samples
from trainer.data.shards import DataConfig, read_shard
from trainer.distributed import ALONE, Ranks
from trainer.evals.features import Encoded, chunks_of, encode
from trainer.evals.measure import write_parquet
from trainer.model.towers import Model

KIND = "openwit-scores"
OK = "ok"
BATCH = 256
ORIGIN = b"openwit.scores"
"""Key of a file's metadata: what was scored by what."""
SCHEMA = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("clip_score", pa.float32()),
        pa.field("status", pa.string(), nullable=False),
    ]
)
PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
BINS = 20_000
"""Of the histogram that percentiles are read from: so they are exact to 0.0001."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ScoreJob:
    """A dataset, and the model that scores it."""

    manifest: Manifest
    model: Model
    data: DataConfig
    facts: Mapping[str, Any]
    """Which model this is; `weights_sha256` among them."""

    def origin(self, shard: ShardRecord) -> bytes:
        """Return what makes the scores of a shard the ones of this job."""
        value = {
            "shard": shard.tar.sha256,
            "rows": shard.parquet.sha256,
            "weights": self.facts["weights_sha256"],
            "model": self.facts["model"],
        }
        return json.dumps(value).encode()


def score_dataset(
    job: ScoreJob, output: str, *, batch: int, chosen: frozenset[int], ranks: Ranks = ALONE
) -> dict[str, Any]:
    """Score the chosen shards that are not scored yet; sum up when all of the dataset are.

    Args:
        job: what to do.
        output: a folder.
        batch: samples that go through the towers together.
        chosen: ids of shards.
        ranks: share out the shards; all call this together, and each returns the same.

    Returns:
        `scored` and `found`, shards; `missing`, the ids of those without scores; and `summary`, the
        content of scores.json, or None while some are missing.

    Raises:
        RefusedError: if the folder holds scores of another model or dataset.
        OpenwitError: if a shard has gone away.
    """
    if batch < 1:
        raise RefusedError(f"--batch {batch}: must be at least 1")
    every = job.manifest.shards
    # Seen once for all, before any of them writes.
    done = ranks.first(lambda: {shard.id for shard in every if _is_done(job, output, shard)})
    todo = [shard for shard in every if shard.id in chosen - done]
    _score(job, output, todo[ranks.rank :: ranks.world], batch)
    ranks.wait_for_all(f"scored {job.manifest.digest}")
    missing = [shard.id for shard in every if shard.id not in done | {each.id for each in todo}]
    return {
        "scored": len(todo),
        "found": len(done & chosen),
        "missing": missing,
        "summary": None if missing else ranks.first(lambda: _write_summary(job, output, batch)),
    }


def _score(job: ScoreJob, output: str, shards: list[ShardRecord], batch: int) -> None:
    with progress("score", sum(shard.samples for shard in shards)) as shown:
        rows = 0
        for shard, table in _tables(job, shards, batch):
            marked = table.replace_schema_metadata({ORIGIN: job.origin(shard)})
            write_parquet(_path(output, shard), marked)
            rows += len(table)
            shown.update(rows, rows)


def _write_summary(job: ScoreJob, output: str, batch: int) -> dict[str, Any]:
    summary = _summary(job, output, batch)
    data = json.dumps(summary, indent=1).encode() + b"\n"
    storage.write_atomic(storage.join(output, "scores.json"), data)
    return summary


def _tables(
    job: ScoreJob, shards: list[ShardRecord], batch: int
) -> Iterator[tuple[ShardRecord, pa.Table]]:
    """Yield the scores of each shard; chunks never cross shards, so a resume cuts them equally."""
    yield from ((shard, SCHEMA.empty_table()) for shard in shards if not shard.samples)

    def chunks() -> Iterator[tuple[int, Samples]]:
        for shard in shards:
            for rows in chunks_of(shard, read_shard(job.manifest, shard), batch):
                yield shard.id, rows

    by_id = {shard.id: shard for shard in shards}
    parts = list[pa.Table]()
    for encoded in encode(chunks(), job.model, job.data):
        shard = by_id[encoded.number]
        parts.append(_scores(encoded))
        if sum(map(len, parts)) == shard.samples:
            yield shard, pa.concat_tables(parts)
            parts = []


def _scores(encoded: Encoded) -> pa.Table:
    table = next(iter(encoded.rows.tables.values()))
    places = pa.array(encoded.rows.row)
    cosines = (encoded.images * encoded.texts).sum(1).numpy().astype(np.float32)
    is_bad = np.array([bool(reason) for reason in encoded.reasons])
    columns = [
        table.pair_ids.take(places),
        pa.array(table.keys[encoded.rows.row].tolist(), pa.string()),
        pa.array(cosines, mask=is_bad),
        pa.array([reason or OK for reason in encoded.reasons], pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _path(output: str, shard: ShardRecord) -> str:
    return storage.join(output, f"scores-{shard.id:08d}.parquet")


def _is_done(job: ScoreJob, output: str, shard: ShardRecord) -> bool:
    path = _path(output, shard)
    if storage.size_bytes(path) is None:
        return False
    try:
        with storage.open_read(path) as file:
            metadata = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise OpenwitError(f"{path}: cannot be read: {error}: remove it") from None
    if metadata.get(ORIGIN) != job.origin(shard):
        raise RefusedError(
            f"{path}: scores of another model or another content of the shard: choose another "
            "--output, or remove them"
        )
    return True


def _summary(job: ScoreJob, output: str, batch: int) -> dict[str, Any]:
    """Read all scores once, a shard at a time, and return what scores.json holds."""
    histogram, status = np.zeros(BINS, np.int64), dict[str, int]()
    for shard in job.manifest.shards:
        with storage.open_read(_path(output, shard)) as file:
            table = pq.read_table(file, columns=["clip_score", "status"])
        histogram += _histogram(table["clip_score"].drop_null().to_numpy())
        for value in table["status"].value_counts().to_pylist():
            status[value["values"]] = status.get(value["values"], 0) + value["counts"]
    return {
        "kind": KIND,
        "schema_version": 1,
        "dataset": job.manifest.digest,
        **job.facts,
        "image_px": job.model.image_px,
        "batch": batch,
        "rows": sum(status.values()),
        "status": dict(sorted(status.items())),
        "percentiles": percentiles(histogram),
    }


def _histogram(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    bins = np.floor((scores.astype(np.float64) + 1) * (BINS / 2)).astype(np.int64)
    return np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)


def percentiles(histogram: NDArray[np.int64]) -> dict[str, float]:
    """Return at which score so many of 100 are reached; nothing without a score.

    Args:
        histogram: scores from -1 to 1 in `BINS` equal bins.
    """
    total = int(histogram.sum())
    reached = np.cumsum(histogram)
    if not total:
        return {}
    return {
        str(percent): round(int(np.searchsorted(reached, percent / 100 * total)) * 2 / BINS - 1, 4)
        for percent in PERCENTILES
    }
