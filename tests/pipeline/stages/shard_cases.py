"""A made-up selection on disk, up to the stage that writes the dataset."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from manifests.format import Manifest, load
from manifests.format.ids import pair_id
from pipeline.engine.context import Engine
from pipeline.engine.parts import Sink, drop_rows
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep
from pipeline.engine.units import Source, Unit
from pipeline.records import DEDUPED, QUERY_COUNTS, SELECTION
from pipeline.stages.shards import DatasetSettings, ShardsSettings, run
from tests.pipeline.dedup.fetched_rows import make_row as fetched_row

Row = dict[str, Any]
INPUTS = [
    Source(role="input", path=f"/somewhere/{name}", name=name, bytes=7, sha256="0" * 64)
    for name in ("b.warc.gz", "a.warc.gz")
]


@dataclasses.dataclass(frozen=True)
class _Dedup:
    """Writes given rows, their images in a blob, and one row that will be lost."""

    rows: Mapping[str, Sequence[Row]]

    def run(self, unit: Unit, sink: Sink) -> None:
        rows = sorted([dict(row) for row in self.rows[unit.id]] + [make_lost(unit)], key=by_id)
        blob = sink.open_blob()
        for row in rows:
            row["blob_offset"] = blob.append(row.pop("image"))
        name = blob.close()
        for row in rows:
            row["blob"] = name
        sink.write(pa.RecordBatch.from_pylist(rows, schema=DEDUPED))
        sink.rows_in(len(rows))


@dataclasses.dataclass(frozen=True)
class _Select:
    """Keeps the given rows of what `_Dedup` wrote."""

    rows: Mapping[str, Sequence[Row]]

    def run(self, unit: Unit, sink: Sink) -> None:
        rows = list(self.rows[unit.id])
        sink.write(pa.RecordBatch.from_pylist(rows, schema=SELECTION))
        lost = make_lost(unit)["pair_id"]
        drop = {"pair_id": lost, "reason": "over_cap", "value": "9", "url": "http://x/"}
        sink.drop(drop_rows("balance", [drop]))
        sink.rows_in(len(rows) + 1)


@dataclasses.dataclass(frozen=True)
class _CountQueries:
    rows: int

    def run(self, unit: Unit, sink: Sink) -> None:
        counts = {"matched": self.rows, "survived": self.rows, "selected": 1, "kept": self.rows}
        row = {"query_id": 1, "theta": 5, **counts}
        sink.write(pa.RecordBatch.from_pylist([row], schema=QUERY_COUNTS))


def by_id(row: Row) -> bytes:
    """Return what rows of a part are sorted by."""
    return bytes(row["pair_id"])


def make_lost(unit: Unit) -> Row:
    """Return the row of a unit that no query selects."""
    return make_row(1000 + int(unit.id[:5])) | {"image": b"", "blob_bytes": 0}


def make_row(number: int) -> Row:
    url, text = f"http://host{number % 3}.example/{number}.jpg", f"a photo of dog {number}"
    image = b"\xff\xd8" + bytes([number % 256]) * (100 + number)
    digest = hashlib.sha256(image).digest()
    return fetched_row(
        number,
        pair_id=pair_id(url, text),
        url=url,
        page_url=None,
        text=text,
        source_file=INPUTS[number % 2].name,
        image_file="b.warc.gz" if number % 2 else None,
        image_record=3 if number % 2 else None,
        original_bytes=len(image),
        original_sha256=digest,
        original_width=4,
        original_height=4,
        width=4,
        height=4,
        sha256=digest,
        reencoded=False,
        image=image,
        blob_bytes=len(image),
        duplicates=0,
        alternates=[{"text": "dog", "source": "title", "url": url, "page_url": None}],
        cluster_id=pair_id(url, text),
        eval_hits=[],
        selected_by=[1],
        select_prob=1.0,
    )


@dataclasses.dataclass
class Run:
    """A run up to the selection, and the stage on it."""

    engine: Engine
    units: Mapping[str, Sequence[Row]]
    query_list: pathlib.Path
    cap: int = 20

    def select(self) -> tuple[StageRecord, StageRecord, StageRecord]:
        dedup, balance = (
            MapStep(
                name=name,
                stage=name,
                version=1,
                parameters={},
                outputs={"part": schema},
                kernel=kernel,
            )
            for name, schema, kernel in (
                ("dedup", DEDUPED, _Dedup(self.units)),
                ("balance", SELECTION, _Select(self.units)),
            )
        )
        deduped = self.engine.run(dedup, [Unit(id=name, sources=()) for name in self.units])
        selected = self.engine.run(balance, deduped.next_units("part"), [deduped])
        count = MapStep(
            name="balance-counts",
            stage="balance",
            version=1,
            parameters={},
            outputs={"part": QUERY_COUNTS},
            accounts=False,
            kernel=_CountQueries(selected.rows_out),
        )
        counted = self.engine.run(count, [Unit(id="0", sources=())], [selected])
        return deduped, selected, counted

    def write(self, shards: ShardsSettings, **about: str) -> Manifest:
        deduped, selected, counts = self.select()
        run(
            self.engine,
            shards,
            DatasetSettings(**about),
            deduped=deduped,
            selected=selected,
            query_counts=counts,
            list_path=str(self.query_list),
            list_sha256="1" * 64,
            list_digest="2" * 64,
            cap=self.cap,
            history=[deduped, selected, counts],
            inputs=INPUTS,
            input_kind="warc",
            config={"select": {"cap": self.cap}},
        )
        return load(f"{self.engine.root}/dataset")
