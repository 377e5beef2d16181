"""The stage on a small selection: the same bytes however it is cut, nothing wrong written."""

import dataclasses
import hashlib
import json
import pathlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.base.errors import OpenwitError, RefusedError
from manifests.format import Manifest, load
from manifests.format.naming import ROOT_NAME
from pipeline.stages.shards import ShardsSettings
from tests.pipeline.stages.shard_cases import Row, Run, by_id, make_row

MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(plain_engine: Any, tmp_path: pathlib.Path) -> MakeRun:
    """Call it with rows, a number of units and a seed for their order, and a name for ROOT."""
    query_list = tmp_path / "queries.parquet"
    listed = {"query_id": [0, 1], "query": ["cat", "dog"], "lang": ["en", "en"]}
    pq.write_table(pa.table(listed), query_list)

    def make(rows: Sequence[Row], units: int = 2, seed: int = 0, name: str = "root") -> Run:
        mixed = list(rows)
        random.Random(seed).shuffle(mixed)  # noqa: S311 (an order, not a secret)
        cut: dict[str, list[Row]] = {f"{unit:05d}-00000000": [] for unit in range(units)}
        for number, row in enumerate(mixed):
            cut[f"{number % units:05d}-00000000"].append(row)
        ordered = {unit: sorted(part, key=by_id) for unit, part in cut.items()}
        engine = dataclasses.replace(plain_engine, root=str(tmp_path / name))
        return Run(engine, ordered, query_list)

    return make


def shard_bytes(manifest: Manifest) -> dict[str, bytes]:
    folder = pathlib.Path(manifest.root)
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


def test_shards_are_full_but_the_last_and_ascend_by_pair_id(make_run: MakeRun) -> None:
    rows = [make_row(number) for number in range(25)]
    manifest = make_run(rows).write(ShardsSettings(samples_per_shard=10))
    assert [shard.samples for shard in manifest.shards] == [10, 10, 5]
    ids = [
        identity
        for shard in manifest.shards
        for identity in manifest.reader(shard).table(["pair_id"])["pair_id"].to_pylist()
    ]
    assert ids == sorted(row["pair_id"].hex() for row in rows)
    assert manifest.shards[1].key_first == "000000010"


def test_samples_hold_what_was_selected(make_run: MakeRun) -> None:
    rows = {row["pair_id"].hex(): row for row in map(make_row, range(12))}
    manifest = make_run(list(rows.values())).write(ShardsSettings(samples_per_shard=5))
    for shard in manifest.shards:
        reader = manifest.reader(shard)
        samples = reader.table().to_pylist()
        for sample, image in zip(samples, reader.read(range(shard.samples)), strict=True):
            row = rows[sample["pair_id"]]
            assert image == row["image"]
            assert sample["caption"] == row["text"]
            assert sample["sha256"] == row["sha256"].hex()
            assert sample["cluster_id"] == row["cluster_id"].hex()
            assert sample["query_ids"] == [1]
            assert sample["page_input"] == (0 if row["source_file"] == "a.warc.gz" else 1)
            assert sample["image_input"] == (1 if row["image_file"] else None)


