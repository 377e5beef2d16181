"""Batches one after the other against all at once, and bands crowded twice."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from filters.hashes.perceptual import FLAT
from filters.hashes.rank import caption_score
from manifests.base.errors import OpenwitError
from pipeline.stages.dedup import DedupSettings
from tests.pipeline.dedup.fetched_rows import (
    Dedup,
    Outcome,
    Row,
    are_near,
    flipped,
    kept_id,
    made_up_rows,
    make_row,
)
from tests.pipeline.dedup.hash_rows import hash_file, hash_rows

FLAT_ROW: Row = {"dedup_flags": FLAT, "dedup_hash": bytes(64), "dedup_chroma": bytes(32)}


@pytest.fixture
def dedup(plain_engine: Any) -> Dedup:
    return Dedup(plain_engine)


def store_of(path: pathlib.Path, rows: Sequence[Row]) -> str:
    return hash_file(path, [each for row in rows for each in hash_rows(row, "old")], "published")


def better_first(row: Row) -> tuple[int, int, bytes]:
    side = min(row["original_width"], row["original_height"])
    return (-(side.bit_length() - 1), -caption_score(row["text"]), row["pair_id"])


def expected(old: Sequence[Row], new: Sequence[Row], settings: DedupSettings) -> set[bytes]:
    """The new pairs that stay when the old ones come first: the definition, by brute force."""
    kept: list[Row] = list(old)
    for row in sorted(new, key=better_first):
        if not any(are_near(row, other, settings) for other in kept):
            kept.append(row)
    return {row["pair_id"] for row in kept[len(old) :]}


@pytest.mark.parametrize("seed", [41, 42])
@pytest.mark.parametrize("bucket_bytes", [1 << 26, 6000])
def test_a_batch_against_the_kept_of_another_is_one_run_of_two_generations(
    dedup: Dedup, tmp_path: pathlib.Path, seed: int, bucket_bytes: int
) -> None:
    rows = made_up_rows(220, seed)
    old, new = rows[:120], rows[120:]
    before = dedup(old)
    store = store_of(tmp_path / "s.parquet", list(before.kept.values()))
    outcome = dedup(new[:30], new[30:], against=(store,), bucket_bytes=bucket_bytes)
    # What the bands find is a subset of all near pairs, so the definition is asked with those.
    assert_two_generations(before, outcome, new)
    assert outcome.record.drops["dup_store"] > 10


def assert_two_generations(before: Outcome, outcome: Outcome, new: Sequence[Row]) -> None:
    settings = DedupSettings()
    rows = {row["pair_id"]: row for row in new}
    published = before.kept
    for pair, verdict in outcome.drops.items():
        name = kept_id(verdict)
        assert (name in published) == (verdict[0] == "dup_store")
        other = published[name] if name in published else rows[name]
        assert verdict[0] == "dup_store" or name in outcome.kept
        assert are_near(rows[pair], other, settings)
    close = DedupSettings(threshold=7, threshold_graphic=7)
    for row in outcome.kept.values():
        assert not any(are_near(row, other, close) for other in published.values())


def test_within_the_guarantee_two_batches_are_exactly_one_run(
    dedup: Dedup, tmp_path: pathlib.Path
) -> None:
    limits: dict[str, Any] = {"threshold": 15, "threshold_graphic": 15, "preset": "exact"}
    rows = made_up_rows(200, 43)
    before = dedup(rows[:90], **limits)
    kept = list(before.kept.values())
    outcome = dedup(rows[90:], against=(store_of(tmp_path / "s.parquet", kept),), **limits)
    assert set(outcome.kept) == expected(kept, rows[90:], DedupSettings(**limits))


def test_flat_images_meet_published_ones_of_the_same_pixels(
    dedup: Dedup, tmp_path: pathlib.Path
) -> None:
    old = make_row(1, dedup_pixels=b"w" * 16, **FLAT_ROW)
    white, blue = (
        make_row(n, dedup_pixels=each * 16, **FLAT_ROW) for n, each in ((2, b"w"), (3, b"b"))
    )
    photo = make_row(4)
    store = store_of(tmp_path / "s.parquet", [old, make_row(5)])
    outcome = dedup([white, blue, photo], against=(store,))
    assert outcome.drops == {white["pair_id"]: ("dup_store", f"{old['pair_id'].hex()}:0")}


def test_copies_of_a_published_pair_leave_nothing_behind(
    dedup: Dedup, tmp_path: pathlib.Path
) -> None:
    old = make_row(1)
    rows = [make_row(n, seed=1) for n in (2, 3)]
    outcome = dedup(rows[:1], rows[1:], against=(store_of(tmp_path / "s.parquet", [old]),))
    assert {reason for reason, _ in outcome.drops.values()} == {"dup_store"}
    assert not outcome.kept


def test_published_pairs_are_not_compared_with_each_other(
    dedup: Dedup, tmp_path: pathlib.Path
) -> None:
    old = [make_row(n, seed=1) for n in range(30)]
    outcome = dedup([make_row(99)], against=(store_of(tmp_path / "s.parquet", old),))
    assert outcome.noted("dedup-edges", "candidates") == 0
    assert set(outcome.kept) == {make_row(99)["pair_id"]}


def crowd(rows: int, seed: int, bits: int = 60) -> list[Row]:
    """Photographs that share all bits but some, so that every band is crowded twice."""
    base = make_row(0)
    random = np.random.default_rng(seed)
    made = []
    for number in range(rows):
        flips = np.zeros(512, np.uint8)
        flips[random.permutation(480)[: random.integers(0, bits)] + 32] = 1
        bits_of = np.frombuffer(base["dedup_hash"], np.uint8) ^ np.packbits(flips)
        made.append(make_row(number, seed=0, dedup_hash=bits_of.tobytes()))
    return made


@pytest.mark.parametrize("seed", [1, 2])
def test_rechecked_bands_leave_no_near_pair_that_shares_a_band(dedup: Dedup, seed: int) -> None:
    rows = crowd(90, seed)
    few: dict[str, Any] = {"max_bucket": 4, "stars": 1, "threshold": 15, "max_overflow": 1.0}
    outcome = dedup(rows[:40], rows[40:], **few)
    assert outcome.noted("dedup-edges", "overflow_pairs") > 0
    assert any(name.startswith("dedup-recheck") for name in outcome.steps)
    settings = DedupSettings(**few)
    kept = list(outcome.kept.values())
    near = [
        (one, other)
        for place, one in enumerate(kept)
        for other in kept[:place]
        if are_near(one, other, settings)
    ]
    assert not near
    cut = dedup(*(rows[n::4] for n in range(4)), **few, bucket_bytes=1 << 17)
    assert cut.kept == outcome.kept
    assert len(cut.steps["dedup-recheck-1"].units) > 1


def test_exact_stops_at_a_band_that_it_cannot_compare_in_full(dedup: Dedup) -> None:
    rows = crowd(120, 3, bits=200)
    with pytest.raises(OpenwitError, match="the preset exact compares all"):
        dedup(rows, preset="exact", max_bucket=4, stars=1, recheck_max=2, max_overflow=1.0)


def test_a_larger_copy_bits_apart_is_kept_over_all(dedup: Dedup) -> None:
    rows = crowd(40, 4, bits=3)
    best = make_row(77, seed=0, dedup_hash=flipped(rows[0]["dedup_hash"], 1), original_width=9000)
    best["original_height"] = 9000
    outcome = dedup([*rows, best], max_bucket=4, stars=1)
    assert set(outcome.kept) == {best["pair_id"]}
