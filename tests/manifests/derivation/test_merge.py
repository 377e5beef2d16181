import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.base.errors import RefusedError
from manifests.derivation.filter import filter_dataset
from manifests.derivation.merge import merge
from manifests.derivation.split import Part, split
from manifests.format import Manifest, commit
from manifests.format.join import rows
from manifests.format.schema import QUERIES
from manifests.inspection.verify import verify
from tests.manifests.conftest import listed
from tests.manifests.damage import Copy

MakeDataset = Callable[..., Manifest]


def column(manifest: Manifest, name: str) -> list[Any]:
    return [each for table in rows(manifest) for each in table[name].to_pylist()]


@pytest.fixture
def halves(make_dataset: MakeDataset, tmp_path: pathlib.Path) -> list[Manifest]:
    """Two datasets that share the pairs of one third."""
    source = make_dataset(30, 7)
    made = split(source.root, str(tmp_path / "p"), [Part(name, "0.25") for name in "abcd"])
    left, _ = merge([made["a"].root, made["b"].root], str(tmp_path / "left"))
    right, _ = merge([made["b"].root, made["c"].root], str(tmp_path / "right"))
    return [left, right]


def test_a_pair_in_two_datasets_is_refused_or_taken_once(
    halves: list[Manifest], tmp_path: pathlib.Path, in_process: None
) -> None:
    roots = [half.root for half in halves]
    with pytest.raises(RefusedError, match="--on-duplicate first"):
        merge(roots, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    made, given = merge(roots, str(tmp_path / "out"), on_duplicate="first")
    ids = [set(column(half, "pair_id")) for half in halves]
    assert set(column(made, "pair_id")) == ids[0] | ids[1]
    assert given == [len(ids[0]), len(ids[1] - ids[0])]
    assert made.funnel is not None
    assert made.funnel[0]["drops"] == {"merge_duplicate": len(ids[0] & ids[1])}
    assert verify(made.root, "deep").by_code == {}


def test_counts_of_a_common_origin_are_taken_once(halves: list[Manifest]) -> None:
    tables = [pq.read_table(half.path("queries.parquet")) for half in halves]
    assert tables[0]["matched"].to_pylist() == [33, 33]
    assert [parent["op"] for parent in halves[0].parents] == ["split", "split", "merge", "merge"]


def other_queries(manifest: Manifest, queries: list[str]) -> Manifest:
    """Give a dataset another list of queries, of the same length."""
    root = pathlib.Path(manifest.root)
    table = pq.read_table(root / "queries.parquet")
    table = table.set_column(1, QUERIES.field("query"), pa.array(queries))
    pq.write_table(table.cast(QUERIES), root / "queries.parquet")
    files = [file for file in manifest.files if file.role != "queries"]
    entry = listed(root, "queries.parquet", "queries", len(table))
    changed = dataclasses.replace(
        manifest,
        files=tuple(sorted([*files, entry], key=lambda file: file.path)),
        query_list={"sha256": "1" * 64, "rows": 2, "cap": 20},
    )
    commit(manifest.root, changed)
    return changed


def test_lists_of_queries_are_joined_by_text_and_ids_follow(
    make_dataset: MakeDataset, tmp_path: pathlib.Path, in_process: None
) -> None:
    whole = make_dataset(20, 7)
    made = split(whole.root, str(tmp_path / "p"), [Part("a", "0.5"), Part("b", "0.5")])
    other = other_queries(made["b"], ["apple", "café"])  # "café" is 0 in the one, 1 in the other
    roots = [made["a"].root, other.root]
    with pytest.raises(RefusedError, match="--union-queries"):
        merge(roots, str(tmp_path / "out"))
    joined, _ = merge(roots, str(tmp_path / "out"), union_queries=True)
    queries = pq.read_table(joined.path("queries.parquet"))
    assert queries["query"].to_pylist() == ["apple", "café", "dog"]
    names: dict[str, set[str]] = {}
    for part, text in ((made["a"], ["café", "dog"]), (other, ["apple", "café"])):
        lists = zip(column(part, "pair_id"), column(part, "query_ids"), strict=True)
        names |= {identity: {text[number] for number in numbers} for identity, numbers in lists}
    for identity, numbers in zip(
        column(joined, "pair_id"), column(joined, "query_ids"), strict=True
    ):
        assert {queries["query"][number].as_py() for number in numbers} == names[identity]
        assert numbers == sorted(numbers)
    assert joined.query_list is None
    assert verify(joined.root, "deep").by_code == {}


def test_columns_that_one_has_not_are_filled_if_asked(
    make_dataset: MakeDataset, tmp_path: pathlib.Path, in_process: None
) -> None:
    whole = make_dataset(20, 7)
    made = split(whole.root, str(tmp_path / "p"), [Part("a", "0.5"), Part("b", "0.5")])
    short = Copy(made["b"])
    for shard in made["b"].shards:
        path = short.root / shard.parquet.path
        pq.write_table(pq.read_table(path).drop_columns(["phash", "dedup_trim"]), path)
    short.edit(
        lambda value: value.update(
            schema=[each for each in value["schema"] if each["name"] not in ("phash", "dedup_trim")]
        )
    )
    short.fix_records()
    roots = [made["a"].root, made["b"].root]
    with pytest.raises(RefusedError, match="has no column phash: --fill-missing"):
        merge(roots, str(tmp_path / "out"))
    joined, _ = merge(roots, str(tmp_path / "out"), fill_missing=True)
    nulls = [value is None for value in column(joined, "phash")]
    assert sum(nulls) == made["b"].samples
    assert verify(joined.root, "deep").by_code == {}


def test_other_settings_are_refused_or_allowed(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    first = make_dataset(9, 5)
    second = filter_dataset(first.root, str(tmp_path / "b"), where="duplicates = 7").dataset
    assert second is not None
    commit(second.root, dataclasses.replace(second, config={"balance": {"cap": 21}}))
    with pytest.raises(RefusedError, match="--allow-config-difference"):
        merge([first.root, second.root], str(tmp_path / "out"))
    made, given = merge(
        [first.root, second.root], str(tmp_path / "out"), allow_config_difference=True
    )
    assert (made.digest, made.config, given) == (first.digest, None, [9, 0])


def test_one_dataset_alone_and_a_folder_inside_are_refused(make_dataset: MakeDataset) -> None:
    root = make_dataset(5).root
    with pytest.raises(RefusedError, match="at least two"):
        merge([root], root + "-out")
    with pytest.raises(RefusedError, match="lies inside"):
        merge([root, root], root + "/out", on_duplicate="first")
