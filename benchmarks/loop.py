"""Map steps of a stage in a plain loop, for what the work costs without Beam."""

import dataclasses
from collections.abc import Sequence

from pipeline.engine.stage_dir import StageRecord, folder_of, spec_digest
from pipeline.engine.steps import MapStep, ShuffleStep
from pipeline.engine.units import Unit
from pipeline.engine.work import run_unit


@dataclasses.dataclass
class LoopEngine:
    """Runs the units of map steps one after the other in this process."""

    root: str
    bucket_bytes: int = 1 << 26
    records: list[StageRecord] = dataclasses.field(default_factory=list)

    def run(
        self,
        step: MapStep | ShuffleStep,
        units: Sequence[Unit],
        upstream: Sequence[StageRecord] = (),
    ) -> StageRecord:
        """Run a step; see `pipeline.engine.context.Engine.run`."""
        if not isinstance(step, MapStep):
            raise TypeError(f"{step.name} is not a map step")
        spec = spec_digest(step, upstream)
        record = StageRecord(
            root=self.root,
            step=step.name,
            stage=step.stage,
            version=step.version,
            spec=spec,
            parameters=step.parameters,
            upstream=tuple(folder_of(each.step, each.spec) for each in upstream),
            accounts=step.accounts,
            units=tuple(run_unit(step, spec, unit, self.root) for unit in units),
        )
        self.records.append(record)
        return record
