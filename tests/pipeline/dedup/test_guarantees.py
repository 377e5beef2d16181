import dataclasses
from typing import Any

import numpy as np
import pytest

from filters.hashes.bands import wide_bands
from pipeline.stages.dedup import DedupSettings
from tests.pipeline.dedup.fetched_rows import (
    Dedup,
    Row,
    are_near,
    brute_force,
    kept_id,
    made_up_rows,
    probes_of,
)


@pytest.fixture
def dedup(plain_engine: Any) -> Dedup:
    return Dedup(plain_engine)


def test_rows_are_decided_alike_in_any_parts_order_and_buckets(dedup: Dedup) -> None:
    rows = made_up_rows(240, 11)
    mixed = [rows[number] for number in np.random.default_rng(1).permutation(len(rows))]
    whole = dedup(rows)
    cuts = [
        dedup(mixed, bucket_bytes=40_000),
        dedup(rows[:7], [], rows[7:100], rows[100:], bucket_bytes=8_000),
        dedup(*(mixed[start : start + 16] for start in range(0, 240, 16)), bucket_bytes=200_000),
    ]
    assert len(whole.kept) > 20
    for cut in cuts:
        assert cut.kept == whole.kept
        assert cut.drops == whole.drops
        assert cut.record.drops == whole.record.drops
        for name in ("candidates", "hot_keys", "overflow_pairs"):
            assert cut.noted("dedup-edges", name) == whole.noted("dedup-edges", name)
    assert len(cuts[1].steps["dedup-edges-1"].units) > 1
    assert "dedup-edges-4" in cuts[1].steps
    assert {"dup_bytes", "dup_signature", "dup_near"} == set(whole.record.drops)


def test_the_same_rows_give_the_same_files(dedup: Dedup) -> None:
    rows = made_up_rows(60, 12)
    first, second = (dedup(rows[:30], rows[30:]) for _ in range(2))
    assert first.record.to_bytes() == second.record.to_bytes()


@pytest.mark.parametrize("seed", [21, 22])
def test_within_the_guarantee_the_choice_is_that_of_comparing_all_pairs(
    dedup: Dedup, seed: int
) -> None:
    rows = [row for row in made_up_rows(240, seed) if emits_all(row)]
    assert len(rows) > 60
    settings: dict[str, Any] = {"threshold": 7, "threshold_graphic": 5}
    outcome = dedup(rows[:50], rows[50:], **settings)
    expected = brute_force(rows, DedupSettings(**settings))
    assert {pair: kept_id(verdict) for pair, verdict in outcome.drops.items()} == expected
    assert set(outcome.kept) == {row["pair_id"] for row in rows} - set(expected)


def emits_all(row: Row) -> bool:
    """Tell whether 7 bits are within what the keys of each probe guarantee."""
    hashes = [np.frombuffer(bits, np.uint8).reshape(1, 64) for bits, _, _ in probes_of(row)]
    return all(wide_bands(16).of(each)[1].sum() > 7 for each in hashes)


def test_each_dropped_row_is_near_the_kept_row_it_names_and_no_two_kept_ones_are_close(
    dedup: Dedup,
) -> None:
    rows = {row["pair_id"]: row for row in made_up_rows(240, 31)}
    outcome = dedup(list(rows.values()), max_bucket=4, stars=2)
    settings = DedupSettings()
    for pair, verdict in outcome.drops.items():
        kept = kept_id(verdict)
        assert kept in outcome.kept
        assert are_near(rows[pair], rows[kept], settings)
    if outcome.noted("dedup-edges", "overflow_pairs") == 0:
        close = dataclasses.replace(settings, threshold=7, threshold_graphic=7)
        assert not brute_force([rows[pair] for pair in outcome.kept], close)
    assert len(outcome.drops) + len(outcome.kept) == len(rows)
    assert sum(row["duplicates"] for row in outcome.kept.values()) == len(outcome.drops)
