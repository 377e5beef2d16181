import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from manifests.format import Layout, Manifest, Samples, ShardRecord, ShardWriter
from tests.manifests.conftest import make_rows, sample_batch

MakeDataset = Callable[..., Manifest]
LAYOUT = Layout(samples_per_shard=10)


def write(root: pathlib.Path, rows: list[dict[str, Any]], images: list[bytes]) -> ShardRecord:
    samples = Samples(sample_batch(rows, LAYOUT), images)
    return ShardWriter(0, str(root), [samples], layout=LAYOUT).write()


def all_bytes(manifest: Manifest) -> dict[str, bytes]:
    root = pathlib.Path(manifest.root)
    files = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("window", [1, 3, 10])
def test_other_windows_give_the_same_bytes(make_dataset: MakeDataset, window: int) -> None:
    plain = make_dataset(count=25, per_shard=10, name="plain")
    other = make_dataset(count=25, per_shard=10, name="other", window=window)
    assert all_bytes(plain) == all_bytes(other)


def test_shards_but_the_last_are_full(make_dataset: MakeDataset) -> None:
    assert [shard.samples for shard in make_dataset(25, 10).shards] == [10, 10, 5]


def test_offsets_are_those_of_the_members(make_dataset: MakeDataset) -> None:
    manifest = make_dataset(5, 3)
    for shard in manifest.shards:
        reader = manifest.reader(shard)
        data = pathlib.Path(reader.tar_path).read_bytes()
        for row in reader.table().to_pylist():
            start = row["text_offset"]
            assert data[start : start + row["text_bytes"]].decode() == row["caption"]
            assert data[row["image_offset"] - 512 :].startswith(f"{row['key']}.jpg\0".encode())


@pytest.mark.parametrize(
    ("caption", "message"), [("a\0b", "without NUL"), ("x" * 65_537, "at most 65536 bytes")]
)
def test_a_caption_that_breaks_the_contract_names_its_pair(
    tmp_path: pathlib.Path, caption: str, message: str
) -> None:
    rows, images = make_rows(1)
    identity = rows[0]["pair_id"]
    with pytest.raises(ValueError, match=f"{identity}.*{message}"):
        write(tmp_path, [rows[0] | {"caption": caption}], list(images.values()))
    assert not list((tmp_path / "shards").iterdir())


def test_pairs_out_of_order_are_refused(tmp_path: pathlib.Path) -> None:
    rows, images = make_rows(3)
    with pytest.raises(ValueError, match="pair ids must ascend"):
        write(tmp_path, rows[::-1], [images[row["pair_id"]] for row in rows[::-1]])


def test_too_many_and_no_samples_are_refused(tmp_path: pathlib.Path) -> None:
    rows, images = make_rows(11)
    with pytest.raises(ValueError, match="at most 10 samples, got 11"):
        write(tmp_path, rows, [images[row["pair_id"]] for row in rows])
    with pytest.raises(ValueError, match="at least one sample"):
        ShardWriter(0, str(tmp_path), [], layout=LAYOUT).write()


@pytest.mark.parametrize(
    ("setting", "value"), [("samples_per_shard", 0), ("row_group_rows", 0), ("zstd_level", 20)]
)
def test_settings_out_of_range_are_refused(setting: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{setting} must be"):
        Layout(**{setting: value})  # type: ignore[arg-type]


def test_two_writers_of_one_shard_at_once_leave_one_whole_shard(tmp_path: pathlib.Path) -> None:
    rows, images = make_rows(6)
    data = [images[row["pair_id"]] for row in rows]
    alone = write(tmp_path / "alone", rows, data)

    def windows() -> Iterator[Samples]:
        yield Samples(sample_batch(rows[:3], LAYOUT), data[:3])
        write(tmp_path / "both", rows, data)
        yield Samples(sample_batch(rows[3:], LAYOUT), data[3:])

    assert ShardWriter(0, str(tmp_path / "both"), windows(), layout=LAYOUT).write() == alone
    folders = [tmp_path / name / "shards" for name in ("alone", "both")]
    found = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert found[0] == found[1]
    assert sorted(found[0]) == ["00000000.json", "00000000.parquet", "00000000.tar"]
