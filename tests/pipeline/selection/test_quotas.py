from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.base.errors import OpenwitError
from pipeline.records import MATCHED
from pipeline.selection.quotas import (
    QueryRanges,
    SelectSettings,
    candidate_limit,
    check_list,
)
from pipeline.stages.preselect import PreselectSettings
from tests.pipeline.selection.rows import commit


@given(st.integers(1, 1000), st.sampled_from([1, 2, 4, 64, 2048]))
def test_ranges_cut_the_ids_in_order(queries: int, buckets: int) -> None:
    ranges = QueryRanges(queries, buckets)
    parts = [ranges.ids(bucket) for bucket in range(buckets)]
    assert np.concatenate(parts).tolist() == list(range(queries))
    for bucket, ids in enumerate(parts):
        assert set(ranges.of(ids).tolist()) <= {bucket}


def test_the_limit_leaves_room_for_chance() -> None:
    assert candidate_limit(20, 20) == 2**64
    assert candidate_limit(10**9, 20_000) == (20_000 + 8 * 141 + 8 << 64) // 10**9


@pytest.mark.parametrize("settings", [{"cap": 0}, {"seed": -1}, {"seed": 2**63}])
def test_settings_out_of_range_are_named(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(settings))} must be"):
        SelectSettings(**settings)


@pytest.mark.parametrize("expected_yield", [0.0, -1.0, 1.01, float("nan")])
def test_a_yield_that_means_nothing_is_refused(expected_yield: float) -> None:
    with pytest.raises(ValueError, match="expected_yield must be above 0 and at most 1"):
        PreselectSettings(expected_yield=expected_yield)


def test_the_yield_is_read_as_the_decimal_it_is_written_as() -> None:
    assert Fraction(0.3) != Fraction("0.3")
    assert PreselectSettings(expected_yield=0.3).cap(20_000) == 66_667
    assert PreselectSettings(expected_yield=0.3).cap(3) == 10
    assert PreselectSettings(mode="off").cap(3) is None


def test_another_list_is_refused(plain_engine: Any) -> None:
    record = commit(plain_engine, "match", MATCHED, [])
    record.parameters["list"] = "a" * 64  # type: ignore[index]
    check_list(record, "a" * 64)
    with pytest.raises(OpenwitError, match=r"made with query list a+, this is b+"):
        check_list(record, "b" * 64)
