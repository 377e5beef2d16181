"""One whole run in this process, on the engine or in a plain loop.

`python -m benchmarks.engine_run CONFIG engine|loop UNTIL [SETTING...]` prints JSON: what each step
took, and the process.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.engine_rows import MadeUpWeb
from benchmarks.harness import cpu_seconds, peak_bytes
from pipeline.config import LoadedConfig, load_config
from pipeline.engine.context import Engine
from pipeline.engine.driver import open_driver
from pipeline.engine.runs import Meter, used_cpu_seconds
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep, ShuffleStep
from pipeline.engine.units import Unit
from pipeline.fetch.web import WebKernel
from pipeline.inputs import file_digests, input_units
from pipeline.planning.plain import PlainEngine
from pipeline.query_list import prepare_list
from pipeline.workflow import walk


@dataclasses.dataclass
class TimedEngine:
    """An engine that keeps what each step took, and lets made-up answers stand for the web's."""

    inner: Engine
    steps: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def root(self) -> str:
        """See `Engine.root`."""
        return self.inner.root

    @property
    def bucket_bytes(self) -> int:
        """See `Engine.bucket_bytes`."""
        return self.inner.bucket_bytes

    @property
    def records(self) -> list[StageRecord]:
        """See `Engine.records`."""
        return self.inner.records

    def run(
        self,
        step: MapStep | ShuffleStep,
        units: Sequence[Unit],
        upstream: Sequence[StageRecord] = (),
    ) -> StageRecord:
        """Run a step; see `Engine.run`."""
        if isinstance(step, ShuffleStep) and isinstance(step.kernel, WebKernel):
            step = dataclasses.replace(step, kernel=MadeUpWeb(**vars(step.kernel)))
        made: list[StageRecord] = []
        begun = time.monotonic()
        cpu_s = cpu_seconds(lambda: made.append(self.inner.run(step, units, upstream)))
        took = {
            "step": step.name,
            "is_map": isinstance(step, MapStep),
            "units": len(units),
            "rows": made[0].rows_in,
            "cpu_s": cpu_s,
            "seconds": time.monotonic() - begun,
        }
        self.steps.append(took)
        return made[0]


def run(path: str, kind: str, until: str, *overrides: str) -> dict[str, Any]:
    """Run the stages up to one, and return what each step and the process took."""
    loaded = load_config(path, overrides)
    if kind == "loop":
        engine = TimedEngine(PlainEngine(loaded.root))
        _walk(engine, loaded, until)
    else:
        with open_driver(loaded.root, loaded.settings.engine) as driver:
            engine = TimedEngine(driver)
            _walk(engine, loaded, until)
    peak = max(peak_bytes(), Meter().read()["peak_worker_bytes"])
    return {
        "steps": engine.steps,
        "cpu_s": used_cpu_seconds(),
        "peak_gib": peak / 2**30,
    }


def _walk(engine: Engine, loaded: LoadedConfig, until: str) -> None:
    settings, root = loaded.settings, loaded.root
    units = input_units(settings.input, loaded.folder, root)
    queries = prepare_list(loaded.queries, root, lambda paths: file_digests(paths, root))
    for stage in walk(engine, loaded, queries, units, ()):
        if stage == until:
            break


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(*sys.argv[1:])) + "\n")
