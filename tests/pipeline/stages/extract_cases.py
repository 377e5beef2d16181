"""One file through stage extract, and what came of it."""

import dataclasses
import hashlib
import pathlib
from typing import Any

import pyarrow.parquet as pq

from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.units import Source, Unit, UnitRecord
from pipeline.readers.kinds import InputSettings
from pipeline.stages import extract as extract_stage
from pipeline.stages.extract import ExtractSettings


@dataclasses.dataclass(frozen=True)
class Extracted:
    """What the stage made of one file."""

    record: StageRecord

    @property
    def unit(self) -> UnitRecord:
        [unit] = self.record.units
        return unit

    @property
    def records(self) -> dict[str, int]:
        return dict(self.unit.notes["records"])

    def rows(self, role: str = "part") -> list[dict[str, Any]]:
        [path] = self.record.paths(role)
        return list(pq.read_table(path).to_pylist())

    def pairs(self) -> list[tuple[str, str]]:
        """Return (URL, text) of each text of each row."""
        return [(row["url"], text["text"]) for row in self.rows() for text in row["texts"]]

    def deadletters(self) -> list[tuple[str, int, int]]:
        rows = self.rows("deadletter")
        return [(row["reason"], row["offset"], row["length"]) for row in rows]

    def digests(self) -> dict[str, str]:
        return {file.role: file.sha256 for file in self.unit.files}


def unit_of(path: pathlib.Path, data: bytes) -> Unit:
    """Write an input file and return its unit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    source = Source(
        role="input", path=str(path), name=path.name, bytes=len(data), sha256=digest, rows=0
    )
    return Unit(id=hashlib.sha256(path.name.encode()).hexdigest()[:16], sources=(source,))


def extract(
    engine: Any,
    data: bytes,
    *,
    name: str = "a.warc.gz",
    kind: Any = "warc",
    columns: tuple[str, str] = ("", ""),
    archive_wanted: bool = True,
    list_entity_passes: int = 1,
    **settings: Any,
) -> Extracted:
    """Run the stage on one file."""
    inputs = InputSettings(kind=kind, paths=(name,), url_column=columns[0], text_column=columns[1])
    unit = unit_of(pathlib.Path(engine.root).parent / name, data)
    record = extract_stage.run(
        engine,
        ExtractSettings(**settings),
        inputs,
        list_entity_passes=list_entity_passes,
        content_usage_keys=("train-ai",),
        archive_wanted=archive_wanted,
        units=[unit],
    )
    return Extracted(record)
