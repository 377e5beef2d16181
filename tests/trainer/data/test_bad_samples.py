"""Limits on bad samples, and the lines that name them."""

import itertools
import json
import math
import pathlib
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainer.data.bad_samples import BadConfig, BadCounts, BadReason, append_records
from trainer.errors import TooManyBadSamplesError


def batch(text: str) -> NDArray[np.bool_]:
    """A batch as text: `x` is a bad sample."""
    return np.array([letter != "x" for letter in text])


def count(batches: Iterable[str], limits: BadConfig) -> BadCounts:
    counts = BadCounts()
    for text in batches:
        counts.add(batch(text), limits)
    return counts


def test_reasons_are_the_five_of_the_ledger() -> None:
    assert [*BadReason] == ["read_error", "read_short", "decode_error", "decode_bomb", "empty_text"]


def test_seen_and_bad_samples_are_counted() -> None:
    counts = count([".x..", "....", "x..x"], BadConfig(max_rate=1, min_seen=0))
    assert (counts.seen, counts.bad, counts.in_row) == (12, 3, 1)


def test_the_rate_counts_once_enough_samples_were_seen() -> None:
    limits = BadConfig(max_rate=0.25, min_seen=8)
    counts = BadCounts()
    counts.add(batch("xx.."), limits)  # too early to tell
    counts.add(batch("...."), limits)  # 2 of 8 is the most
    counts.add(batch("...."), limits)
    with pytest.raises(
        TooManyBadSamplesError, match=r"4 of 15, max_rate is 0.25: read bad_samples"
    ):
        counts.add(batch("x.x"), limits)
    assert TooManyBadSamplesError.exit_code == 5


def test_a_rate_of_zero_endures_none() -> None:
    with pytest.raises(TooManyBadSamplesError, match="1 of 4"):
        BadCounts().add(batch("..x."), BadConfig(max_rate=0, min_seen=4))


@pytest.mark.parametrize("batches", [[".xxx"], ["xxx."], ["..xx", "x..."], ["...x", "x", "x..."]])
def test_bad_samples_in_a_row_stop_the_run_across_batches(batches: list[str]) -> None:
    limits = BadConfig(max_rate=1, max_in_row=3)
    with pytest.raises(TooManyBadSamplesError, match="3 in a row, max_in_row is 3: read"):
        count(batches, limits)


def test_fewer_in_a_row_are_endured() -> None:
    assert count([".xx.", "xx.x", "x.xx"], BadConfig(max_rate=1, max_in_row=3)).in_row == 2


@given(st.lists(st.text("x.", min_size=1, max_size=6), max_size=6), st.integers(1, 6))
def test_cutting_the_stream_into_batches_does_not_change_where_it_stops(
    batches: list[str], most: int
) -> None:
    limits = BadConfig(max_rate=1, max_in_row=most)
    stopped = False
    try:
        count(batches, limits)
    except TooManyBadSamplesError:
        stopped = True
    runs = [len([*run]) for letter, run in itertools.groupby("".join(batches)) if letter == "x"]
    assert stopped == (max(runs, default=0) >= most)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_rate": 1.5}, "max_rate must be from 0 to 1, got 1.5"),
        ({"max_rate": math.nan}, "max_rate must be from 0 to 1, got nan"),
        ({"min_seen": -1}, "min_seen must be at least 0, got -1"),
        ({"max_in_row": 0}, "max_in_row must be at least 1, got 0"),
    ],
)
def test_limits_out_of_range_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BadConfig(**setting)  # type: ignore[arg-type]


def test_records_are_appended_one_a_line_whatever_they_hold(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "bad_samples.jsonl"
    records = [{"key": "000000001", "detail": "two\nlines"}, {"key": "é\ud800"}]
    append_records(path, records[:1])
    append_records(path, records[1:])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == records
