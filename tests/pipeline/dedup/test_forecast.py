import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from filters.hashes.bands import short_bands, wide_bands
from manifests.base.errors import RefusedError
from pipeline.dedup.forecast import (
    chance_candidates,
    chance_pairs,
    forecast,
    pass_count,
    refusals,
)
from pipeline.dedup.nodes import NODES
from pipeline.dedup.settings import DedupSettings
from pipeline.hashes.columns import fixed


def nodes_of(hashes: NDArray[np.uint8]) -> pa.RecordBatch:
    rows = len(hashes)
    columns = [
        fixed(np.zeros((rows, 20), np.uint8)),
        pa.array(np.zeros(rows, np.int32)),
        pa.array(np.zeros(rows, np.uint64)),
        fixed(hashes),
        fixed(np.zeros((rows, 32), np.uint8)),
        pa.array(np.zeros(rows, np.uint8)),
        pa.nulls(rows, pa.binary()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=NODES)


def uniform(rows: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (rows, 64), dtype=np.uint8)


def test_chance_candidates_are_golden() -> None:
    few, many = short_bands(3, few=True), wide_bands(16)
    assert chance_candidates(10**7, few) * 10**7 == pytest.approx(3.05e9, rel=0.002)
    assert chance_candidates(10**7, many) * 10**7 / 2 == pytest.approx(9.31e4, rel=0.002)
    assert chance_candidates(10**8, many) == pytest.approx(0.186, rel=0.01)


def test_chance_pairs_of_short_hashes_are_golden() -> None:
    assert chance_pairs(1, 4) * 2 == pytest.approx(2.528e-13, rel=0.001)
    assert chance_pairs(1, 3) == chance_pairs(1, 2)  # distances are even
    assert 8e8 < chance_pairs(4e8, 10) < 3.1e9


def test_a_sample_of_all_nodes_counts_what_will_be_compared() -> None:
    hashes = uniform(400)
    hashes[:100, 32:36] = 7  # table 0
    settings = DedupSettings()
    found = forecast([nodes_of(hashes)], 400, wide_bands(16), settings)
    assert found.compares[0] * 400 == pytest.approx(100 * 99 / 2)
    assert found.compares[1:].max() < 0.1
    assert found.heavy == ()


def test_a_key_of_too_many_predicted_rows_says_nothing_or_is_refused() -> None:
    hashes = uniform(400)
    hashes[:100, 32:36] = 7
    settings = DedupSettings(max_key_rows=20_000)
    found = forecast([nodes_of(hashes)], 100_000, wide_bands(16), settings)
    assert found.heavy == ((0, 0x07070707),)
    assert not list(refusals(found, 10**5, 10**5, wide_bands(16), settings))
    exact = DedupSettings(max_key_rows=20_000, preset="exact")
    (message,) = refusals(found, 10**5, 10**5, wide_bands(16), exact)
    assert "key 07070707 of table 0" in message


def test_too_many_comparisons_are_refused_with_the_hottest_tables() -> None:
    hashes = uniform(400)
    hashes[:, 32:48] = 7
    settings = DedupSettings(max_bucket=60_000)
    found = forecast([nodes_of(hashes)], 40_000, wide_bands(16), settings)
    (message,) = refusals(found, 40_000, 40_000, wide_bands(16), settings)
    assert "comparisons per hash, at most 2000" in message
    assert all(f"{table} (" in message for table in range(3))


def test_short_hashes_are_refused_where_chance_rules() -> None:
    settings = DedupSettings(preset="imagehash64")
    nothing = forecast([], 1, short_bands(4), settings)
    assert not list(refusals(nothing, 10**8, 10**8, short_bands(4), settings))
    messages = list(refusals(nothing, 10**10, 10**10, short_bands(4), settings))
    assert "chance candidates per hash" in messages[0]
    assert "would be merged by chance" in messages[1]


@pytest.mark.parametrize(
    ("rows", "passes"), [(0, 1), (3_807_000, 1), (3_808_000, 2), (20_000_000, 8), (240_000_000, 64)]
)
def test_passes_are_as_many_as_the_memory_of_one_process_asks_for(rows: int, passes: int) -> None:
    assert pass_count(rows, 1 << 26) == passes


def test_more_than_64_passes_are_refused() -> None:
    with pytest.raises(RefusedError, match=r"128 passes of .* at most 64"):
        pass_count(250_000_000, 1 << 26)
