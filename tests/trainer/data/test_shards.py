"""Shards as the trainer sees them, and how they are compared with the manifest."""

import dataclasses
import io
import math
import pathlib
import tarfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.base.errors import OpenwitError
from manifests.format import Finding, Manifest
from tests.trainer.data.conftest import DatasetMaker, noise_jpeg
from trainer.data.order import hash64
from trainer.data.shards import (
    DataConfig,
    ShardTables,
    Verify,
    check_shard,
    pair_numbers,
    read_shard,
    refuse_findings,
)


def rewrite(manifest: Manifest, shard: int, change: Callable[[pa.Table], pa.Table]) -> None:
    path = manifest.path(manifest.shards[shard].parquet.path)
    pq.write_table(change(pq.read_table(path)), path)


def with_column(name: str, values: pa.Array) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.schema.get_field_index(name), name, values)


def test_a_shard_is_read_in_the_order_of_its_tar(make_dataset: DatasetMaker) -> None:
    manifest = make_dataset([3, 2])
    table = read_shard(manifest, manifest.shards[1], seed=9)
    data = pathlib.Path(table.tar_path).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = [name for name in tar.getnames() if name.endswith(".jpg")]
    assert table.keys.tolist() == ["000000003", "000000004"]
    assert members == [f"{key}.jpg" for key in table.keys]
    places = zip(table.offsets.tolist(), table.lengths.tolist(), strict=True)
    images = [data[offset : offset + length] for offset, length in places]
    assert images == [noise_jpeg(3), noise_jpeg(4)]
    assert table.captions.to_pylist() == ["a photo of thing 3", "a photo of thing 4"]
    ids = [int.from_bytes(bytes.fromhex(each)[:8], "little") for each in table.pair_ids.to_pylist()]
    assert table.ids.tolist() == ids
    assert table.prints.tolist() == hash64("sample", 9, 0, table.ids).tolist()


def test_the_number_of_a_pair_is_its_first_8_bytes() -> None:
    # http://example.com/a.jpg, "a photo of a dog": the specification's pair id
    ids = pa.array(["5836a3eecff53951d31311f58fb160f1", "0100000000000000ffffffffffffffff"])
    assert pair_numbers(ids).tolist() == [0x5139F5CFEEA33658, 1]
    assert pair_numbers(ids[:0]).tolist() == []


@pytest.mark.parametrize(
    "texts",
    [["00" * 15], ["00" * 15, "00" * 17], ["0g" + "00" * 15], ["é" * 32], [" 0" * 16], [None]],
)
def test_other_pair_ids_are_refused(texts: list[str | None]) -> None:
    with pytest.raises(OpenwitError, match=r"a\.parquet: a pair id is not 32 hexadecimal digits"):
        pair_numbers(pa.array(texts, pa.string()), path="a.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.slice(1), "1 rows, the manifest says 2"),
        (lambda table: table.drop_columns(["caption"]), "has no column caption"),
        (with_column("image_offset", pa.array(["far", "far"])), "'far'"),
        (with_column("pair_id", pa.array(["a", "b"])), "not 32 hexadecimal digits"),
    ],
)
def test_a_table_that_is_not_as_promised_names_its_file(
    make_dataset: DatasetMaker, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    manifest = make_dataset([2])
    rewrite(manifest, 0, change)
    with pytest.raises(OpenwitError, match=rf"shards/00000000.parquet: .*{message}"):
        read_shard(manifest, manifest.shards[0])


def test_a_missing_table_is_an_error(make_dataset: DatasetMaker) -> None:
    manifest = make_dataset([2])
    pathlib.Path(manifest.path("shards/00000000.parquet")).unlink()
    with pytest.raises(OpenwitError, match="cannot be read"):
        read_shard(manifest, manifest.shards[0])


def test_a_sample_without_a_place_has_no_bytes(make_dataset: DatasetMaker) -> None:
    manifest = make_dataset([2])
    rewrite(manifest, 0, with_column("image_offset", pa.array([512, None], pa.int64())))
    rewrite(manifest, 0, with_column("image_bytes", pa.array([9, None], pa.int32())))
    table = read_shard(manifest, manifest.shards[0])
    assert (table.offsets.tolist(), table.lengths.tolist()) == ([512, 0], [9, 0])


def test_no_more_tables_are_kept_than_asked_for(make_dataset: DatasetMaker) -> None:
    manifest = make_dataset([1] * 4)
    tables = ShardTables(manifest, seed=0, keep=2)
    assert tables.samples == {0: 1, 1: 1, 2: 1, 3: 1}
    first, second = tables.read(0), tables.read(1)
    assert tables.read(0) is first
    tables.read(2)  # lets go of the one used longest ago
    assert tables.read(0) is first
    assert tables.read(1) is not second


def test_the_sum_of_a_shard_outlives_its_table(make_dataset: DatasetMaker) -> None:
    manifest = make_dataset([3, 2])
    tables = ShardTables(manifest, seed=4, keep=1)
    total = sum(hash64("sample", 4, 0, tables.read(0).ids).tolist()) % 2**64
    tables.read(1)
    pathlib.Path(manifest.path("shards/00000000.parquet")).unlink()
    assert tables.print_sum(0, 0) == total


def test_the_sum_of_a_shard_not_yet_read_reads_it(make_dataset: DatasetMaker) -> None:
    tables = ShardTables(make_dataset([3, 2]), seed=4, keep=1)
    assert tables.print_sum(0, 1) == int(tables.read(1).prints.sum(dtype=np.uint64))


def flip_in_tar(manifest: Manifest) -> None:
    path = pathlib.Path(manifest.path("shards/00000000.tar"))
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)


