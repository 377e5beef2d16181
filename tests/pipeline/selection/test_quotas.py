from fractions import Fraction
from typing import Any

import pytest

from manifests.base.errors import OpenwitError
from pipeline.records import MATCHED
from pipeline.selection.quotas import check_list
from pipeline.stages.preselect import PreselectSettings
from tests.pipeline.selection.rows import commit


@pytest.mark.parametrize("expected_yield", [0.0, -1.0, 1.01, float("nan")])
def test_a_yield_that_means_nothing_is_refused(expected_yield: float) -> None:
    with pytest.raises(ValueError, match="expected_yield must be above 0 and at most 1"):
        PreselectSettings(expected_yield=expected_yield)


def test_the_yield_is_read_as_the_decimal_it_is_written_as() -> None:
    assert Fraction(0.3) != Fraction("0.3")
    assert PreselectSettings(expected_yield=0.3).cap(20_000) == 66_667
    assert PreselectSettings(expected_yield=0.3).cap(3) == 10


def test_another_list_is_refused(plain_engine: Any) -> None:
    record = commit(plain_engine, "match", MATCHED, [])
    record.parameters["list"] = "a" * 64  # type: ignore[index]
    check_list(record, "a" * 64)
    with pytest.raises(OpenwitError, match=r"made with query list a+, this is b+"):
        check_list(record, "b" * 64)
