"""Rows of any schema, committed steps that hold them, and the stages from match to balance."""

import dataclasses
import hashlib
import io
import itertools
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.format.ids import keyed_hash
from pipeline.dataset.selected import read_selected
from pipeline.engine import files
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.units import FileRecord, UnitRecord
from pipeline.records import CANDIDATES, DEDUPED
from pipeline.selection.blocks import RunBlockList
from pipeline.selection.caps import SelectSettings
from pipeline.selection.quotas import paired_units
from pipeline.stages import balance as balance_stage
from pipeline.stages import match as match_stage
from pipeline.stages import preselect as preselect_stage
from pipeline.stages.balance import Balanced, BalanceSettings
from pipeline.stages.match import MatchSettings, TextSettings
from pipeline.stages.preselect import Preselected, PreselectSettings

Row = dict[str, Any]


def make_row(schema: pa.Schema, values: Mapping[str, Any]) -> Row:
    """Return a row with `values`, and the plainest value where null is not allowed."""
    plain = {
        field.name: None if field.nullable else _plain(field.type)
        for field in schema
        if field.name not in values
    }
    return {**plain, **{name: values[name] for name in schema.names if name in values}}


def _plain(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return []
    if pa.types.is_string(kind):
        return ""
    if pa.types.is_fixed_size_binary(kind):
        return bytes(kind.byte_width)
    return False if pa.types.is_boolean(kind) else 0


def commit(
    engine: Any, step: str, schema: pa.Schema, units: Sequence[Sequence[Row]]
) -> StageRecord:
    """Write units of rows as parts of a committed step."""
    records = []
    for number, rows in enumerate(units):
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), file)
        data = file.getvalue()
        name = f"stages/{step}-{len(engine.records)}/part-{number:05d}.parquet"
        files.write_atomic(files.join(engine.root, name), data)
        part = FileRecord(
            role="part",
            name=name,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            rows=len(rows),
        )
        records.append(
            UnitRecord(
                unit=f"{number:05d}",
                spec="",
                inputs=(),
                rows_in=len(rows),
                rows_out=len(rows),
                drops={},
                files=(part,),
            )
        )
    return StageRecord(
        root=engine.root,
        step=step,
        stage=step,
        version=1,
        spec=hashlib.sha256(step.encode()).hexdigest(),
        parameters={},
        upstream=(),
        accounts=True,
        units=tuple(records),
    )


def read_rows(record: StageRecord, role: str = "part") -> list[Row]:
    """Return the rows of all files of a role, in the order of the units."""
    return [row for path in record.paths(role) for row in pq.read_table(path).to_pylist()]


def read_drops(record: StageRecord) -> dict[bytes | None, tuple[str, str | None]]:
    """Return reason and value of each row of a step's ledger."""
    return {row["pair_id"]: (row["reason"], row["value"]) for row in read_rows(record, "drops")}


def make_candidate(number: int, *texts: str, **values: Any) -> Row:
    """Return the candidate http://example.com/NUMBER.jpg with texts of source `alt`."""
    found = [{"source": "alt", "text": text, "raw": None} for text in texts]
    usual = {
        "url": f"http://example.com/{number}.jpg",
        "texts": found,
        "page_url": "http://example.com/",
        "source_file": "a.warc.gz",
        "source_offset": number,
    }
    return make_row(CANDIDATES, {**usual, **values})


@dataclasses.dataclass
class Chain:
    """The stages from match to balance over one list; extract, fetch and dedup are made up."""

    engine: Any
    list_path: str
    cap: int = 20_000
    seed: int = 0
    preselected_with: PreselectSettings = dataclasses.field(default_factory=PreselectSettings)
    balance_mode: str = "exact"
    counts_file: str = ""
    deduped: StageRecord | None = None
    """What was balanced last."""

    @property
    def listed(self) -> tuple[str, str]:
        """Path and sha256 of the list."""
        data = pathlib.Path(self.list_path).read_bytes()
        return self.list_path, hashlib.sha256(data).hexdigest()

    @property
    def select(self) -> SelectSettings:
        """Cap and seed."""
        return SelectSettings(cap=self.cap, seed=self.seed, counts_file=self.counts_file)

    def match(
        self,
        *units: Sequence[Row],
        text: TextSettings | None = None,
        how: MatchSettings | None = None,
        blocked: Sequence[RunBlockList] = (),
    ) -> StageRecord:
        """Match units of candidates."""
        extracted = commit(self.engine, "extract", CANDIDATES, units)
        return match_stage.run(
            self.engine,
            text or TextSettings(),
            how or MatchSettings(),
            *self.listed,
            extracted,
            blocked=blocked,
        )

    def preselect(self, matched: StageRecord) -> Preselected:
        """Leave out what the cap makes hopeless."""
        return preselect_stage.run(
            self.engine, self.select, self.preselected_with, *self.listed, matched
        )

    def balance(
        self,
        preselected: Preselected,
        *,
        survival: float = 1.0,
        cuts: Iterable[int] = (),
        blocked: Sequence[RunBlockList] = (),
    ) -> Balanced:
        """Balance a share of the pairs, drawn by their ids; `cuts` are where units begin."""
        rows = [
            make_row(DEDUPED, row)
            for row in read_rows(preselected.pairs)
            if keyed_hash(row["pair_id"], "survival") < survival * 2**64
        ]
        edges = [0, *cuts, len(rows)]
        units = [rows[start:stop] for start, stop in itertools.pairwise(edges)]
        self.deduped = commit(self.engine, "dedup", DEDUPED, units)
        settings = BalanceSettings(mode=self.balance_mode)  # type: ignore[arg-type]
        return balance_stage.run(
            self.engine, settings, self.listed[1], self.deduped, preselected, blocked=blocked
        )

    def selected(self, balanced: Balanced) -> list[Row]:
        """Return the selected rows of what was balanced last, as `shards` reads them."""
        assert self.deduped is not None
        units = paired_units(self.deduped, balanced.pairs)
        return [row for unit in units for batch in read_selected(unit) for row in batch.to_pylist()]


def kept_ids(record: StageRecord) -> set[bytes]:
    """Return the pair ids of a step's rows."""
    return {row["pair_id"] for row in read_rows(record)}


def write_list(folder: pathlib.Path, *queries: str) -> str:
    """Write a user's list and return its path."""
    path = folder / "list.txt"
    path.write_text("\n".join(queries))
    return str(path)
