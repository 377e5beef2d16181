import pathlib
from typing import Any

import pytest

from pipeline.selection import forecast
from pipeline.selection.caps import SelectSettings
from pipeline.selection.forecast import forecast_caps
from pipeline.stages.preselect import PreselectSettings
from tests.pipeline.selection.rows import Chain, make_candidate, write_list

CAP_100 = SelectSettings(cap=100)
POOL = [make_candidate(n, f"a dog {'cat ' * (n % 5 == 0)}") for n in range(300)]


@pytest.fixture
def chain(plain_engine: Any, tmp_path: pathlib.Path) -> Chain:
    chain = Chain(plain_engine, write_list(tmp_path, "cat", "dog"), balance_mode="probabilistic")
    chain.preselected_with = PreselectSettings(mode="off")
    return chain


def test_a_forecast_is_what_the_caps_keep(chain: Chain) -> None:
    matched = chain.match(POOL)
    found = {each.cap: each for each in forecast_caps(matched, *chain.listed, CAP_100, None)}
    assert sorted(found) == [1, 10, 50, 100, 200, 1000]
    assert [cap for cap in found if found[cap].is_set] == [100]
    for cap in (10, 100):
        chain.cap = cap
        kept = chain.balance(chain.preselect(matched)).pairs.rows_out
        assert found[cap].pairs == kept
    assert (found[100].head_queries, found[100].tail_share) == (1, 60 / 360)
    assert (found[1000].pairs, found[1000].head_queries, found[1000].tail_share) == (300, 0, 1.0)


def test_a_sample_stands_for_all(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    chain.engine.bucket_bytes = 1 << 14
    matched = chain.match(POOL)
    exact = forecast_caps(matched, *chain.listed, CAP_100, None)
    monkeypatch.setattr(forecast, "SAMPLE_PAIRS", 100)
    for guess, each in zip(
        forecast_caps(matched, *chain.listed, CAP_100, None), exact, strict=True
    ):
        assert abs(guess.pairs - each.pairs) <= 60


def test_nothing_matched_nothing_is_forecast(chain: Chain) -> None:
    assert forecast_caps(chain.match([]), *chain.listed, CAP_100, None) == []


def test_a_tail_fraction_is_forecast_as_the_cap_that_it_gives(chain: Chain) -> None:
    matched = chain.match(POOL)  # 300 dogs, 60 cats
    chain.cap = 60
    kept = chain.balance(chain.preselect(matched)).pairs.rows_out
    tail = SelectSettings(tail_fraction=0.1)
    [found] = [each for each in forecast_caps(matched, *chain.listed, tail, None) if each.is_set]
    assert (found.cap, found.pairs, found.head_queries) == (60, kept, 1)


def test_counts_of_another_pool_are_forecast_as_its_shares(
    chain: Chain, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "counts.json"
    path.write_text('{"dog": 3000}')
    chain.cap, chain.counts_file = 100, str(path)
    matched = chain.match(POOL)
    kept = chain.balance(chain.preselect(matched)).pairs.rows_out
    [found] = [
        each for each in forecast_caps(matched, *chain.listed, chain.select, int) if each.is_set
    ]
    assert (found.pairs, found.to_fetch, found.head_queries) == (kept, kept, 1)


def test_what_is_to_be_fetched_is_what_preselect_passes(chain: Chain) -> None:
    matched = chain.match(POOL)
    chain.cap = 100
    for chain.preselected_with, widened in (
        (PreselectSettings(mode="off"), None),
        (PreselectSettings(expected_yield=0.8), 125),
    ):
        how = chain.preselected_with.widened(chain.select)
        assert (how and how(100)) == widened
        [found] = [
            each for each in forecast_caps(matched, *chain.listed, chain.select, how) if each.is_set
        ]
        assert found.to_fetch == chain.preselect(matched).pairs.rows_out
