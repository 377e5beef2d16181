"""Single jobs of the engine: a packed shuffle beside Beam's own, and a run with nothing to do."""

import dataclasses
import functools
import pathlib
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa

from benchmarks.engine_rows import write_job
from benchmarks.harness import alternate, cpu_seconds
from manifests.base.console import quiet_logs
from pipeline.engine.driver import open_driver
from pipeline.engine.options import EngineSettings
from pipeline.engine.parts import Sink
from pipeline.engine.steps import Packet, ShuffleStep, top_bits
from pipeline.engine.units import Unit

KEY_BYTES, VALUE_BYTES = 16, 8
ROWS = pa.schema(
    [
        pa.field("key", pa.binary(KEY_BYTES), nullable=False),
        pa.field("value", pa.binary(VALUE_BYTES), nullable=False),
    ]
)
BATCH_ROWS = 8192
BUCKETS = 4
LIST_ROWS = 10
"""Rows of a unit of the run that has nothing to do."""


def _columns(rows: int) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield keys and values of batches, each laid end to end, and their number.

    Keys are drawn with replacement, one for a row.
    """
    random = np.random.default_rng(1)
    for start in range(0, rows, BATCH_ROWS):
        count = min(BATCH_ROWS, rows - start)
        keys = random.integers(0, rows, count, np.uint64)
        keys *= np.uint64(0x9E3779B97F4A7C15)  # odd, so different keys stay so, and spread
        both = np.stack([keys.astype(">u8"), keys.astype(">u8")], axis=1)
        yield both.tobytes(), np.arange(start, start + count).tobytes(), count


@dataclasses.dataclass(frozen=True)
class _Packed:
    """Makes rows, and sorts those of a bucket; nothing is written but the bucket's record."""

    rows: int

    def emit(self, unit: Unit) -> Iterable[Packet]:
        for keys, values, count in _columns(self.rows):
            arrays = [
                pa.Array.from_buffers(field.type, count, [None, pa.py_buffer(data)])
                for field, data in zip(ROWS, (keys, values), strict=True)
            ]
            batch = pa.RecordBatch.from_arrays(arrays, schema=ROWS)
            yield Packet("row", top_bits(batch["key"], BUCKETS), batch)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        sink.note("rows", tables["row"].num_rows)


def _shuffle_packed(folder: pathlib.Path, rows: int) -> int:
    step = ShuffleStep(
        name="packed",
        stage="packed",
        version=1,
        parameters={},
        outputs={},
        accounts=False,
        kernel=_Packed(rows),
        buckets=BUCKETS,
        sort_keys={"row": ROWS.names},
        schemas={"row": ROWS},
    )
    settings = EngineSettings(mode="memory")
    with open_driver(str(folder), settings, force="packed", bar=False) as engine:
        record = engine.run(step, [Unit(id="all", sources=())])
    return sum(unit.notes["rows"] for unit in record.units)


def _pairs(rows: int) -> Iterator[tuple[bytes, bytes]]:
    for keys, values, count in _columns(rows):
        for row in range(count):
            yield (
                keys[row * KEY_BYTES : (row + 1) * KEY_BYTES],
                values[row * VALUE_BYTES : (row + 1) * VALUE_BYTES],
            )


def _sorted(group: tuple[bytes, Iterable[bytes]]) -> None:
    sorted(group[1])


def _shuffle_single(rows: int) -> None:
    with quiet_logs():
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        from pipeline.engine.jobs.runner import make_runner
    options = PipelineOptions(flags=[])
    with beam.Pipeline(runner=make_runner(options, 0), options=options) as pipeline:
        _ = (
            pipeline
            | beam.Create([rows], reshuffle=False)
            | beam.FlatMap(_pairs).with_output_types(tuple[bytes, bytes])
            | beam.GroupByKey()
            | beam.Map(_sorted)
        )


def shuffles(folder: pathlib.Path, rows: int, rounds: int) -> dict[str, float]:
    """Return the CPU seconds of a shuffle of 24-byte rows, packed and as single elements.

    What a shuffle of one row takes, as any job does, is taken off.
    """
    packed = functools.partial(_shuffle_packed, folder / "packed")
    works = {
        f"{name} {count}": functools.partial(work, count)
        for name, work in (("packed", packed), ("single", _shuffle_single))
        for count in (1, rows)
    }
    took = alternate(works, rounds)
    return {name: took[f"{name} {rows}"] - took[f"{name} 1"] for name in ("packed", "single")}


def again_seconds(folder: pathlib.Path, units: int, rounds: int) -> float:
    """Return the CPU seconds of a run's command when all its units are done; it loads no Beam.

    Raises:
        AssertionError: if it does.
    """
    config = write_job(folder / f"again-{units}", units * LIST_ROWS, units)
    words = ["-m", "pipeline", "run", config, "--until", "extract"]
    _call(*words)
    if "apache_beam" in _call("-X", "importtime", *words):
        raise AssertionError("a run that has nothing to do has loaded Beam")
    return min(cpu_seconds(lambda: _call(*words)) for _ in range(rounds))


def _call(*words: str) -> str:
    command = [sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stderr
