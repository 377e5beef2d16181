"""The Beam job of a shuffle step: units emit packed blocks, each bucket is reduced by one call."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.engine import files
from pipeline.engine.jobs.attempts import Job, packed_path
from pipeline.engine.jobs.blocks import pack, unpack
from pipeline.engine.jobs.map_job import as_elements
from pipeline.engine.jobs.spill import open_spill, read_spilled
from pipeline.engine.stage_dir import bucket_ids, generation, sent_path
from pipeline.engine.steps import ShuffleStep
from pipeline.engine.units import Unit, canonical_json
from pipeline.engine.work import reduce_bucket

FAILED = b"failed"
"""Goes to every bucket when a unit could not emit: no bucket may be made without its rows."""
LARGEST_BUCKET = 8
"""A bucket may hold this many times `bucket_bytes`."""


def build_shuffle(
    pipeline: beam.Pipeline,
    job: Job,
    units: Sequence[Unit],
    buckets: Sequence[int],
    *,
    spread: bool = True,
) -> None:
    """Put a shuffle step on a pipeline.

    Args:
        pipeline: an empty one.
        job: the step and what its workers need to know.
        units: all that emit.
        buckets: the numbers of those to make.
        spread: whether more than one process may work on the units.
    """
    step = _shuffle_step(job)
    _ = (
        as_elements(pipeline, units, b"", spread=spread)  # b"": for buckets that get no row
        | "Emit" >> beam.ParDo(_Emit(job, tuple(buckets), generation(step, units)))
        | "Group" >> beam.GroupByKey()
        | "Reduce" >> beam.ParDo(_Reduce(job, tuple(bucket_ids(step, units))))
    )


class _Emit(beam.DoFn):
    def __init__(self, job: Job, buckets: tuple[int, ...], generation: str) -> None:
        self._job = job
        self._buckets = frozenset(buckets)
        self._generation = generation

    def setup(self) -> None:
        self._job.prepare_worker()

    def process(self, element: bytes) -> Iterator[tuple[int, bytes]]:
        if not element:
            yield from ((bucket, b"") for bucket in sorted(self._buckets))
            return
        step = _shuffle_step(self._job)
        unit = Unit.from_bytes(element)
        blocks: list[tuple[int, bytes]] = []
        if self._job.attempt(unit.id, lambda: self._emit(step, unit, blocks)):
            yield from blocks
        else:
            yield from ((bucket, FAILED) for bucket in sorted(self._buckets))

    def _emit(self, step: ShuffleStep, unit: Unit, blocks: list[tuple[int, bytes]]) -> None:
        blocks.clear()  # of an attempt before
        sent = {tag: np.zeros(step.buckets, np.int64) for tag in step.schemas}
        packed_bytes = 0
        folder = files.join(self._job.root, self._job.folder)
        spill = open_spill(folder) if self._job.spills else contextlib.nullcontext(bytes)
        with spill as put:
            for bucket, block in pack(step.kernel.emit(unit), unit.id, step.schemas, sent):
                packed_bytes += len(block)
                if bucket in self._buckets:
                    blocks.append((bucket, put(block)))
        path = sent_path(self._job.root, self._job.folder, unit.id, self._generation)
        counts = {tag: rows.tolist() for tag, rows in sent.items()}
        files.write_atomic(path, canonical_json(counts))
        # It depends on how rows were cut into batches, so it is nothing to commit.
        path = packed_path(self._job.log, step.name, unit.id)
        files.write_atomic(path, canonical_json(packed_bytes))


class _Reduce(beam.DoFn):
    def __init__(self, job: Job, ids: tuple[str, ...]) -> None:
        self._job = job
        self._ids = ids

    def setup(self) -> None:
        self._job.prepare_worker()

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterable[None]:
        bucket, received = element
        blocks = list(received)
        if FAILED not in blocks:
            self._job.attempt(self._ids[bucket], lambda: self._reduce(bucket, blocks))
        return ()

    def _reduce(self, bucket: int, blocks: list[bytes]) -> None:
        job, step = self._job, _shuffle_step(self._job)
        most_bytes = LARGEST_BUCKET * job.bucket_bytes
        there = read_spilled(filter(None, blocks), files.join(job.root, job.folder))
        batches = unpack(there, step, most_bytes, f"{step.name} bucket {bucket}")
        # Nothing here refers to the rows while the kernel works.
        tables = {
            tag: pa.Table.from_batches(batches.pop(tag)) for tag in tuple(batches) if batches[tag]
        }
        unit = Unit(id=self._ids[bucket], sources=())
        reduce_bucket(step, job.spec, bucket, unit, tables, job.root, job.max_error_rate)


def _shuffle_step(job: Job) -> ShuffleStep:
    if not isinstance(job.step, ShuffleStep):
        raise TypeError(f"{job.step.name} is not a shuffle step")
    return job.step
