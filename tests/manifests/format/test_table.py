import io
import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.format.table import TableWriter

SCHEMA = pa.schema([("n", pa.int64()), ("s", pa.string())])


def write(cuts: list[int], rows: int = 50, row_group_rows: int = 7) -> bytes:
    columns = {"n": list(range(rows)), "s": [str(number) for number in range(rows)]}
    table = pa.table(columns, schema=SCHEMA)
    file = io.BytesIO()
    writer = TableWriter(file, SCHEMA, row_group_rows=row_group_rows)
    ends = sorted({0, rows, *(cut % (rows + 1) for cut in cuts)})
    for start, stop in itertools.pairwise(ends):
        for batch in table.slice(start, stop - start).to_batches():
            writer.write(batch)
    writer.close()
    return file.getvalue()


@given(st.lists(st.integers(0, 50), max_size=8))
def test_other_cuts_give_the_same_bytes(cuts: list[int]) -> None:
    assert write(cuts) == write([])


def test_row_groups_have_the_wanted_rows() -> None:
    metadata = pq.ParquetFile(io.BytesIO(write([]))).metadata
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [7] * 7 + [1]


def test_a_writer_that_is_left_behind_writes_nothing_more() -> None:
    file = io.BytesIO()
    writer = TableWriter(file, SCHEMA)
    del writer
    assert file.getvalue() in (b"", b"PAR1")


def test_rows_of_another_schema_are_refused() -> None:
    writer = TableWriter(io.BytesIO(), SCHEMA)
    with pytest.raises(ValueError, match="rows have the schema"):
        writer.write(pa.record_batch({"n": [1]}))
