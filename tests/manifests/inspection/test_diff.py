import dataclasses
import pathlib
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from manifests.base.errors import RefusedError
from manifests.derivation.sample import sample
from manifests.format import Manifest, load
from manifests.inspection.diff import diff, diff_lines
from tests.manifests.damage import PARQUET, Copy, change_row

MakeDataset = Callable[..., Manifest]


@pytest.fixture
def pair(make_dataset: MakeDataset) -> tuple[Manifest, Copy]:
    return make_dataset(12, 5, name="left"), Copy(make_dataset(12, 5, name="right"))


def test_equal_datasets_do_not_differ(pair: tuple[Manifest, Copy]) -> None:
    found = diff(pair[0], load(str(pair[1].root)))
    assert found.is_empty
    assert found.pairs == {"added": 0, "removed": 0, "changed": 0, "moved": 0, "equal": 12}
    assert list(diff_lines(found)) == [f"digest: equal: {pair[0].digest}"]


def test_a_changed_row_is_named_with_its_columns(
    pair: tuple[Manifest, Copy], tmp_path: pathlib.Path
) -> None:
    left, copy = pair
    rows = change_row(copy.rows(), 1, lang="de", phash=None, query_ids=[1], lang_score=None)
    copy.rewrite(rows=rows)
    found = diff(left, load(str(copy.root)), out=str(tmp_path / "changes.parquet"))
    assert found.pairs == {"added": 0, "removed": 0, "changed": 1, "moved": 0, "equal": 11}
    assert set(found.columns) == {"lang", "lang_score", "phash"} | (
        {"query_ids"} if left.reader(left.shards[1]).table(["query_ids"])["query_ids"][1].as_py()
        != [1] else set()
    )  # fmt: skip
    (row,) = pq.read_table(tmp_path / "changes.parquet").to_pylist()
    assert row["pair_id"] == rows["pair_id"][1].as_py()
    assert (row["change"], row["columns"]) == ("changed", sorted(found.columns))
    assert diff(left, load(str(copy.root)), columns=["url"]).pairs["changed"] == 0


def test_the_same_rows_in_other_bytes_are_encoding_only(pair: tuple[Manifest, Copy]) -> None:
    left, copy = pair
    pq.write_table(copy.rows(), copy.root / PARQUET, compression="gzip")
    copy.fix_records()
    found = diff(left, load(str(copy.root)))
    assert found.encoding_only
    assert not found.is_empty
    assert found.pairs["equal"] == 12


def test_other_keys_alone_are_moves(pair: tuple[Manifest, Copy], tmp_path: pathlib.Path) -> None:
    _, made = sample(pair[0].root, str(tmp_path / "out"), count=8)
    assert made
    found = diff(pair[0], made)
    assert found.pairs["removed"] == 4
    assert found.pairs["changed"] == 0
    assert found.pairs["moved"] + found.pairs["equal"] == 8
    assert found.pairs["moved"] > 0


def test_settings_and_libraries_are_compared(pair: tuple[Manifest, Copy]) -> None:
    left = pair[0]
    right = dataclasses.replace(
        left, config={"balance": {"cap": 21, "mode": "x"}}, tool={"libraries": {"pyarrow": "1"}}
    )
    found = diff(left, right)
    assert found.config == {"balance.cap": (20, 21), "balance.mode": (None, "x")}
    assert found.libraries == {"pyarrow": (None, "1")}
    assert not found.is_empty


def test_a_column_that_is_not_there_is_refused(pair: tuple[Manifest, Copy]) -> None:
    with pytest.raises(RefusedError, match="--columns colour"):
        diff(pair[0], pair[0], columns=["colour"])
