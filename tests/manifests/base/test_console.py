import io

import pytest

from manifests.base.console import Progress, bytes_text, table_text


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_a_plain_line_appears_every_ten_seconds() -> None:
    clock, stream = Clock(), io.StringIO()
    shown = Progress("fetch", 1100, stream=stream, clock=clock)
    for second, units, rows in ((0, 0, 0), (5, 200, 50_000), (10, 412, 81_200), (12, 420, 90_000)):
        clock.now = second
        shown.update(units, rows)
    shown.close()
    assert stream.getvalue() == ("fetch 37% units 412/1100 rows 81200 8120 rows/s left 00:00:16\n")


def test_rows_of_an_earlier_run_do_not_count_in_the_rate() -> None:
    clock, stream = Clock(), io.StringIO()
    shown = Progress("dedup", 4, stream=stream, clock=clock)
    shown.update(2, 1000)
    clock.now = 10
    shown.update(3, 1500)
    assert "rows 1500 50 rows/s" in stream.getvalue()


def test_before_the_first_unit_the_time_left_is_unknown() -> None:
    clock, stream = Clock(), io.StringIO()
    shown = Progress("match", 3, stream=stream, clock=clock)
    clock.now = 10
    shown.update(0, 0)
    assert stream.getvalue() == "match 0% units 0/3 rows 0 0 rows/s left --:--:--\n"


def test_a_bar_shows_units_and_leaves_nothing_behind() -> None:
    stream = io.StringIO()
    shown = Progress("fetch", 10, stream=stream, bar=True)
    shown.update(4, 400)
    shown.close()
    assert stream.getvalue().strip() == ""


def test_a_table_marks_thousands_and_aligns_numbers_right() -> None:
    rows: list[dict[str, object]] = [
        {"stage": "extract", "rows": 1234567, "share": 0.25},
        {"stage": "dedup", "rows": None, "share": 0.5},
    ]
    assert table_text(["stage", "rows", "share"], rows) == (
        "stage         rows  share\nextract  1,234,567   0.25\ndedup            -    0.5"
    )


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 40, "3.0 TiB")]
)
def test_bytes_are_shown_in_binary_units(count: int, text: str) -> None:
    assert bytes_text(count) == text
