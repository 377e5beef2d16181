import pathlib
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.base.errors import OpenwitError
from manifests.format.table import write_table
from pipeline.dataset.selected import read_selected
from pipeline.engine.units import Source, Unit
from pipeline.records import SELECTION

PART = pa.schema([("pair_id", pa.binary(16)), ("blob_bytes", pa.int32())])
ROWS = 20_000
"""More than are read at once."""


def identity(number: int) -> bytes:
    return number.to_bytes(16, "little")


def make_unit(folder: pathlib.Path, kept: Sequence[int], rows: int = ROWS) -> Unit:
    ids = [identity(number) for number in range(rows)]
    part = pa.record_batch([pa.array(ids, pa.binary(16)), pa.array(range(rows), pa.int32())], PART)
    chosen = [
        {"pair_id": identity(number), "selected_by": [number], "select_prob": 0.5}
        for number in kept
    ]
    sources = []
    for role, batch in (("part", part), ("more", pa.RecordBatch.from_pylist(chosen, SELECTION))):
        path = folder / f"{role}.parquet"
        write_table(path, [batch], batch.schema)
        sources.append(Source(role=role, path=str(path), name=role, bytes=1, sha256=""))
    return Unit(id="u", sources=tuple(sources))


@given(st.lists(st.integers(0, ROWS - 1), unique=True, max_size=30).map(sorted))
def test_kept_rows_come_in_order_with_what_selected_them(
    tmp_path_factory: pytest.TempPathFactory, kept: list[int]
) -> None:
    unit = make_unit(tmp_path_factory.mktemp("unit"), kept)
    columns = ["blob_bytes", "pair_id", "selected_by"]
    rows = [row for batch in read_selected(unit, columns) for row in batch.to_pylist()]
    assert rows == [
        {"blob_bytes": number, "pair_id": identity(number), "selected_by": [number]}
        for number in kept
    ]


@pytest.mark.parametrize("kept", [[3, 7], [2, 1]])
def test_a_part_that_does_not_hold_what_was_kept_is_an_error(
    tmp_path: pathlib.Path, kept: list[int]
) -> None:
    unit = make_unit(tmp_path, kept, rows=5)
    with pytest.raises(OpenwitError, match=r"balance unit u: [12] pairs .* are not next in"):
        list(read_selected(unit, ["pair_id"]))
