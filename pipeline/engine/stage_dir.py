"""The directory of a step: its digest, its names, and `stage.json`, which alone commits it."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from manifests.base.errors import OpenwitError
from pipeline.engine import files
from pipeline.engine.steps import MapStep, ShuffleStep
from pipeline.engine.units import (
    RECORD_VERSION,
    FileRecord,
    Source,
    Unit,
    UnitRecord,
    canonical_json,
    inputs_of,
)

KIND = "openwit-stage"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageRecord:
    """A committed step: what `stage.json` says, and the ROOT it was read from."""

    root: str
    step: str
    stage: str
    version: int
    spec: str
    parameters: Mapping[str, Any]
    upstream: tuple[str, ...]
    accounts: bool
    units: tuple[UnitRecord, ...]
    skipped: tuple[str, ...] = ()
    """Units that failed and were left out (`engine.on_unit_failure = "skip"`)."""

    @property
    def folder(self) -> str:
        """The step's directory, relative to ROOT."""
        return folder_of(self.step, self.spec)

    @property
    def rows_in(self) -> int:
        """Rows read by all units."""
        return sum(unit.rows_in for unit in self.units)

    @property
    def rows_out(self) -> int:
        """Rows of all parts."""
        return sum(unit.rows_out for unit in self.units)

    @property
    def drops(self) -> dict[str, int]:
        """Drops of all units by reason, sorted by reason."""
        sums: dict[str, int] = {}
        for unit in self.units:
            for reason, count in unit.drops.items():
                sums[reason] = sums.get(reason, 0) + count
        return dict(sorted(sums.items()))

    def files(self, role: str) -> list[FileRecord]:
        """Return the files of a role, in the order of the units."""
        return [file for unit in self.units for file in unit.files if file.role == role]

    def paths(self, role: str) -> list[str]:
        """Return where the files of a role are."""
        return [files.join(self.root, file.name) for file in self.files(role)]

    def next_units(self, *roles: str) -> list[Unit]:
        """Return the units of a step that reads this one's files of the given roles."""
        return [
            Unit(
                id=record.unit,
                step=self.step,
                sources=tuple(
                    Source(
                        role=file.role,
                        path=files.join(self.root, file.name),
                        name=file.name,
                        bytes=file.bytes,
                        sha256=file.sha256,
                        rows=file.rows,
                    )
                    for file in record.files
                    if file.role in roles
                ),
            )
            for record in self.units
        ]

    def to_bytes(self) -> bytes:
        """Return `stage.json`: equal steps give equal bytes on any machine."""
        return canonical_json(
            {
                "kind": KIND,
                "schema_version": RECORD_VERSION,
                "step": self.step,
                "stage": self.stage,
                "version": self.version,
                "spec": self.spec,
                "parameters": self.parameters,
                "upstream": self.upstream,
                "accounts": self.accounts,
                "totals": {"rows_in": self.rows_in, "rows_out": self.rows_out, "drops": self.drops},
                "units": [unit.to_json() for unit in self.units],
                "skipped": self.skipped,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, *, root: str, path: str) -> "StageRecord":
        """Read `stage.json`.

        Raises:
            OpenwitError: if it is torn, of another kind or of a newer format.
        """
        try:
            value = json.loads(data)
            if (value["kind"], value["schema_version"]) != (KIND, RECORD_VERSION):
                raise OpenwitError(
                    f"{path}: {value['kind']} version {value['schema_version']}: this openwit "
                    f"reads {KIND} version {RECORD_VERSION}; use the version that wrote it"
                )
            return cls(
                root=root,
                step=value["step"],
                stage=value["stage"],
                version=value["version"],
                spec=value["spec"],
                parameters=value["parameters"],
                upstream=tuple(value["upstream"]),
                accounts=value["accounts"],
                units=tuple(UnitRecord.from_json(unit) for unit in value["units"]),
                skipped=tuple(value["skipped"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OpenwitError(
                f"{path}: not a whole stage record ({type(error).__name__}: {error}): "
                "remove it and run the same command to redo the step"
            ) from None


def folder_of(step: str, spec: str) -> str:
    """Return a step's directory relative to ROOT."""
    return f"stages/{step}-{spec[:12]}"


def spec_digest(step: MapStep | ShuffleStep, upstream: Iterable[StageRecord]) -> str:
    """Return what names a step: sha256 of its parameters, version, libraries, upstream digests."""
    return hashlib.sha256(
        canonical_json(
            {
                "step": step.name,
                "version": step.version,
                "parameters": step.parameters,
                "libraries": {"pyarrow": pa.__version__},
                "upstream": [record.spec for record in upstream],
            }
        )
    ).hexdigest()


def generation(step: ShuffleStep, units: Sequence[Unit]) -> str:
    """Return 8 hexadecimal digits of a shuffle's units (ids and content) and number of buckets."""
    listed = sorted((unit.id, unit.step, inputs_of(unit)) for unit in units)
    return hashlib.sha256(canonical_json([step.name, step.buckets, listed])).hexdigest()[:8]


def bucket_ids(step: ShuffleStep, units: Sequence[Unit]) -> list[str]:
    """Return the unit ids of a shuffle's buckets: number and generation."""
    tail = generation(step, units)
    return [f"{bucket:05d}-{tail}" for bucket in range(step.buckets)]


def record_path(root: str, folder: str, unit_id: str) -> str:
    """Return where a unit's record is."""
    return files.join(root, folder, f"unit-{unit_id}.json")


def stage_path(root: str, folder: str) -> str:
    """Return where a step's `stage.json` is."""
    return files.join(root, folder, "stage.json")


def sent_path(root: str, folder: str, unit_id: str, tail: str) -> str:
    """Return where a unit says how many rows it sent to each bucket of a shuffle's generation."""
    return files.join(root, folder, f"sent-{unit_id}-{tail}.json")