@pytest.mark.parametrize(
    "settings",
    [
        {"window_bytes": 1},
        {"window_bytes": 700, "read_concurrency": 1},
        {"coalesce_gap_bytes": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize(("units", "seed"), [(1, 1), (5, 2)])
def test_other_cuts_orders_and_windows_give_the_same_bytes(
    make_run: MakeRun, settings: dict[str, int], units: int, seed: int
) -> None:
    rows = [make_row(number) for number in range(40)]
    plain = make_run(rows, name="plain").write(ShardsSettings(samples_per_shard=7))
    other = make_run(rows, units, seed, name="other").write(
        ShardsSettings(samples_per_shard=7, **settings)  # type: ignore[arg-type]
    )
    ours, theirs = shard_bytes(plain), shard_bytes(other)
    assert {name: data for name, data in ours.items() if not name.endswith("json")} == {
        name: data for name, data in theirs.items() if not name.endswith("json")
    }
    assert other.digest == plain.digest


def test_a_second_run_rewrites_nothing(make_run: MakeRun) -> None:
    job = make_run([make_row(number) for number in range(6)])
    path = pathlib.Path(job.write(ShardsSettings()).root, ROOT_NAME)
    before = path.stat().st_mtime_ns, path.read_bytes()
    job.write(ShardsSettings())
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before


def test_another_description_changes_the_manifest_and_no_shard(make_run: MakeRun) -> None:
    job = make_run([make_row(number) for number in range(6)])
    before = job.write(ShardsSettings())
    after = job.write(ShardsSettings(), description="dogs", creator="me")
    assert (before.description, after.description, after.creator) == ("", "dogs", "me")
    assert after.digest == before.digest


def test_a_dataset_of_other_settings_is_not_overwritten(make_run: MakeRun) -> None:
    job = make_run([make_row(number) for number in range(12)])
    before = job.write(ShardsSettings(samples_per_shard=3))
    kept = shard_bytes(before)
    with pytest.raises(RefusedError, match=r"shards\.replace"):
        job.write(ShardsSettings(samples_per_shard=5))
    assert shard_bytes(load(before.root)) == kept
    after = job.write(ShardsSettings(samples_per_shard=5, replace=True))
    assert [shard.samples for shard in after.shards] == [5, 5, 2]
    assert sorted(shard_bytes(after)) == sorted(
        f"{number:08d}.{ext}" for number in range(3) for ext in ("tar", "parquet", "json")
    )


def test_an_unreadable_manifest_stops_the_stage(make_run: MakeRun) -> None:
    job = make_run([make_row(1)])
    path = pathlib.Path(job.write(ShardsSettings()).root, ROOT_NAME)
    path.write_text("{}")
    with pytest.raises(RefusedError, match="cannot be read"):
        job.write(ShardsSettings())
    assert job.write(ShardsSettings(replace=True)).samples == 1


def test_an_image_that_is_not_as_recorded_fails_and_names_the_place(make_run: MakeRun) -> None:
    row = dict(make_row(1), sha256=bytes(32))
    expected = r"offset 0: sha256 [0-9a-f]{64} of 103 bytes, expected 0{64} of 103"
    with pytest.raises(OpenwitError, match=expected):
        make_run([row]).write(ShardsSettings())


def test_a_blob_that_ends_early_fails_and_names_both_sizes(make_run: MakeRun) -> None:
    row = dict(make_row(1), blob_bytes=200)
    with pytest.raises(OpenwitError, match=r"of 103 bytes, expected [0-9a-f]{64} of 200"):
        make_run([row]).write(ShardsSettings())


def test_one_pair_twice_is_an_error(make_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="pair ids must ascend"):
        make_run([make_row(1), make_row(1)]).write(ShardsSettings())


def test_a_row_of_an_unknown_input_is_an_error(make_run: MakeRun) -> None:
    row = dict(make_row(1), source_file="c.warc.gz")
    with pytest.raises(OpenwitError, match=r"c\.warc\.gz"):
        make_run([row]).write(ShardsSettings())


def test_shards_that_would_be_too_large_are_refused_with_a_number_that_fits(
    make_run: MakeRun,
) -> None:
    with pytest.raises(RefusedError, match="at most 9 fit"):
        make_run([make_row(number) for number in range(12)]).write(
            ShardsSettings(samples_per_shard=12, max_shard_bytes=1000)
        )


def test_no_selected_pair_gives_a_valid_dataset(make_run: MakeRun) -> None:
    manifest = make_run([]).write(ShardsSettings())
    assert manifest.totals == {"shards": 0, "samples": 0, "tar_bytes": 0, "parquet_bytes": 0}
    assert manifest.digest == f"sha256:{hashlib.sha256(b'').hexdigest()}"
    assert manifest.hash is None


def test_the_funnel_and_the_ledger_agree(make_run: MakeRun) -> None:
    manifest = make_run([make_row(number) for number in range(6)], units=3).write(ShardsSettings())
    assert manifest.funnel is not None
    assert [(line["stage"], line["rows_in"], line["rows_out"]) for line in manifest.funnel] == [
        ("dedup", 9, 9),
        ("balance", 9, 6),
        ("shards", 6, 6),
    ]
    assert manifest.funnel[1]["drops"] == {"over_cap": 3}
    (file,) = manifest.listed("ledger")
    ledger = pq.read_table(manifest.path(file.path)).to_pylist()
    assert sum(row["count"] for row in ledger) == 3
    assert all(len(row["pair_id"]) == 32 and row["url"] == "http://x/" for row in ledger)


def test_queries_that_matched_nothing_are_listed_with_zeros(make_run: MakeRun) -> None:
    manifest = make_run([make_row(number) for number in range(6)]).write(ShardsSettings())
    queries = pq.read_table(manifest.path("queries.parquet")).to_pylist()
    assert [(row["query"], row["matched"], row["kept"], row["theta"]) for row in queries] == [
        ("cat", 0, 0, 2**64 - 1),
        ("dog", 6, 6, 5),
    ]
    assert manifest.query_list == {
        "sha256": "1" * 64, "digest": "2" * 64, "rows": 2, "cap": 20,
    }  # fmt: skip


def test_no_path_of_the_run_is_in_the_dataset(make_run: MakeRun, tmp_path: pathlib.Path) -> None:
    manifest = make_run([make_row(number) for number in range(6)]).write(ShardsSettings())
    for path in pathlib.Path(manifest.root).rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes()
            assert b"/somewhere" not in path.read_bytes()


def test_hash_records_may_be_left_out(make_run: MakeRun) -> None:
    manifest = make_run([make_row(1)]).write(ShardsSettings(dedup_columns=False))
    columns = manifest.reader(manifest.shards[0]).table().schema.names
    assert not [name for name in columns if name.startswith("dedup_")]
    assert "cluster_id" in columns


def test_shard_records_hold_what_the_manifest_lists(make_run: MakeRun) -> None:
    manifest = make_run([make_row(number) for number in range(6)]).write(
        ShardsSettings(samples_per_shard=4)
    )
    for shard in manifest.shards:
        record = json.loads(pathlib.Path(manifest.path(f"shards/{shard.id:08d}.json")).read_bytes())
        assert record["kind"] == "openwit-shard"
        assert record["spec"] == manifest.spec
        assert record["tar"] == shard.tar.to_json()
