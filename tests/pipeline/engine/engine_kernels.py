"""Small kernels in an importable module, as worker processes need them."""

import dataclasses
import hashlib
import os
import pathlib
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.engine import files
from pipeline.engine.driver import open_driver
from pipeline.engine.options import EngineSettings
from pipeline.engine.parts import Sink, drop_rows, read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep, Packet, ShuffleStep
from pipeline.engine.units import Source, Unit

ROWS = pa.schema([pa.field("key", pa.binary(16), nullable=False), ("number", pa.int64())])
BUCKETS = 4
COUNTS = (100, 0, 5000, 37, 12)
"""Rows of the usual units."""
REPOSITORY = pathlib.Path(__file__).parents[3]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MakeRows:
    """Makes as many rows as the unit's file says; every tenth is dropped."""

    note: str = "x"
    fail_on: str = ""
    die_once: str = ""
    seconds: float = 0.0

    def run(self, unit: Unit, sink: Sink) -> None:
        source = unit.sources[0]
        time.sleep(self.seconds)
        if self.fail_on == source.name:
            raise RuntimeError(f"{source.name} is not readable")
        if self.die_once and source.name == "in-1":
            marker = pathlib.Path(self.die_once)
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        count = int(files.read_bytes(source.path))
        numbers = np.arange(count, dtype=np.int64)
        seed = int(unit.id, 16)
        keys = [
            (seed * 1_000_003 + n * 2_654_435_761).to_bytes(24, "big")[-16:] for n in range(count)
        ]
        sink.rows_in(count)
        keep = numbers % 10 != 0
        batch = pa.record_batch([pa.array(keys, pa.binary(16)), pa.array(numbers)], schema=ROWS)
        sink.write(batch.filter(pa.array(keep)))
        sink.drop(
            drop_rows(
                "make",
                [
                    {"pair_id": keys[n], "reason": "no_text", "value": str(n)}
                    for n in np.flatnonzero(~keep).tolist()
                ],
            )
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SortRows:
    """Brings all rows in the order of their keys."""

    buckets: int
    fail_on_bucket: int = -1
    lose: bool = False

    def emit(self, unit: Unit) -> Iterable[Packet]:
        source = unit.source("part")
        assert source is not None
        for batch in read_batches(source.path):
            # the low bits: `top_bits` would send these keys to one bucket
            keys = np.frombuffer(b"".join(batch["key"].to_pylist()), np.uint8).reshape(-1, 16)
            yield Packet("rows", (keys[:, -1] % self.buckets).astype(np.int64), batch)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        if bucket == self.fail_on_bucket:
            raise ValueError("this bucket cannot be made")
        table = tables["rows"]
        sink.rows_in(table.num_rows + (1 if self.lose else 0))
        for batch in table.to_batches():
            sink.write(batch)


def make_step(**settings: object) -> MapStep:
    kernel = MakeRows(**settings)  # type: ignore[arg-type]
    return MapStep(
        name="make",
        stage="make",
        version=1,
        parameters={"note": kernel.note},
        outputs={"part": ROWS},
        kernel=kernel,
    )


def sort_step(buckets: int = BUCKETS, **settings: object) -> ShuffleStep:
    return ShuffleStep(
        name="sort",
        stage="sort",
        version=1,
        parameters={},
        outputs={"part": ROWS},
        kernel=SortRows(buckets=buckets, **settings),  # type: ignore[arg-type]
        buckets=buckets,
        sort_keys={"rows": ["key", "number"]},
        schemas={"rows": ROWS},
    )


def make_units(folder: pathlib.Path, counts: Iterable[int]) -> list[Unit]:
    folder.mkdir(exist_ok=True)
    units = []
    for index, count in enumerate(counts):
        path = folder / f"in-{index}"
        path.write_text(str(count))
        source = Source(
            role="input",
            path=str(path),
            name=path.name,
            bytes=path.stat().st_size,
            sha256=files.sha256_of(str(path)),
        )
        units.append(Unit(id=f"{index:016x}", sources=(source,)))
    return units


def settings(mode: str, **values: object) -> EngineSettings:
    return EngineSettings(mode=mode, workers=2, **values)  # type: ignore[arg-type]


def run_both(
    root: pathlib.Path,
    units: Sequence[Unit],
    mode: str = "memory",
    make: MapStep | None = None,
    *,
    pool: str = "",
    options: Mapping[str, Any] | None = None,
) -> StageRecord:
    """Run both steps; return the record of the second."""
    with open_driver(str(root), settings(mode, pool=pool), options=options) as engine:
        made = engine.run(make or make_step(), units)
        return engine.run(sort_step(), made.next_units("part"), [made])


def tree(root: pathlib.Path) -> dict[str, str]:
    """All files of a ROOT but those of `runs/`, with their digests."""
    paths = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.relative_to(root).parts[0] != "runs"
    }
