import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.base.errors import OpenwitError
from pipeline.records import MATCHED
from pipeline.selection.pairs import merge_pairs
from tests.pipeline.selection.rows import Row, make_row

ROWS = st.fixed_dictionaries(
    {
        "pair_id": st.sampled_from([b"a" * 16, b"b" * 16, b"c" * 16]),
        "text_source": st.sampled_from(["title", "alt", "figcaption", "other"]),
        "page_url": st.sampled_from([None, "http://a/", "http://b/"]),
        "source_file": st.sampled_from(["1.warc", "2.warc"]),
        "flags": st.lists(st.sampled_from(["x", "y", "z"]), unique=True).map(sorted),
        "optout": st.lists(st.sampled_from(["noai", "noindex"]), unique=True).map(sorted),
        "page_tdm": st.sampled_from([None, 0, 1]),
        "seen": st.integers(1, 5),
    }
)


def table(rows: list[Row]) -> pa.Table:
    filled = [
        make_row(MATCHED, {**row, "source_offset": number, "url": repr(row["pair_id"])})
        for number, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(filled, schema=MATCHED)


def merged(rows: list[Row]) -> list[Any]:
    return merge_pairs(table(rows)).to_pylist()


@given(st.lists(ROWS, max_size=12), st.randoms(use_true_random=False), st.integers(0, 12))
def test_order_and_grouping_change_nothing(
    rows: list[Row], shuffler: random.Random, cut: int
) -> None:
    whole = table(rows)
    expected = merge_pairs(whole)
    order = list(range(len(rows)))
    shuffler.shuffle(order)
    shuffled = whole.take(pa.array(order, pa.int64()))
    parts = [merge_pairs(shuffled[:cut]), merge_pairs(shuffled[cut:])]
    assert merge_pairs(pa.concat_tables(parts)).equals(expected)


@given(st.lists(ROWS, max_size=12))
def test_nothing_is_lost(rows: list[Row]) -> None:
    result = merged(rows)
    assert [row["pair_id"] for row in result] == sorted({row["pair_id"] for row in rows})
    for row in result:
        same = [each for each in rows if each["pair_id"] == row["pair_id"]]
        assert row["seen"] == sum(each["seen"] for each in same)
        assert row["optout"] == sorted({mark for each in same for mark in each["optout"]})
        assert row["flags"] == sorted({mark for each in same for mark in each["flags"]})
        marks = [each["page_tdm"] for each in same if each["page_tdm"] is not None]
        assert row["page_tdm"] == (max(marks) if marks else None)


def test_the_best_source_speaks_and_nulls_come_last() -> None:
    usual: Row = {"pair_id": b"a" * 16, "source_file": "f", "seen": 1}
    [row] = merged(
        [
            {**usual, "text_source": "title", "page_url": "http://a/"},
            {**usual, "text_source": "alt", "page_url": None},
            {**usual, "text_source": "alt", "page_url": "http://b/"},
        ]
    )
    assert (row["text_source"], row["page_url"]) == ("alt", "http://b/")


def test_one_id_of_two_pairs_is_an_error() -> None:
    rows = [make_row(MATCHED, {"pair_id": b"a" * 16, "text": text, "seen": 1}) for text in "xy"]
    with pytest.raises(OpenwitError, match=r"^pair id 6161.*: stands for two pairs .* text"):
        merge_pairs(pa.Table.from_pylist(rows, schema=MATCHED))
