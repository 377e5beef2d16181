"""The engine: finds what is missing of a step, runs it as one Beam job, checks the sums, commits.

Beam is imported only when there is something to do.
"""

import contextlib
import dataclasses
import functools
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from manifests.base.console import Progress, bytes_text, progress, quiet_logs, say
from manifests.base.errors import OpenwitError
from pipeline.engine import files
from pipeline.engine.accounting import check_shuffle
from pipeline.engine.jobs.attempts import Job, failures_error
from pipeline.engine.jobs.fork_server import running_server
from pipeline.engine.jobs.reach import check_reachable
from pipeline.engine.options import EngineSettings, worker_count
from pipeline.engine.runs import Meter, Run, open_run
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.state import StepState
from pipeline.engine.steps import MapStep, ShuffleStep
from pipeline.engine.units import Unit, UnitRecord

SMALL_SHUFFLE_BYTES = 64 << 20
"""`auto` starts no worker processes for a shuffle of fewer bytes; provisional."""
SMALL_MAP_BYTES = 256 << 20
"""`auto` starts none at once for a map step of fewer bytes: 5 CPU-s of `extract`; provisional."""
TRIAL_SECONDS = 4.0
"""`auto` begins small map steps in this process and starts workers for what is left after this."""
POLL_SECONDS = 0.5
REMOTE_POLL_SECONDS = 10.0
"""Each look at a record on an object store is a request."""


