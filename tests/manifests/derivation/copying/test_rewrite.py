"""What every derivation shares: interrupted runs go on, sources in any order, changed sources."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest

from manifests.base.errors import OpenwitError, RefusedError
from manifests.derivation.copying import rewrite as rewrites
from manifests.derivation.copying.resume import MARKER
from manifests.derivation.sample import sample
from manifests.format import Manifest, ShardWriter, commit, join, load
from manifests.format.join import rows

MakeDataset = Callable[..., Manifest]


@pytest.fixture
def source(make_dataset: MakeDataset) -> Manifest:
    return make_dataset(30, 4)


def content(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class KilledError(Exception):
    pass


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    source: Manifest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    sample(source.root, str(tmp_path / "whole"), count=17)
    written: list[int] = []

    class Dying(ShardWriter):
        def write(self) -> Any:
            if self._shard == place and not written.count(-1):
                written.append(-1)
                raise KilledError
            written.append(self._shard)
            return super().write()

    monkeypatch.setattr(rewrites, "ShardWriter", Dying)
    with pytest.raises(KilledError):
        sample(source.root, str(tmp_path / "out"), count=17)
    assert not (tmp_path / "out/manifest.json").exists()
    with pytest.raises(RefusedError, match="is not empty"):
        sample(source.root, str(tmp_path / "out"), count=18)
    sample(source.root, str(tmp_path / "out"), count=17)
    assert [number for number in written if number >= 0] == [0, 1, 2, 3, 4]
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_damaged_shard_of_a_killed_run_is_written_again(
    source: Manifest, tmp_path: pathlib.Path
) -> None:
    sample(source.root, str(tmp_path / "whole"), count=17)
    out = tmp_path / "out"
    sample(source.root, str(out), count=17)
    (out / "manifest.json").unlink()
    mark: dict[str, Any] = {"op": "sample", "params": {"fraction": None, "n": 17, "seed": 0}}
    mark["sources"] = [source.digest]
    (out / MARKER).write_text(json.dumps(mark, separators=(",", ":")) + "\n")
    (out / "shards/00000001.tar").write_bytes(b"short")
    (out / "shards/00000002.json").write_bytes(b"{")
    sample(source.root, str(out), count=17)
    assert content(out) == content(tmp_path / "whole")


def test_a_source_that_changes_meanwhile_stops_it(
    source: Manifest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(root: str) -> Manifest:
        return dataclasses.replace(load(root), shards=source.shards[1:])

    monkeypatch.setattr(rewrites, "load", change)
    with pytest.raises(OpenwitError, match="it changed meanwhile"):
        sample(source.root, str(tmp_path / "out"), count=5)
    assert not (tmp_path / "out/manifest.json").exists()


def as_found(source: Manifest) -> Manifest:
    """The same dataset, said to be in no order: its shards are renumbered from the end."""
    shards = tuple(
        dataclasses.replace(shard, id=number, key_first=f"{number:09d}", key_last=f"{number:09d}")
        for number, shard in enumerate(reversed(source.shards))
    )
    changed = dataclasses.replace(source, shards=shards, order="as_found")
    commit(source.root, changed)
    return changed


def test_a_dataset_in_no_order_is_sorted_first(
    source: Manifest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "BUCKET_ROWS", 5)
    _, sorted_one = sample(source.root, str(tmp_path / "a"), fraction="1")
    unsorted = as_found(source)
    assert unsorted.digest != source.digest
    ids = [each for table in rows(unsorted) for each in table["pair_id"].to_pylist()]
    assert ids == sorted(ids)
    _, made = sample(source.root, str(tmp_path / "b"), fraction="1")
    assert made
    assert sorted_one
    assert made.digest == sorted_one.digest


def test_images_of_several_formats_are_refused(source: Manifest, tmp_path: pathlib.Path) -> None:
    commit(source.root, dataclasses.replace(source, image_ext="mixed"))
    with pytest.raises(RefusedError, match="mixed"):
        sample(source.root, str(tmp_path / "out"), count=5)


def test_null_ids_do_not_get_lost(source: Manifest, tmp_path: pathlib.Path) -> None:
    _, made = sample(source.root, str(tmp_path / "out"), count=30)
    assert made
    assert pq.read_table(made.path(made.shards[0].parquet.path)).num_rows == 4
    assert made.digest == source.digest
