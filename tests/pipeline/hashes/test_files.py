import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.base.errors import RefusedError
from pipeline.hashes.files import HASHES, describe, faults, read_hashes
from pipeline.hashes.show import check_hashes, show_hashes, show_lines
from tests.pipeline.dedup.fetched_rows import make_row
from tests.pipeline.dedup.hash_rows import hash_file, hash_rows


def made(folder: pathlib.Path) -> str:
    trim = bytes(96) + b"\0"
    rows = [
        *hash_rows(make_row(1), item="b"),
        *hash_rows(make_row(2, dedup_trim=trim), item="a"),
        *hash_rows(make_row(1), "trees", item="c"),
    ]
    return hash_file(folder / "h.parquet", rows)


def test_a_hash_file_is_sorted_and_says_what_it_is(tmp_path: pathlib.Path) -> None:
    path = made(tmp_path)
    table = pa.Table.from_batches(read_hashes(path))
    names = zip(*(table[each].to_pylist() for each in ("set", "item", "variant")), strict=True)
    assert list(names) == [
        ("flowers", "a", "id"),
        ("flowers", "a", "trim"),
        ("flowers", "b", "id"),
        ("trees", "c", "id"),
    ]
    found = describe(path)
    assert (found.kind, found.hash_version) == ("eval", "ow1/p12")
    assert (found.images, found.flats, found.bad, found.rows) == (3, 0, 0, 4)
    assert faults(path) == []


def test_equal_rows_make_equal_bytes_in_any_order(tmp_path: pathlib.Path) -> None:
    rows = [row for n in range(5) for row in hash_rows(make_row(n), item=str(n))]
    first, second = (
        pathlib.Path(hash_file(tmp_path / name, order)).read_bytes()
        for name, order in (("a", rows), ("b", rows[::-1]))
    )
    assert first == second


def test_show_counts_sets_variants_and_duplicates(tmp_path: pathlib.Path) -> None:
    shown = show_hashes(made(tmp_path))
    assert shown["sets"] == {"flowers": 2, "trees": 1}
    assert shown["variants"] == {"id": 3, "trim": 1}
    assert shown["duplicates"] == 1
    assert "images: 3 (flowers 2, trees 1)" in "\n".join(show_lines(shown))


def rewritten(path: str, table: pa.Table) -> None:
    schema = pq.read_schema(path)
    pq.write_table(table.cast(HASHES).replace_schema_metadata(schema.metadata), path)


def swapped(table: pa.Table) -> pa.Table:
    return table.take(pa.array([1, 0, 2, 3]))


def changed(table: pa.Table) -> pa.Table:
    return table.set_column(11, HASHES.field("height"), pa.array([1, 2, 3, 4], pa.int32()))


def renamed(table: pa.Table) -> pa.Table:
    return table.set_column(2, HASHES.field("variant"), pa.array(["id", "turned", "id", "id"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [(swapped, "not sorted"), (changed, "not those it was written with"), (renamed, "turned")],
)
def test_check_names_each_fault(tmp_path: pathlib.Path, change: Any, message: str) -> None:
    path = made(tmp_path)
    rewritten(path, change(pq.read_table(path)))
    found = check_hashes([path])
    assert any(message in fault for fault in found)


def test_other_files_are_refused_and_named(tmp_path: pathlib.Path) -> None:
    text, table, empty = (str(tmp_path / name) for name in ("a", "b.parquet", "c.parquet"))
    pathlib.Path(text).write_text("no", encoding="ascii")
    pq.write_table(pa.table({"a": [1]}), table)
    pq.write_table(HASHES.empty_table(), empty)
    for path in (text, table, empty):
        with pytest.raises(RefusedError, match=f"{path}: not a hash file"):
            describe(path)
        assert check_hashes([path])
    with pytest.raises(RefusedError, match="no such file"):
        check_hashes([str(tmp_path / "none")])
