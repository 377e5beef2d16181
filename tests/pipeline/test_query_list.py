import hashlib
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.queries.query_list import list_digest
from manifests.base.errors import RefusedError
from pipeline.engine import files
from pipeline.queries.settings import QueriesSettings
from pipeline.query_list import RunList, find_list, prepare_list


def digests(paths: list[str]) -> dict[str, str]:
    return {path: files.sha256_of(path) for path in paths}


def prepare(settings: QueriesSettings, root: pathlib.Path) -> RunList:
    return prepare_list(settings, str(root), digests, workers=1)


SHAPES = {
    "list.txt": b"dog\nphoto of a\n\ndog\n",
    "list.json": json.dumps(["photo of a", "dog"]).encode(),
}


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_ready_list_of_any_shape_becomes_the_same_parquet(
    tmp_path: pathlib.Path, name: str
) -> None:
    (tmp_path / name).write_bytes(SHAPES[name])
    made = prepare(QueriesSettings(file=str(tmp_path / name)), tmp_path / "root")
    table = pq.read_table(made.path)
    assert table["query"].to_pylist() == ["dog", "photo of a"]
    assert table["query_id"].to_pylist() == [0, 1]
    assert made.digest == list_digest(["und", "und"], ["dog", "photo of a"])
    assert made.sha256 == hashlib.sha256(pathlib.Path(made.path).read_bytes()).hexdigest()


def test_a_parquet_list_with_a_query_column_is_taken(tmp_path: pathlib.Path) -> None:
    pq.write_table(pa.table({"query": ["b", "a"]}), tmp_path / "list.parquet")
    made = prepare(QueriesSettings(file=str(tmp_path / "list.parquet")), tmp_path / "root")
    assert pq.read_table(made.path)["query"].to_pylist() == ["a", "b"]


def test_a_list_is_made_once_for_the_same_content_and_rules(tmp_path: pathlib.Path) -> None:
    (tmp_path / "words.txt").write_text("a dog and a cat\n" * 5)
    settings = QueriesSettings(text=str(tmp_path / "words.txt"), unigram_min_count=2)
    root = tmp_path / "root"
    assert find_list(settings, str(root), digests) is None
    made = prepare(settings, root)
    written = pathlib.Path(made.path).stat().st_mtime_ns
    assert prepare(settings, root) == made
    assert pathlib.Path(made.path).stat().st_mtime_ns == written
    (tmp_path / "moved.txt").write_text("a dog and a cat\n" * 5)
    moved = QueriesSettings(text=str(tmp_path / "moved.txt"), unigram_min_count=2)
    assert find_list(moved, str(root), digests) == made
    other = QueriesSettings(text=str(tmp_path / "words.txt"), unigram_min_count=3)
    assert find_list(other, str(root), digests) is None
    (tmp_path / "words.txt").write_text("a dog\n" * 5)
    assert prepare(settings, root).digest != made.digest


def test_inputs_that_are_not_there_are_refused_before_any_work(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "root"
    with pytest.raises(RefusedError, match=r"\[queries\]: no input"):
        prepare(QueriesSettings(), root)
    with pytest.raises(RefusedError, match=r"queries.dump: .*absent.xml: no such file"):
        prepare(QueriesSettings(dump=str(tmp_path / "absent.xml")), root)
    (tmp_path / "list.txt").write_bytes(b"dog\n\xff\n")
    with pytest.raises(RefusedError, match=r"queries.file: not a list"):
        prepare(QueriesSettings(file=str(tmp_path / "list.txt")), root)
    assert not list(tmp_path.rglob("*.parquet"))
