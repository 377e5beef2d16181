import dataclasses
import datetime
import hashlib
import io
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from filters.consent.decision import ConsentSettings
from manifests.format.ids import pair_id
from pipeline.engine.parts import Sink
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep
from pipeline.engine.units import Source, Unit
from pipeline.fetch.image import prepare
from pipeline.records import FETCHED, IMAGES, MATCHED
from pipeline.selection.blocks import RunBlockList
from pipeline.stages.fetch import FetchSettings, run

DATE = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
SITE = "http://example.com/"


def picture(seed: int, size: int = 100) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


@dataclasses.dataclass
class Archive:
    """A WARC being written, and the index rows of its records."""

    path: pathlib.Path
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.file = io.BytesIO()
        self.writer = WARCWriter(self.file, gzip=True)

    def add(self, name: str, body: bytes, **row: Any) -> None:
        head = StatusAndHeaders(f"{row.get('status', 200)} X", [], protocol="HTTP/1.1")
        record = self.writer.create_warc_record(
            SITE + name, "response", payload=io.BytesIO(body), http_headers=head
        )
        offset = self.file.tell()
        self.writer.write_record(record)
        record.raw_stream.close()
        self.rows.append(
            {
                "url": SITE + name,
                "kind": "image",
                "source_file": self.path.name,
                "offset": offset,
                "length": self.file.tell() - offset,
                "status": 200,
                "record_date": DATE,
                "optout": [],
                **row,
            }
        )

    def redirect(self, name: str, location: str, **row: Any) -> None:
        self.add(name, b"", kind="redirect", status=301, location=location, **row)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriteRows:
    """The kernel of a step that stands for an upstream stage."""

    rows: dict[str, list[dict[str, Any]]]
    schemas: dict[str, pa.Schema]

    def run(self, unit: Unit, sink: Sink) -> None:
        for role, schema in self.schemas.items():
            sink.write(pa.RecordBatch.from_pylist(self.rows[role], schema=schema), role)


@dataclasses.dataclass
class Run:
    """What a test needs to run the stage on a made-up archive."""

    engine: Any
    base: pathlib.Path
    archive: Archive
    pairs: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def pair(self, name: str, text: str = "a text", **row: Any) -> bytes:
        """Add a pair for the image of that name and return its id."""
        url = SITE + name
        filled = {
            "pair_id": pair_id(url, text),
            "url": url,
            "text": text,
            "url_source": "src",
            "position": 0,
            "flags": [],
            "optout": [],
            "source_file": "page",
            "source_offset": 0,
            "text_source": "alt",
            "lang": "en",
            "matched_query_ids": [1],
            "seen": 1,
        }
        self.pairs.append({**filled, **row})
        return filled["pair_id"]  # type: ignore[return-value]

    def upstream(self, name: str, **rows: list[dict[str, Any]]) -> StageRecord:
        schemas = {role: {"part": MATCHED, "images": IMAGES}[role] for role in rows}
        step = MapStep(
            name=name,
            stage=name,
            version=1,
            parameters={},
            outputs=schemas,
            accounts=False,
            kernel=WriteRows(rows=rows, schemas=schemas),
        )
        source = Source(role="input", path="", name="raw", bytes=0, sha256="0" * 64)
        record: StageRecord = self.engine.run(step, [Unit(id="0" * 16, sources=(source,))])
        return record

    def fetch(
        self,
        settings: FetchSettings | None = None,
        consent: ConsentSettings | None = None,
        blocked: Sequence[RunBlockList] = (),
    ) -> StageRecord:
        self.archive.path.write_bytes(self.archive.file.getvalue())
        ordered = sorted(self.pairs, key=lambda row: row["pair_id"])
        return run(
            self.engine,
            settings or FetchSettings(),
            consent or ConsentSettings(),
            str(self.base),
            self.upstream("preselect", part=ordered),
            self.upstream("extract", images=self.archive.rows),
            blocked=blocked,
        )

    def drops(self) -> dict[bytes, tuple[str, str | None]]:
        """Return reason and value of each pair in the ledger of the stage."""
        found = {}
        for record in self.engine.records:
            for path in record.paths("drops"):
                for row in pq.read_table(path).to_pylist():
                    assert row["stage"] == "fetch"
                    found[row["pair_id"]] = (row["reason"], row["value"])
        return found


@pytest.fixture
def made(plain_engine: Any, tmp_path: pathlib.Path) -> Run:
    """A run on an empty archive."""
    base = tmp_path / "inputs"
    base.mkdir()
    return Run(plain_engine, base, Archive(base / "a.warc.gz"))


