"""Units of work and the records that commit them. No Beam here: a no-op re-run imports none."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

RECORD_VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file that a unit reads."""

    role: str
    """`input` for raw input, else the role under which an earlier step wrote it."""
    path: str
    """Where it is now: a path or URI. Never part of a record or digest."""
    name: str
    """Its logical name: relative to `input.base` or to ROOT, or the URL."""
    bytes: int
    sha256: str
    """64 hexadecimal digits."""
    rows: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What one call of a kernel works on: one input file, or the files of one upstream unit."""

    id: str
    sources: tuple[Source, ...]
    step: str = ""
    """The upstream step that wrote the sources; empty for raw input."""

    def source(self, role: str) -> Source | None:
        """Return the source of that role, or None."""
        return next((source for source in self.sources if source.role == role), None)

    @property
    def input_bytes(self) -> int:
        """Size of all its sources."""
        return sum(source.bytes for source in self.sources)

    def to_bytes(self) -> bytes:
        """Return the unit as it travels through Beam."""
        return canonical_json(dataclasses.asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Unit":
        """Read what `to_bytes` gave."""
        value = json.loads(data)
        sources = tuple(Source(**source) for source in value.pop("sources"))
        return cls(sources=sources, **value)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One file that a unit wrote; `name` is relative to ROOT."""

    role: str
    name: str
    bytes: int
    sha256: str
    rows: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UnitRecord:
    """The commit of one unit. It holds no time, host or absolute path: equal work, equal bytes."""

    unit: str
    spec: str
    inputs: tuple[tuple[str, str], ...]
    """(logical name, sha256) of each source, sorted."""
    rows_in: int
    rows_out: int
    drops: Mapping[str, int]
    files: tuple[FileRecord, ...]
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Further counts of the step, JSON values only."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values, with drops and notes sorted by name."""
        return {
            "unit": self.unit,
            "spec": self.spec,
            "inputs": [list(pair) for pair in self.inputs],
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "drops": dict(sorted(self.drops.items())),
            "files": [dataclasses.asdict(file) for file in self.files],
            "notes": dict(sorted(self.notes.items())),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "UnitRecord":
        """Read what `to_json` gave.

        Raises:
            KeyError, TypeError: if a field is missing or of another shape.
        """
        return cls(
            unit=value["unit"],
            spec=value["spec"],
            inputs=tuple((name, digest) for name, digest in value["inputs"]),
            rows_in=value["rows_in"],
            rows_out=value["rows_out"],
            drops=dict(value["drops"]),
            files=tuple(FileRecord(**file) for file in value["files"]),
            notes=dict(value["notes"]),
        )

    def file(self, role: str) -> FileRecord | None:
        """Return the file of that role, or None."""
        return next((file for file in self.files if file.role == role), None)


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted keys, no blanks, UTF-8, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def inputs_of(unit: Unit) -> tuple[tuple[str, str], ...]:
    """Return what a unit's record says of its sources."""
    return tuple(sorted((source.name, source.sha256) for source in unit.sources))
