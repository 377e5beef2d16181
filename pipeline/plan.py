"""What a run would do and cost, from what is committed and from the size of its inputs."""

import dataclasses
import math
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from manifests.base.console import bytes_text
from manifests.base.errors import RefusedError
from pipeline.engine import files
from pipeline.engine.options import available_bytes
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.state import StepState
from pipeline.engine.steps import MapStep, ShuffleStep
from pipeline.engine.units import Unit
from pipeline.planning.rates import RATES, Rate
from pipeline.selection.forecast import CapForecast
from pipeline.sites import SiteForecast

STAGES = ("extract", "match", "preselect", "fetch", "dedup", "balance", "shards")
MEMORY_SHARE = 0.8
"""Share of the free memory that a run may need."""
SHUFFLE_MEMORY = 4.9
"""Bytes of a process per byte that a shuffle sends through it (measured, Beam 2.77.0). Below a
local ROOT rows wait in files, and none holds more than a bucket."""
BASE_BYTES = 400 << 20
"""Of a process that has loaded Beam, pyarrow and a query automaton; measured."""


WORKER_SECONDS = 2.0
"""CPU that a worker process takes before it does anything (measured)."""
LONG_SECONDS = 4.0
"""Stages that take longer get worker processes, if the run may have some."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage of a plan."""

    stage: str
    is_done: bool
    units_to_do: int | None
    """Of the step that comes next; None for steps behind it, whose units depend on it."""
    units_to_reuse: int
    rows_in: int
    rows_out: int
    shuffle_bytes: int
    memory_bytes: int
    """Of the largest process."""
    disk_bytes: int
    """That the stage adds below ROOT."""
    cpu_seconds: float
    basis: str
    """Where the numbers come from: `committed`, `sampled` from the inputs, or `estimated`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """All stages of a run, and what stands against it."""

    stages: tuple[StagePlan, ...]
    refusals: tuple[str, ...]
    """Each says what is too large, how large it may be, and the way out."""
    caps: tuple[CapForecast, ...] = ()
    """What some caps would keep, once `match` is committed."""
    sites: tuple[SiteForecast, ...] = ()
    """The largest sites that `fetch` would ask, once `preselect` is committed."""
    notes: tuple[str, ...] = ()
    """What is worth knowing before, and stands against nothing."""

    def refuse(self) -> None:
        """Raise if the run cannot finish.

        Raises:
            RefusedError: with all refusals, one a line.
        """
        if self.refusals:
            raise RefusedError("\n".join(self.refusals))

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            "kind": "openwit-plan",
            "ok": not self.refusals,
            "stages": [dataclasses.asdict(stage) for stage in self.stages],
            "refusals": list(self.refusals),
            "caps": [dataclasses.asdict(cap) for cap in self.caps],
            "sites": [dataclasses.asdict(site) for site in self.sites],
            "notes": list(self.notes),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class MissingStep:
    """The first step of a walk that is not committed."""

    stage: str
    units_to_do: int
    units_to_reuse: int
    rows_in: int | None
    """Rows of its sources; None if they are raw input."""


class NotCommittedError(Exception):
    """Ends a walk through committed steps."""

    def __init__(self, missing: MissingStep) -> None:
        """Carry what is missing."""
        super().__init__(missing)
        self.missing = missing


@dataclasses.dataclass
class CommittedSteps:
    """An `Engine` that does no work: it returns committed steps, and ends at the first other."""

    root: str
    bucket_bytes: int
    records: list[StageRecord] = dataclasses.field(default_factory=list)

    def run(
        self,
        step: MapStep | ShuffleStep,
        units: Sequence[Unit],
        upstream: Sequence[StageRecord] = (),
    ) -> StageRecord:
        """Return the step as committed; see `Engine.run`.

        Raises:
            NotCommittedError: if it is not.
        """
        state = StepState(self.root, step, units, upstream)
        record = state.committed()
        if record is None:
            is_raw = any(not unit.step for unit in units)
            # An input that was never read has no digest yet, and so no record.
            read = [unit for unit in units if all(source.sha256 for source in unit.sources)]
            reused = len(StepState(self.root, step, read, upstream).valid())
            raise NotCommittedError(
                MissingStep(
                    stage=step.stage,
                    units_to_do=len(state.wanted) - reused,
                    units_to_reuse=reused,
                    rows_in=None
                    if is_raw
                    else sum(source.rows for unit in units for source in unit.sources),
                )
            )
        self.records.append(record)
        return record


def predict(
    stages: Sequence[str],
    records: Sequence[StageRecord],
    *,
    missing: MissingStep | None,
    inputs: Sequence[Unit],
    root: str,
    bucket_bytes: int,
    sampled: Mapping[str, Rate] | None = None,
    workers: int = 0,
    has_dataset: bool = False,
) -> Plan:
    """Put together what is committed and what is to come.

    Args:
        stages: those of the run, in order.
        records: the committed steps, in order.
        missing: the step at which they end; None if all but `shards` are there.
        inputs: the run's input files.
        root: ROOT, whose disk is looked at.
        bucket_bytes: of a shuffle's bucket.
        sampled: rates by stage that these inputs gave.
        workers: processes that a long stage would start.
        has_dataset: whether `shards` is done, too.
    """
    most_bytes = bucket_bytes if files.is_local(root) else math.inf
    made = [
        _with_workers(stage, workers)
        for stage in _predict(stages, records, missing, inputs, most_bytes, sampled or {})
    ]
    if has_dataset and made[-1].stage == "shards":
        rows = made[-1].rows_in
        made[-1] = dataclasses.replace(_NOTHING, stage="shards", rows_in=rows, rows_out=rows)
    return Plan(stages=tuple(made), refusals=tuple(_refusals(made, root)))


def _predict(
    stages: Sequence[str],
    records: Sequence[StageRecord],
    missing: MissingStep | None,
    inputs: Sequence[Unit],
    most_bytes: float,
    sampled: Mapping[str, Rate],
) -> Iterator[StagePlan]:
    input_mib = sum(unit.input_bytes for unit in inputs) / (1 << 20)
    rows: float = input_mib
    at = STAGES.index(missing.stage) if missing else STAGES.index("shards")
    for stage in stages:
        steps = [record for record in records if record.stage == stage and record.accounts]
        if STAGES.index(stage) < at:
            yield _done(stage, steps)
            rows = steps[-1].rows_out
            continue
        here = missing if missing and missing.stage == stage else None
        rows_in = rows if stage == "extract" or here is None else here.rows_in or rows
        rate = sampled.get(stage, RATES[stage])
        basis = "sampled" if stage in sampled else "estimated"
        yield _estimated(stage, rows_in, here, most_bytes, rate, basis)
        rows = rows_in * rate.kept


_NOTHING = StagePlan(
    stage="",
    is_done=True,
    units_to_do=0,
    units_to_reuse=0,
    rows_in=0,
    rows_out=0,
    shuffle_bytes=0,
    memory_bytes=0,
    disk_bytes=0,
    cpu_seconds=0.0,
    basis="committed",
)


def _done(stage: str, steps: Sequence[StageRecord]) -> StagePlan:
    return dataclasses.replace(
        _NOTHING,
        stage=stage,
        units_to_reuse=sum(len(step.units) for step in steps),
        rows_in=steps[-1].rows_out + sum(sum(step.drops.values()) for step in steps),
        rows_out=steps[-1].rows_out,
    )


def _with_workers(stage: StagePlan, workers: int) -> StagePlan:
    """Add what the worker processes of a long stage take; one unit needs none."""
    is_long = stage.cpu_seconds >= LONG_SECONDS and stage.units_to_do != 1
    if stage.is_done or workers < 2 or not is_long:
        return stage
    return dataclasses.replace(stage, cpu_seconds=stage.cpu_seconds + workers * WORKER_SECONDS)


def _estimated(
    stage: str, rows: float, missing: MissingStep | None, most_bytes: float, rate: Rate, basis: str
) -> StagePlan:
    shuffled = round(rows * rate.shuffle_bytes)
    out = rows * rate.kept
    return StagePlan(
        stage=stage,
        is_done=False,
        units_to_do=missing.units_to_do if missing else None,
        units_to_reuse=missing.units_to_reuse if missing else 0,
        rows_in=round(out if stage == "extract" else rows),
        rows_out=round(out),
        shuffle_bytes=shuffled,
        memory_bytes=round(BASE_BYTES + SHUFFLE_MEMORY * min(shuffled, most_bytes)),
        disk_bytes=round(out * rate.disk_bytes),
        cpu_seconds=round(rate.start_seconds + rows * rate.cpu_seconds, 1),
        basis=basis,
    )


def _refusals(stages: Sequence[StagePlan], root: str) -> Iterator[str]:
    limit = int(MEMORY_SHARE * available_bytes())
    for stage in stages:
        if stage.memory_bytes > limit:
            yield (
                f"{stage.stage}: about {bytes_text(stage.memory_bytes)} of memory for a shuffle of "
                f"{bytes_text(stage.shuffle_bytes)}, {bytes_text(limit)} may be used here: give "
                "the run fewer inputs, a local root, or a machine with more memory"
            )
    waiting = max((stage.shuffle_bytes for stage in stages), default=0)
    needed = sum(stage.disk_bytes for stage in stages) + waiting
    free = _free_bytes(root)
    if free is not None and needed > free:
        yield (
            f"root: {root}: about {bytes_text(needed)} of disk are needed, {bytes_text(free)} are "
            "free: choose a root on another disk, or give the run fewer inputs"
        )


def _free_bytes(root: str) -> int | None:
    """Return what is free on the disk of a local ROOT, which need not be there yet."""
    if not files.is_local(root):
        return None
    path = pathlib.Path(root).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