def cut_tar(manifest: Manifest) -> None:
    path = pathlib.Path(manifest.path("shards/00000000.tar"))
    path.write_bytes(path.read_bytes()[:-1])


def drop_row(manifest: Manifest) -> None:
    rewrite(manifest, 0, lambda table: table.slice(1))


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (flip_in_tar, {"none": [], "size": [], "sha256": ["sha256_mismatch"]}),
        (
            cut_tar,
            {"none": [], "size": ["size_mismatch"], "sha256": ["size_mismatch", "sha256_mismatch"]},
        ),
        (
            drop_row,
            {
                "none": ["count_mismatch"],
                "size": ["size_mismatch"],
                "sha256": ["size_mismatch", "sha256_mismatch", "count_mismatch"],
            },
        ),
    ],
)
def test_damage_is_found_as_thoroughly_as_asked(
    make_dataset: DatasetMaker,
    damage: Callable[[Manifest], None],
    found: dict[Verify, list[str]],
) -> None:
    manifest = make_dataset([2])
    levels: list[Verify] = ["none", "size", "sha256"]
    assert [check_shard(manifest, manifest.shards[0], level) for level in levels] == [[], [], []]
    damage(manifest)
    for level, codes in found.items():
        findings = check_shard(manifest, manifest.shards[0], level)
        assert [finding.code for finding in findings] == codes


@pytest.mark.parametrize("level", ["none", "size", "sha256"])
def test_rows_are_always_counted(make_dataset: DatasetMaker, level: Verify) -> None:
    manifest = make_dataset([2])
    shard = dataclasses.replace(manifest.shards[0], samples=3)
    assert [finding.code for finding in check_shard(manifest, shard, level)] == ["count_mismatch"]


def test_findings_are_told_with_both_values_the_first_20(make_dataset: DatasetMaker) -> None:
    manifest = make_dataset([1])
    refuse_findings(manifest, [])
    findings = [Finding(code="missing_file", message="no such file", path="shards/00000000.tar")]
    findings += [
        Finding(code="x", message="other size", path=f"{n}.tar", expected="7", actual="6")
        for n in range(22)
    ]
    with pytest.raises(OpenwitError) as caught:
        refuse_findings(manifest, findings)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        f"{manifest.root}/shards/00000000.tar: no such file: expected a readable file, found none"
    )
    assert lines[1] == f"{manifest.root}/0.tar: other size: expected 7, found 6"
    assert lines[20:] == [
        "and 3 more",
        f"{manifest.root}: copy it again, or run openwit-manifest verify",
    ]
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"workers": -2}, "workers must be at least -1, got -2"),
        ({"verify_full_below_gb": -1.0}, "verify_full_below_gb must be at least 0, got -1"),
        ({"prefetch": 0}, "prefetch must be at least 1, got 0"),
        ({"open_shards": 0}, "open_shards must be at least 1, got 0"),
        ({"crop_scale": (0.9,)}, r"crop_scale must be two numbers .* got \[0.9\]"),
        ({"crop_scale": (0.9, 0.5)}, "the smaller first"),
        ({"crop_scale": (0.0, 1.0)}, "above 0"),
        ({"crop_scale": (0.5, 1.1)}, "up to 1"),
        ({"crop_scale": (math.nan, 1.0)}, "crop_scale must be"),
        ({"max_pixels": 0}, "max_pixels must be from 1 to 89478485, got 0"),
        ({"max_pixels": 89_478_486}, "max_pixels must be from 1 to 89478485"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(manifest="dataset", **setting)