def rows_of(record: StageRecord) -> list[dict[str, Any]]:
    tables = [pq.read_table(path, schema=FETCHED) for path in record.paths("part")]
    rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist()
    return rows


def stored(record: StageRecord, row: dict[str, Any]) -> bytes:
    data = (pathlib.Path(record.root) / row["blob"]).read_bytes()
    return data[row["blob_offset"] : row["blob_offset"] + row["blob_bytes"]]


def test_each_pair_gets_the_image_of_its_url(made: Run) -> None:
    ids = []
    for number in range(3):
        made.archive.add(f"{number}.png", picture(number), content_type="image/png")
        ids.append(made.pair(f"{number}.png"))
    record = made.fetch()
    rows = {row["pair_id"]: row for row in rows_of(record)}
    assert set(rows) == set(ids)
    row = rows[ids[1]]
    assert row["original_sha256"] == hashlib.sha256(picture(1)).digest()
    assert hashlib.sha256(stored(record, row)).digest() == row["sha256"]
    assert (row["width"], row["height"], row["original_format"]) == (100, 100, "png")
    assert (row["image_source"], row["fetched_at"], row["http_status"]) == ("archive", DATE, 200)
    assert (row["image_file"], row["content_type"]) == ("a.warc.gz", "image/png")
    assert (row["final_url"], row["redirects"]) == (SITE + "1.png", 0)
    assert row["hash_version"].startswith("ow1/")
    assert record.rows_in == record.rows_out == 3


def test_pairs_of_one_url_share_one_image(made: Run) -> None:
    made.archive.add("x.png", picture(1))
    made.archive.add("same.png", picture(1))
    for name, text in (("x.png", "one"), ("x.png", "two"), ("same.png", "three")):
        made.pair(name, text)
    record = made.fetch()
    rows = rows_of(record)
    assert [row["pair_id"] for row in rows] == sorted(row["pair_id"] for row in rows)
    assert len({(row["blob"], row["blob_offset"]) for row in rows}) == 1
    assert sum(file.bytes for file in record.files("blob")) == rows[0]["blob_bytes"]


def test_every_pair_is_out_or_dropped_with_its_reason(made: Run) -> None:
    made.archive.add("ok.png", picture(1))
    made.archive.add("page.jpg", b"<html>not found</html>")
    made.archive.add("small.png", picture(2, size=20))
    made.archive.add("marked.png", picture(3), optout=["x-robots-tag:noai"])
    made.archive.add("cut.png", picture(4), truncated="length")
    kept = made.pair("ok.png")
    expected = {
        made.pair("page.jpg"): ("not_image", "html"),
        made.pair("small.png"): ("too_small", "20x20"),
        made.pair("marked.png"): ("optout_image", "x-robots-tag:noai"),
        made.pair("cut.png"): ("not_in_archive", None),
        made.pair("none.png"): ("not_in_archive", None),
        made.pair("ok.png", "of a marked page", optout=["robots:noai"]): (
            "optout_page",
            "robots:noai",
        ),
    }
    record = made.fetch()
    assert made.drops() == expected
    assert [row["pair_id"] for row in rows_of(record)] == [kept]
    locate = next(each for each in made.engine.records if each.step == "fetch-locate")
    assert locate.rows_in == 7
    assert locate.rows_out == record.rows_in == 3


def test_marks_that_are_not_honoured_do_not_drop(made: Run) -> None:
    made.archive.add("x.png", picture(1), optout=["robots:noindex"])
    made.pair("x.png", optout=["robots:noindex"])
    assert made.fetch(consent=ConsentSettings(honour=("robots:noai",))).rows_out == 1


def test_redirects_are_followed_five_times(made: Run) -> None:
    made.archive.add("0", picture(1))
    for hop in range(1, 7):
        made.archive.redirect(str(hop), f"/{hop - 1}" if hop % 2 else SITE + str(hop - 1))
    made.archive.redirect("loop", "loop?a")
    made.archive.redirect("loop?a", "loop")
    reached = [made.pair(str(hop)) for hop in range(6)]
    expected = {
        made.pair("6"): ("redirect_limit", SITE + "0"),
        made.pair("loop"): ("redirect_limit", SITE + "loop"),
    }
    record = made.fetch()
    rows = {row["pair_id"]: row for row in rows_of(record)}
    assert [rows[each]["redirects"] for each in reached] == list(range(6))
    assert {row["final_url"] for row in rows.values()} == {SITE + "0"}
    assert made.drops() == expected
    steps = [each.step for each in made.engine.records if each.stage == "fetch"]
    assert steps == ["fetch-locate", *(f"fetch-locate-{hop}" for hop in range(2, 7)), "fetch"]


