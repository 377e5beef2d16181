import itertools
import pathlib
from typing import Any

import pyarrow.parquet as pq
import pytest

from filters.queries.query_list import load
from filters.queries.select import ALL, QueryKeys, share_threshold
from pipeline.records import MATCHED
from pipeline.stages.preselect import PreselectSettings
from tests.pipeline.selection.rows import (
    Chain,
    kept_ids,
    make_candidate,
    read_drops,
    read_rows,
    write_list,
)

UNITS = [
    [make_candidate(number, f"a dog {'cat ' * (number % 5 == 0)}bird") for number in range(60)],
    [make_candidate(number, "a dog") for number in range(60, 100)],
]
"""100 pairs with dog, 60 with bird, 12 with cat."""


@pytest.fixture
def chain(plain_engine: Any, tmp_path: pathlib.Path) -> Chain:
    return Chain(plain_engine, write_list(tmp_path, "bird", "cat", "dog"), cap=10)


def test_thresholds_explain_every_decision(chain: Chain) -> None:
    matched = chain.match(*UNITS)
    preselected = chain.preselect(matched)
    assert read_rows(preselected.thresholds) == [
        {"query_id": 0, "pairs": 60, "base": 60, "theta": share_threshold(60, 20)},
        {"query_id": 1, "pairs": 12, "base": 12, "theta": ALL},
        {"query_id": 2, "pairs": 100, "base": 100, "theta": share_threshold(100, 20)},
    ]
    queries = load(chain.list_path)
    keys = QueryKeys(queries.pairs())
    assert len(keys) == 3
    kept, drops = kept_ids(preselected.pairs), read_drops(preselected.pairs)
    assert kept | set(drops) == kept_ids(matched)
    assert 30 <= len(kept) <= 70
    assert {reason for reason, _ in drops.values()} == {"not_preselected"}
    assert all(20 < int(value or 0) <= 100 for _, value in drops.values())
    assert {row["pair_id"] for row in read_rows(matched) if 1 in row["matched_query_ids"]} <= kept


def test_a_lost_pair_is_kept_from_the_cap_on_that_the_ledger_names(chain: Chain) -> None:
    matched = chain.match(*UNITS)
    drops = read_drops(chain.preselect(matched).pairs)
    chain.preselected_with = PreselectSettings(expected_yield=1.0)
    for chain.cap in (25, 40):
        kept = kept_ids(chain.preselect(matched).pairs)
        assert {pair for pair, (_, cap) in drops.items() if int(cap or 0) <= chain.cap} == (
            kept & set(drops)
        )


def test_a_smaller_cap_keeps_a_subset(chain: Chain) -> None:
    matched = chain.match(*UNITS)
    kept = []
    for chain.cap in (2, 5, 9, 20, 50):
        kept.append(kept_ids(chain.preselect(matched).pairs))
    assert kept == sorted(kept, key=len)
    assert all(less <= more for less, more in itertools.pairwise(kept))
    assert len(kept[-1]) == 100


def test_off_passes_all(chain: Chain) -> None:
    chain.preselected_with = PreselectSettings(mode="off")
    matched = chain.match(*UNITS)
    preselected = chain.preselect(matched)
    assert read_rows(preselected.pairs) == read_rows(matched)
    assert {row["theta"] for row in read_rows(preselected.thresholds)} == {ALL}


def test_order_and_units_change_no_decision(chain: Chain) -> None:
    expected = kept_ids(chain.preselect(chain.match(*UNITS)).pairs)
    rows = [row for unit in UNITS for row in unit]
    chain.engine.bucket_bytes = 4096
    matched = chain.match(rows[::-1][:33], [], rows[::-1][33:])
    assert len(matched.units) > 8
    preselected = chain.preselect(matched)
    assert kept_ids(preselected.pairs) == expected
    assert [row["query_id"] for row in read_rows(preselected.thresholds)] == [0, 1, 2]


def test_new_counts_make_a_new_directory(chain: Chain) -> None:
    first = chain.preselect(chain.match(*UNITS))
    second = chain.preselect(chain.match(*UNITS[:1]))
    assert first.thresholds.spec == second.thresholds.spec
    assert first.pairs.spec != second.pairs.spec


def test_nothing_in_nothing_out(chain: Chain) -> None:
    preselected = chain.preselect(chain.match())
    assert read_rows(preselected.pairs) == read_rows(preselected.thresholds) == []
    assert pq.read_schema(preselected.pairs.paths("part")[0]).equals(MATCHED)
