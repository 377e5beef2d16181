import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from manifests.format.ledger import write_ledger
from manifests.format.schema import LEDGER

DROPS = pa.schema(
    [field if field.name != "pair_id" else ("pair_id", pa.binary(16)) for field in LEDGER]
)


def make_drop(number: int, reason: str = "too_small") -> dict[str, Any]:
    return {
        "pair_id": bytes([number]) * 16,
        "stage": "fetch",
        "reason": reason,
        "value": str(number),
        "count": 1,
        "url": f"http://example.com/{number}",
        "caption": f"caption {number}",
    }


def batches(rows: list[dict[str, Any]], size: int = 1000) -> list[pa.RecordBatch]:
    return [
        pa.RecordBatch.from_pylist(rows[start : start + size], schema=DROPS)
        for start in range(0, len(rows), size)
    ]


def test_the_smallest_ids_of_each_reason_keep_url_and_caption(tmp_path: pathlib.Path) -> None:
    rows = [make_drop(number) for number in (5, 1, 9, 3)] + [make_drop(7, "animated")]
    files = write_ledger(str(tmp_path), "fetch", lambda: batches(rows, 2), examples=2)
    (file,) = files
    assert (file.path, file.rows) == ("ledger/fetch-00000.parquet", 5)
    ledger = pq.read_table(tmp_path / file.path).to_pylist()
    assert [row["value"] for row in ledger if row["url"]] == ["1", "3", "7"]
    assert [row["value"] for row in ledger if row["caption"]] == ["1", "3", "7"]
    assert ledger[0]["pair_id"] == "05" * 16


def test_counted_rows_have_no_pair_and_keep_their_count(tmp_path: pathlib.Path) -> None:
    row = make_drop(1) | {"pair_id": None, "count": 12, "url": None, "caption": None}
    write_ledger(str(tmp_path), "fetch", lambda: batches([row]))
    (found,) = pq.read_table(tmp_path / "ledger/fetch-00000.parquet").to_pylist()
    assert (found["pair_id"], found["count"]) == (None, 12)


def test_no_drop_gives_no_file(tmp_path: pathlib.Path) -> None:
    assert write_ledger(str(tmp_path), "fetch", list) == []


@given(st.integers(1, 12), st.integers(1, 12))
def test_files_hold_a_bounded_number_of_rows(
    tmp_path_factory: Any, file_rows: int, batch_rows: int
) -> None:
    root = tmp_path_factory.mktemp("ledger")
    rows = [make_drop(number) for number in range(10)]
    files = write_ledger(str(root), "x", lambda: batches(rows, batch_rows), file_rows=file_rows)
    assert [file.rows for file in files[:-1]] == [file_rows] * (len(files) - 1)
    found = [row for file in files for row in pq.read_table(root / file.path).to_pylist()]
    assert [row["value"] for row in found] == [str(number) for number in range(10)]
