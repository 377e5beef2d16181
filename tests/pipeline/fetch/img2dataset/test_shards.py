import hashlib
import io
import json
import pathlib
import tarfile
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.verdict import Drop, DropReason
from manifests.base.errors import OpenwitError
from pipeline.config import load_config
from pipeline.fetch.img2dataset.shards import Found, open_shard
from pipeline.workflow import run_stages
from tests.pipeline.stages.test_fetch import picture

Layout = Literal["webdataset", "files", "parquet"]
LAYOUTS = ("webdataset", "files", "parquet")


def image_of(number: int) -> bytes:
    return picture(number)


def write_shard(folder: pathlib.Path, layout: Layout, shard: int = 0, count: int = 4) -> str:
    """Write what img2dataset 1.47 writes: every fourth row failed, rows in order of arrival."""
    rows: list[dict[str, Any]] = []
    for number in reversed(range(count)):
        key = f"{shard:05d}{number:04d}"
        failed = number % 4 == 1
        rows.append(
            {
                "url": f"http://h.example/{key}.jpg", "caption": f"a red dog {key}", "key": key,
                "status": "failed_to_download" if failed else "success",
                "error_message": "HTTP Error 404: Not Found" if failed else None,
                "width": None if failed else 3, "height": None if failed else 3,
                "original_width": None if failed else 640,
                "original_height": None if failed else 480,
                "sha256": None if failed else hashlib.sha256(key.encode()).hexdigest(),
            }
        )  # fmt: skip
    images = {row["key"]: image_of(int(row["key"])) for row in rows if row["status"] == "success"}
    stem = folder / f"{shard:05d}"
    if layout == "webdataset":
        with tarfile.open(f"{stem}.tar", "w") as tar:
            for row in rows:
                if row["key"] in images:
                    for ext, data in (
                        ("jpg", images[row["key"]]),
                        ("txt", str(row["caption"]).encode()),
                        ("json", json.dumps(row).encode()),
                    ):
                        member = tarfile.TarInfo(f"{row['key']}.{ext}")
                        member.size = len(data)
                        tar.addfile(member, io.BytesIO(data))
    elif layout == "files":
        stem.mkdir()
        for key, data in images.items():
            (stem / f"{key}.jpg").write_bytes(data)
    else:
        rows = [{**row, "jpg": images.get(row["key"])} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), f"{stem}.parquet", row_group_size=3)
    return f"{stem}.parquet"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_row_gives_its_image_or_why_there_is_none(
    tmp_path: pathlib.Path, layout: Layout
) -> None:
    path = write_shard(tmp_path, layout, count=8)
    with open_shard(path) as shard:
        found = [shard.image(row) for row in range(8)]
    for row, each in enumerate(found):
        number = 7 - row
        if number % 4 == 1:
            assert isinstance(each, Drop)
            assert (each.reason, each.value) == (DropReason.HTTP_GONE, 404)
            continue
        assert isinstance(each, Found)
        assert each.body == image_of(number)
        assert each.original_sha256 == hashlib.sha256(f"{number:09d}".encode()).digest()
        assert (each.original_width, each.original_height) == (640, 480)


def test_an_image_that_is_not_there_costs_its_row(tmp_path: pathlib.Path) -> None:
    path = write_shard(tmp_path, "webdataset")
    whole = pathlib.Path(path).with_suffix(".tar")
    whole.write_bytes(whole.read_bytes()[:1000])
    with open_shard(path) as shard:
        drops = [shard.image(row) for row in (1, 3)]
    assert {drop.reason for drop in drops if isinstance(drop, Drop)} == {DropReason.ARCHIVE_RECORD}


def test_another_parquet_file_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"url": ["http://h.example/"]}), path)
    with pytest.raises(OpenwitError, match="has no column key"), open_shard(str(path)):
        pass


@pytest.mark.timeout(300)  # a dozen jobs of Beam, in this process
def test_shards_become_a_dataset_and_failed_rows_ledger_rows(tmp_path: pathlib.Path) -> None:
    for shard, layout in enumerate(LAYOUTS):
        write_shard(tmp_path, layout, shard)  # type: ignore[arg-type]
    (tmp_path / "queries.txt").write_text("red\n")
    config = tmp_path / "config.toml"
    config.write_text(
        'root = "run"\n[input]\nkind = "img2dataset"\n'
        'paths = ["00000.parquet", "00001.parquet", "00002.parquet"]\n'
        '[queries]\nfile = "queries.txt"\n[engine]\nmode = "memory"\n'
    )
    outcome = run_stages(load_config(str(config)))
    assert outcome["samples"] == 9
    fetched = next(line for line in outcome["funnel"] if line["stage"] == "fetch")
    assert fetched["drops"] == {"http_gone": 3}
    paths = sorted((tmp_path / "run" / "stages").glob("fetch-*/part-*.parquet"))
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert {row["image_source"] for row in rows} == {"img2dataset"}
    key = "000000003"
    row = next(row for row in rows if key in row["url"])
    assert row["original_sha256"] == hashlib.sha256(key.encode()).digest()
    assert (row["original_width"], row["width"], row["image_file"]) == (640, 100, "00000.parquet")
