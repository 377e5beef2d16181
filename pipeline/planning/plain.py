"""The steps of a stage in a plain loop: for the pilot, tests, and what work costs without Beam."""

import dataclasses
from collections.abc import Sequence

import pyarrow as pa

from pipeline.engine import files
from pipeline.engine.stage_dir import StageRecord, bucket_ids, folder_of, spec_digest, stage_path
from pipeline.engine.steps import MapStep, ShuffleStep
from pipeline.engine.units import Unit, UnitRecord
from pipeline.engine.work import reduce_bucket, run_unit


@dataclasses.dataclass
class PlainEngine:
    """The engine's contract in one loop: every unit is done, nothing is reused."""

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
        spec = spec_digest(step, upstream)
        if isinstance(step, MapStep):
            done = [run_unit(step, spec, unit, self.root) for unit in units]
        else:
            done = self._shuffle(step, spec, units)
        record = StageRecord(
            root=self.root,
            step=step.name,
            stage=step.stage,
            version=step.version,
            spec=spec,
            parameters=step.parameters,
            upstream=tuple(folder_of(each.step, each.spec) for each in upstream),
            accounts=step.accounts,
            units=tuple(sorted(done, key=lambda unit: unit.unit)),
        )
        files.write_atomic(stage_path(self.root, record.folder), record.to_bytes())
        self.records.append(record)
        return record

    def _shuffle(self, step: ShuffleStep, spec: str, units: Sequence[Unit]) -> list[UnitRecord]:
        received: list[dict[str, list[pa.RecordBatch]]] = [{} for _ in range(step.buckets)]
        for unit in units:
            for packet in step.kernel.emit(unit):
                for bucket in sorted(set(packet.buckets.tolist())):
                    rows = packet.batch.filter(pa.array(packet.buckets == bucket))
                    received[bucket].setdefault(packet.tag, []).append(rows)
        return [
            reduce_bucket(
                step,
                spec,
                bucket,
                Unit(id=unit_id, sources=()),
                {tag: pa.Table.from_batches(rows) for tag, rows in received[bucket].items()},
                self.root,
            )
            for bucket, unit_id in enumerate(bucket_ids(step, units))
        ]
