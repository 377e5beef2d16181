"""The order of a bucket's rows, against Arrow's own stable sort."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.work import in_order

ROWS = st.lists(
    st.tuples(st.sampled_from([0, 1, 255]), st.integers(0, 2), st.integers(0, 3)), max_size=40
)


@given(ROWS, ROWS, st.sampled_from([4, 8, 16]))
def test_rows_are_sorted_as_arrow_does_and_equal_ones_stay_as_they_stand(
    first: list[tuple[int, int, int]], second: list[tuple[int, int, int]], width: int
) -> None:
    table = pa.concat_tables([as_table(rows, width) for rows in (first, second)])
    table = table.append_column("place", pa.array(range(len(table)), pa.int64()))
    expected = table.sort_by([(name, "ascending") for name in ("key", "number", "place")])
    assert in_order(table, ["key", "number"]).equals(expected)


def as_table(rows: list[tuple[int, int, int]], width: int) -> pa.Table:
    """Keys of few values differ in their first bytes, in their last, or not at all."""
    keys = [bytes([head]) + bytes(width - 2) + bytes([tail]) for head, tail, _ in rows]
    numbers = pa.array([number for *_, number in rows], pa.int64())
    return pa.table({"key": pa.array(keys, pa.binary(width)), "number": numbers})


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(8)])
def test_nulls_and_keys_that_are_no_binary_are_sorted_too(kind: pa.DataType) -> None:
    keys = pa.array([b"bbbbbbbb", None, b"aaaaaaaa"], pa.binary(8)).cast(pa.binary()).cast(kind)
    table = pa.table({"key": keys, "number": [0, 1, 2]})
    assert in_order(table, ["key"])["number"].to_pylist() == [2, 0, 1]
