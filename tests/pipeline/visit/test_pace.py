import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.visit.pace import (
    backoff_seconds,
    gap_seconds,
    lane_of,
    priority,
    retry_after_seconds,
)

DATE = "Thu, 26 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("url", "prio", "lane"),
    [
        ("http://example.com/a.jpg", "df61dd42f6bbb475", 1),
        ("https://example.com/b.jpg?x=1", "cdf72f0bdf9136ce", 2),
    ],
)
def test_golden_priorities(url: str, prio: str, lane: int) -> None:
    assert priority(url, 0).hex() == prio
    assert lane_of(priority(url, 0), 4) == lane


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 3.411), (2, 6.789), (3, 15.177), (7, 278.956), (8, 585.450)]
)
def test_golden_backoffs(failures: int, seconds: float) -> None:
    assert round(backoff_seconds("example.com", failures, 0), 3) == seconds


@pytest.mark.parametrize(("took", "gap"), [(0.1, 1.0), (0.3, 1.5), (10, 30)])
def test_golden_gaps(took: float, gap: float) -> None:
    assert gap_seconds(took, 1.0, 5.0, 30) == gap


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["120"], 120),
        (["3", "7", "x"], 7),
        (["Thu, 26 Nov 2026 12:01:00 GMT"], 60),
        (["Fri, 31 Dec 9999 23:59:59 GMT"], 251612913599),
        *[([value], None) for value in ("-1", "1e9", "", "soon", "Thu, 26 Nov 2026 11:00:00 GMT")],
        ([], None),
    ],
)
def test_what_retry_after_asks_for(values: list[str], expected: float | None) -> None:
    found = retry_after_seconds(values, DATE)
    assert found == pytest.approx(expected, rel=1e-3) if expected else found is None


@given(st.text(), st.text())
def test_no_header_raises(value: str, date: str) -> None:
    retry_after_seconds([value], date)