def test_a_redirect_that_cannot_be_followed_is_not_in_the_archive(made: Run) -> None:
    made.archive.redirect("x", "ftp://example.com/x")
    made.archive.redirect("y", "/elsewhere")
    made.archive.redirect("z", "/ok", optout=["tdm:1"])
    expected = {
        made.pair("x"): ("not_in_archive", "ftp://example.com/x"),
        made.pair("y"): ("not_in_archive", None),
        made.pair("z"): ("optout_image", "tdm:1"),
    }
    assert made.fetch().rows_out == 0
    assert made.drops() == expected


def test_a_revisit_stands_for_its_original(made: Run) -> None:
    made.archive.add("x.png", picture(1))
    made.archive.add("y.png", b"", kind="revisit", refers_to_url=SITE + "x.png")
    made.pair("y.png")
    row = rows_of(made.fetch())[0]
    assert row["original_sha256"] == hashlib.sha256(picture(1)).digest()


def test_digests_of_a_list_are_held_against_the_body(made: Run) -> None:
    body = picture(1)
    made.archive.add("x.png", body)
    good = made.pair("x.png", "good", expect_sha256=hashlib.sha256(body).digest())
    bad = made.pair("x.png", "bad", expect_md5=b"\0" * 16)
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    assert [row["pair_id"] for row in rows_of(made.fetch())] == [good]
    assert made.drops() == {bad: ("hash_mismatch", f"md5:{md5}")}


def test_an_unexpected_exception_drops_one_image(
    made: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.archive.add("x.png", picture(1))
    made.archive.add("y.png", picture(2))
    bad, good = made.pair("x.png"), made.pair("y.png")

    def fail_once(body: bytes, settings: FetchSettings) -> Any:
        if body == picture(1):
            raise RuntimeError("broken " * 200)
        return prepare(body, settings)

    monkeypatch.setattr("pipeline.fetch.collect.prepare", fail_once)
    assert [row["pair_id"] for row in rows_of(made.fetch())] == [good]
    reason, value = made.drops()[bad]
    assert reason == "internal_error"
    assert value is not None
    assert value.startswith("RuntimeError: broken")
    assert len(value) == 500


def outputs(made: Run, settings: FetchSettings) -> tuple[list[dict[str, Any]], list[str]]:
    record = made.fetch(settings)
    rows = sorted(rows_of(record), key=lambda row: row["pair_id"])
    for row in rows:
        row["image_bytes"] = hashlib.sha256(stored(record, row)).hexdigest()
        del row["blob"], row["blob_offset"]
    return rows, [file.sha256 for role in ("part", "blob") for file in record.files(role)]


@pytest.fixture
def many(made: Run) -> Run:
    for number in range(24):
        made.archive.add(f"{number}.png", picture(number, size=70))
        made.pair(f"{number}.png")
        made.pair(f"{number}.png", "another text")
    return made


def test_the_same_run_gives_the_same_bytes(many: Run) -> None:
    first = outputs(many, FetchSettings())
    many.pairs.reverse()
    assert outputs(many, FetchSettings()) == first


def test_the_number_of_units_changes_only_the_place_of_bytes(many: Run) -> None:
    whole, _ = outputs(many, FetchSettings())
    split, _ = outputs(many, FetchSettings(unit_rows=8))
    assert split == whole
    assert len(many.engine.records[-1].units) == 8


def test_settings_change_the_digest(many: Run) -> None:
    specs = {
        many.fetch(FetchSettings(**changed)).spec
        for changed in ({}, {"image_size": 128}, {"unit_rows": 512}, {"formats": ("png",)})
    }
    assert len(specs) == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"unit_rows": 0}, "unit_rows must be at least 1, got 0"),
        ({"image_size": 0}, "image_size must be at least 1, got 0"),
        ({"encode_quality": 101}, "encode_quality must be 1 to 100, got 101"),
        ({"max_aspect_ratio": float("nan")}, "max_aspect_ratio must be at least 1, got nan"),
        ({"formats": ()}, "formats must name at least one format, got none"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FetchSettings(**changed)


def test_no_pairs_give_no_rows(made: Run) -> None:
    made.archive.add("x.png", picture(1))
    record = made.fetch()
    assert (record.rows_in, record.rows_out, record.files("blob")) == (0, 0, [])


def test_an_empty_archive_gives_no_images(made: Run) -> None:
    lost = made.pair("x.png")
    assert made.fetch().rows_out == 0
    assert made.drops() == {lost: ("not_in_archive", None)}
