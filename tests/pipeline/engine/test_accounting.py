import dataclasses

import pytest

from manifests.base.errors import AccountingError, OpenwitError
from pipeline.engine.accounting import check_shuffle, check_unit
from pipeline.engine.units import UnitRecord
from tests.pipeline.engine.engine_kernels import make_step, sort_step


def record(rows_in: int, rows_out: int, received: int = 0, **drops: int) -> UnitRecord:
    return UnitRecord(
        unit="u",
        spec="s",
        inputs=(),
        rows_in=rows_in,
        rows_out=rows_out,
        drops=drops,
        files=(),
        notes={"received": {"rows": received}},
    )


def test_rows_in_are_rows_out_plus_drops() -> None:
    check_unit(make_step(), record(10, 7, no_text=3), 0.001)
    with pytest.raises(AccountingError, match="10 rows in are not 7 out plus 2 dropped"):
        check_unit(make_step(), record(10, 7, no_text=2), 0.001)
    counting = dataclasses.replace(make_step(), accounts=False)
    check_unit(counting, record(10, 1), 0.001)


def test_a_unit_may_have_a_few_unexpected_exceptions() -> None:
    check_unit(make_step(), record(10, 0, internal_error=10), 0.001)
    check_unit(make_step(), record(20_000, 19_980, internal_error=20), 0.001)
    with pytest.raises(OpenwitError, match=r"21 of 20000 rows .* KeyError: x; KeyError: y"):
        check_unit(
            make_step(),
            record(20_000, 19_979, internal_error=21),
            0.001,
            ["KeyError: x", "KeyError: y"],
        )


def test_each_bucket_must_receive_what_was_sent_to_it() -> None:
    records = [record(0, 0, received) for received in (3, 0, 5, 1)]
    check_shuffle(sort_step(), [{"rows": [1, 0, 5, 0]}, {"rows": [2, 0, 0, 1]}], records)
    with pytest.raises(AccountingError, match="sort bucket 2: shuffle lost or changed 1 rows"):
        check_shuffle(sort_step(), [{"rows": [3, 0, 6, 0]}], records)
