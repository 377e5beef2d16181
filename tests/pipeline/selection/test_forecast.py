import pathlib
from typing import Any

import pytest

from pipeline.selection import forecast
from pipeline.selection.forecast import forecast_caps
from pipeline.stages.preselect import PreselectSettings
from tests.pipeline.selection.rows import Chain, make_candidate, write_list

POOL = [make_candidate(n, f"a dog {'cat ' * (n % 5 == 0)}") for n in range(300)]


@pytest.fixture
def chain(plain_engine: Any, tmp_path: pathlib.Path) -> Chain:
    chain = Chain(plain_engine, write_list(tmp_path, "cat", "dog"), balance_mode="probabilistic")
    chain.preselected_with = PreselectSettings(mode="off")
    return chain


def test_a_forecast_is_what_the_caps_keep(chain: Chain) -> None:
    matched = chain.match(POOL)
    found = {each.cap: each for each in forecast_caps(matched, *chain.listed, 100, 0)}
    assert sorted(found) == [1, 10, 50, 100, 200, 1000]
    for cap in (10, 100):
        chain.cap = cap
        kept = chain.balance(chain.preselect(matched)).pairs.rows_out
        assert found[cap].pairs == kept
    assert (found[100].head_queries, found[100].tail_share) == (1, 60 / 360)
    assert (found[1000].pairs, found[1000].head_queries, found[1000].tail_share) == (300, 0, 1.0)


def test_a_sample_stands_for_all(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    chain.engine.bucket_bytes = 1 << 14
    matched = chain.match(POOL)
    exact = forecast_caps(matched, *chain.listed, 100, 0)
    monkeypatch.setattr(forecast, "SAMPLE_PAIRS", 100)
    for guess, each in zip(forecast_caps(matched, *chain.listed, 100, 0), exact, strict=True):
        assert abs(guess.pairs - each.pairs) <= 60


def test_nothing_matched_nothing_is_forecast(chain: Chain) -> None:
    assert forecast_caps(chain.match([]), *chain.listed, 100, 0) == []
