"""What a step has on disk: which units are done, which failed, whether it is committed."""

import contextlib
import json
from collections.abc import Mapping, Sequence

from manifests.base.errors import OpenwitError, RefusedError
from pipeline.engine import files
from pipeline.engine.jobs.attempts import Failure, read_failure, read_packed
from pipeline.engine.stage_dir import (
    StageRecord,
    bucket_ids,
    folder_of,
    generation,
    record_path,
    sent_path,
    spec_digest,
    stage_path,
)
from pipeline.engine.steps import MapStep, ShuffleStep
from pipeline.engine.units import Unit, UnitRecord, inputs_of

Sent = Mapping[str, Sequence[int]]
"""Rows per bucket by tag."""


class StepState:
    """A step and the units it is asked for, against its directory; all files are known by name."""

    def __init__(
        self,
        root: str,
        step: MapStep | ShuffleStep,
        units: Sequence[Unit],
        upstream: Sequence[StageRecord],
    ) -> None:
        """Name the step's directory and the records that it must hold.

        Raises:
            RefusedError: if two units have one id.
        """
        self.root = root
        self.step = step
        self.units = units
        self.spec = spec_digest(step, upstream)
        self.folder = folder_of(step.name, self.spec)
        self._upstream = upstream
        self.wanted: dict[str, tuple[tuple[str, str], ...]]
        """The inputs that each unit's record must name; a bucket's id stands for its inputs."""
        if isinstance(step, ShuffleStep):
            self.wanted = dict.fromkeys(bucket_ids(step, units), ())
        else:
            self.wanted = {unit.id: inputs_of(unit) for unit in units}
        if len({unit.id for unit in units}) < len(units):
            raise RefusedError(f"{step.name}: two units have one id: give each input its own name")
        self._raw = {unit.id for unit in units if not unit.step} & set(self.wanted)

    def committed(self) -> StageRecord | None:
        """Return the step if `stage.json` commits exactly the wanted units, else None.

        Raises:
            OpenwitError: if it is torn, or a file it lists is not there as it says.
        """
        path = stage_path(self.root, self.folder)
        if files.size_bytes(path) is None:
            return None
        record = StageRecord.from_bytes(files.read_bytes(path), root=self.root, path=path)
        if {unit.unit: unit.inputs for unit in record.units} != self.wanted:
            return None
        for unit in record.units:
            for file in unit.files:
                found = files.size_bytes(files.join(self.root, file.name))
                if found != file.bytes:
                    raise OpenwitError(
                        f"{file.name}: {'no such file' if found is None else f'{found} bytes'}, "
                        f"{self.folder}/stage.json says {file.bytes} bytes: "
                        f"--force {self.step.stage} makes it again"
                    )
        return record

    def valid(self) -> dict[str, UnitRecord]:
        """Return the records of the wanted units that are done.

        Raises:
            OpenwitError: if a raw input is not the one that was read before.
        """
        found: dict[str, UnitRecord] = {}
        for unit, inputs in self.wanted.items():
            record = self.record(unit)
            if record is None or record.unit != unit or record.spec != self.spec:
                continue
            if record.inputs != inputs:
                if unit in self._raw and _names(record.inputs) == _names(inputs):
                    raise OpenwitError(
                        f"{inputs[0][0]}: input changed since it was read: "
                        f"--force {self.step.stage} reads it again, or choose another root"
                    )
                continue
            sizes = (files.size_bytes(files.join(self.root, file.name)) for file in record.files)
            if all(size == file.bytes for size, file in zip(sizes, record.files, strict=True)):
                found[unit] = record
        return found

    def sent(self) -> list[Sent] | None:
        """Return what each unit of a shuffle says it sent, or None if one has not yet."""
        if not isinstance(self.step, ShuffleStep):
            return []
        tail = generation(self.step, self.units)
        found: list[Sent] = []
        for unit in self.units:
            path = sent_path(self.root, self.folder, unit.id, tail)
            if files.size_bytes(path) is None:
                return None
            found.append(json.loads(files.read_bytes(path)))
        return found

    def shuffle_bytes(self, log: str) -> int:
        """Return the bytes of all blocks that the units of a shuffle packed in this run."""
        units = self.units if isinstance(self.step, ShuffleStep) else ()
        return sum(read_packed(log, self.step.name, unit.id) for unit in units)

    def failures(self, log: str, done: Mapping[str, UnitRecord]) -> list[Failure]:
        """Return this run's failures: of emitting units, and of wanted units that are not done."""
        emitting = [unit.id for unit in self.units] if isinstance(self.step, ShuffleStep) else []
        asked = [*emitting, *(unit for unit in self.wanted if unit not in done)]
        found = (read_failure(log, self.step.name, unit) for unit in asked)
        return [failure for failure in found if failure is not None]

    def forget(self) -> None:
        """Remove `stage.json` and the wanted units' records; their files are written again."""
        files.remove(stage_path(self.root, self.folder))
        for unit in self.wanted:
            files.remove(record_path(self.root, self.folder, unit))

    def commit(self, done: Mapping[str, UnitRecord]) -> StageRecord:
        """Write `stage.json` over the units that are done."""
        record = StageRecord(
            root=self.root,
            step=self.step.name,
            stage=self.step.stage,
            version=self.step.version,
            spec=self.spec,
            parameters=self.step.parameters,
            upstream=tuple(each.folder for each in self._upstream),
            accounts=self.step.accounts,
            units=tuple(done[unit] for unit in sorted(done)),
            skipped=tuple(sorted(set(self.wanted) - set(done))),
        )
        files.write_atomic(stage_path(self.root, self.folder), record.to_bytes())
        return record

    def record(self, unit: str) -> UnitRecord | None:
        """Return a unit's record as it is on disk, or None if there is none that can be read."""
        path = record_path(self.root, self.folder, unit)
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            if files.size_bytes(path) is not None:
                return UnitRecord.from_json(json.loads(files.read_bytes(path)))
        return None


def _names(inputs: Sequence[tuple[str, str]]) -> list[str]:
    return [name for name, _ in inputs]