@dataclasses.dataclass(kw_only=True)
class Driver:
    """The `Engine` of `pipeline.engine.context`, on Beam; made by `open_driver`."""

    root: str
    settings: EngineSettings
    log: Run
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Further Beam options."""
    force: str = ""
    """A stage whose records are forgotten before its steps run."""
    only: str = ""
    """If set, only this stage may have work to do; the others must be committed."""
    bar: bool | None = None
    """Whether progress is a bar; None: on a terminal."""
    records: list[StageRecord] = dataclasses.field(default_factory=list)
    """The steps committed or found so far, in their order."""

    @property
    def bucket_bytes(self) -> int:
        """Target payload of one shuffle bucket."""
        return self.settings.bucket_bytes

    def run(
        self,
        step: MapStep | ShuffleStep,
        units: Sequence[Unit],
        upstream: Sequence[StageRecord] = (),
    ) -> StageRecord:
        """Run what is missing of a step and return it committed; see `Engine.run`."""
        meter = Meter()
        state = StepState(self.root, step, units, upstream)
        if self.force == step.stage:
            state.forget()
        record = state.committed()
        reused = len(state.wanted) if record else 0
        if record is None:
            if self.only and step.stage != self.only:
                raise OpenwitError(
                    f"{step.name}: not committed in {self.root}: run the stages before "
                    f"{self.only} first, with --until {step.stage}"
                )
            reused, record = self._complete(state)
            say(_summary(record, meter))
        self.log.add(
            {
                "step": step.name,
                "folder": record.folder,
                "units": len(record.units),
                "reused": reused,
                "shuffle_bytes": state.shuffle_bytes(self.log.folder)
                if reused < len(state.wanted)
                else 0,
                **meter.read(),
            }
        )
        self.records.append(record)
        return record

    def _complete(self, state: StepState) -> tuple[int, StageRecord]:
        files.sweep(files.join(self.root, state.folder))
        before = state.valid()
        with _shown(state, before, self.bar):
            self._run_missing(state, before)
        done = state.valid()
        failures = state.failures(self.log.folder, done)
        skipping = self.settings.on_unit_failure == "skip" and isinstance(state.step, MapStep)
        if failures and not skipping:
            raise failures_error(state.step, failures, len(state.wanted))
        missing = [unit for unit in state.wanted if unit not in done]
        if len(missing) > len(failures):
            raise OpenwitError(
                f"{state.step.name}: {len(missing)} of {len(state.wanted)} units have no record "
                f"after the job, {missing[0]} among them: see {self.log.folder}"
            )
        for failure in failures:
            say(f"warning: {state.step.name} unit {failure.unit}: skipped: {failure.message}")
        if isinstance(state.step, ShuffleStep):
            check_shuffle(state.step, state.sent() or [], [done[unit] for unit in state.wanted])
        return len(before), state.commit(done)

    def _run_missing(self, state: StepState, done: Mapping[str, UnitRecord]) -> None:
        step = state.step
        job = Job(
            step=step,
            spec=state.spec,
            root=self.root,
            log=self.log.folder,
            max_error_rate=self.settings.max_error_rate,
            bucket_bytes=self.settings.bucket_bytes,
            batch_rows=self.settings.batch_rows,
            spills=files.is_local(self.root) and "runner" not in self.options,
        )
        if isinstance(step, ShuffleStep):
            buckets = [number for number, unit in enumerate(state.wanted) if unit not in done]
            if buckets or state.sent() is None:
                workers = self._workers(state.units, buckets=len(buckets))
                try:
                    self._beam(job, workers, state.units, buckets=buckets)
                finally:  # whoever still writes, after an error, cannot commit any more
                    files.sweep(files.join(self.root, state.folder))
            return
        todo = [unit for unit in state.units if unit.id not in done]
        if todo and self._may_try(todo):
            self._beam(job, 0, todo, seconds=TRIAL_SECONDS)
            over = state.valid()
            failed = {failure.unit for failure in state.failures(self.log.folder, over)}
            todo = [unit for unit in todo if unit.id not in over and unit.id not in failed]
        if todo:
            self._beam(job, self._workers(todo, tried=True), todo)

    def _may_try(self, units: Sequence[Unit]) -> bool:
        """Tell whether `auto` begins a map step in this process, to see how long it is."""
        small = sum(unit.input_bytes for unit in units) < SMALL_MAP_BYTES
        is_auto = self.settings.mode == "auto" and "runner" not in self.options
        return is_auto and small and self._workers(units, tried=True) > 0

    def _workers(self, units: Sequence[Unit], *, tried: bool = False, buckets: int = 0) -> int:
        """Return how many worker processes a job gets, none idle; 0 stands for this process."""
        if self.settings.mode == "memory":
            return 0
        workers = min(worker_count(self.settings), max(len(units), buckets))
        if self.settings.mode in ("processes", "pool"):
            return max(1, workers)
        large = tried or sum(unit.input_bytes for unit in units) >= SMALL_SHUFFLE_BYTES
        return workers if large and workers > 1 else 0

    def _beam(
        self,
        job: Job,
        workers: int,
        units: Sequence[Unit],
        *,
        buckets: Sequence[int] = (),
        seconds: float | None = None,
    ) -> None:
        if workers and not self.settings.pool and "runner" not in self.options:
            running_server()  # it loads Beam on one core while this process does on another
        with quiet_logs():
            from pipeline.engine.jobs.map_job import build_map
            from pipeline.engine.jobs.runner import run_job
            from pipeline.engine.jobs.shuffle_job import build_shuffle
        spread = workers > 0 or "runner" in self.options
        if isinstance(job.step, MapStep):
            build = functools.partial(
                build_map, job=job, units=units, seconds=seconds, spread=spread
            )
        else:
            build = functools.partial(
                build_shuffle, job=job, units=units, buckets=buckets, spread=spread
            )
        try:
            run_job(build, workers=workers, pool=self.settings.pool, options=self.options)
        except OpenwitError as error:
            raise OpenwitError(f"{job.step.name}: {error}") from None
        except Exception as error:
            path = files.join(self.log.folder, f"{job.step.name}-job.txt")
            files.write_atomic(path, traceback.format_exc().encode())
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise OpenwitError(f"{job.step.name}: the job failed: {last}: see {path}") from error


@contextlib.contextmanager
def open_driver(
    root: str,
    settings: EngineSettings,
    *,
    options: Mapping[str, Any] | None = None,
    force: str = "",
    only: str = "",
    bar: bool | None = None,
) -> Iterator[Driver]:
    """Take ROOT for this process and give the engine that works in it.

    Raises:
        RefusedError: if another process is at work in ROOT, it cannot be written, or what is to run
            the jobs does not answer.
    """
    check_reachable(root, settings.pool, options or {})
    with open_run(root) as log:
        yield Driver(
            root=root,
            settings=settings,
            log=log,
            options=options or {},
            force=force,
            only=only,
            bar=bar,
        )


@contextlib.contextmanager
def _shown(state: StepState, done: Mapping[str, UnitRecord], bar: bool | None) -> Iterator[None]:
    """Show how far a step is, from the records that appear under the names it must have."""
    ended = threading.Event()
    with progress(state.step.name, len(state.wanted), bar=bar) as shown:
        watcher = threading.Thread(target=_poll, args=(state, done, shown, ended), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def _poll(
    state: StepState, done: Mapping[str, UnitRecord], shown: Progress, ended: threading.Event
) -> None:
    seen = {unit: record.rows_in for unit, record in done.items()}
    pause = POLL_SECONDS if files.is_local(state.root) else REMOTE_POLL_SECONDS
    while not ended.wait(pause):
        for unit in state.wanted:
            record = None if unit in seen else state.record(unit)
            if record is not None and record.spec == state.spec:
                seen[unit] = record.rows_in
        shown.update(len(seen), sum(seen.values()))


def _summary(record: StageRecord, meter: Meter) -> str:
    used = meter.read()
    drops = ", ".join(f"{reason} {count:,}" for reason, count in record.drops.items())
    rows = f"{record.rows_in:,} in, {record.rows_out:,} out" if record.accounts else ""
    memory = max(used["peak_bytes"], used["peak_worker_bytes"])
    parts = [
        rows or f"{len(record.units)} units",
        *([f"dropped {drops}"] if drops else []),
        f"{used['seconds']:.1f} s, {used['cpu_seconds']:.1f} CPU-s, {bytes_text(memory)}",
    ]
    return f"{record.step}: {'; '.join(parts)}"
