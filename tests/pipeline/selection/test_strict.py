import pathlib
from typing import Any

import pytest

from filters.queries.select import ALL, StrictOrder, take_room
from manifests.base.errors import RefusedError
from pipeline.selection import strict
from pipeline.stages.balance import BalanceSettings
from pipeline.stages.preselect import PreselectSettings
from tests.pipeline.selection.rows import (
    Chain,
    kept_ids,
    make_candidate,
    read_drops,
    read_rows,
    write_list,
)

WORDS = ["ant", "bee", "cow"]


@pytest.fixture
def chain(plain_engine: Any, tmp_path: pathlib.Path) -> Chain:
    off = PreselectSettings(mode="off")
    path = write_list(tmp_path, *WORDS)
    return Chain(plain_engine, path, cap=7, preselected_with=off, balance_mode="strict")


POOL = [
    make_candidate(n, " ".join(w for i, w in enumerate(WORDS) if n % (i + 1) == 0))
    for n in range(60)
]


@pytest.mark.parametrize("window_rows", [1 << 18, 3])
def test_no_query_is_in_more_pairs_than_its_cap(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, window_rows: int
) -> None:
    monkeypatch.setattr(strict, "WINDOW_ROWS", window_rows)
    matched = chain.match(POOL)
    balanced = chain.balance(chain.preselect(matched), cuts=[10, 10, 45])
    order = StrictOrder(0)
    room, expected, drops = [7] * 3, set(), {}
    for row in sorted(read_rows(matched), key=lambda row: (order(row["pair_id"]), row["pair_id"])):
        full = take_room(row["matched_query_ids"], room)
        if full is None:
            expected.add(row["pair_id"])
        else:
            drops[row["pair_id"]] = ("over_cap_strict", str(full))
    assert kept_ids(balanced.pairs) == expected
    assert read_drops(balanced.pairs) == drops
    for row in read_rows(balanced.queries):
        assert row["selected"] == row["kept"] <= 7
        assert row["theta"] == ALL
    for row in chain.selected(balanced):
        assert row["selected_by"] == row["matched_query_ids"]
        assert row["select_prob"] is None


def test_too_many_pairs_are_refused(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    few = BalanceSettings(mode="strict", strict_max_pairs=50)
    monkeypatch.setattr("tests.pipeline.selection.rows.BalanceSettings", lambda mode: few)
    preselected = chain.preselect(chain.match(POOL))
    with pytest.raises(RefusedError, match=r"strict_max_pairs: 60 pairs survived, at most 50"):
        chain.balance(preselected)


def test_a_bound_of_no_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="strict_max_pairs must be at least 1"):
        BalanceSettings(strict_max_pairs=0)
