"""Presets, text policies and the preferred column, on rows through the whole stage."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from filters.hashes.perceptual import FLAT
from manifests.base.errors import OpenwitError
from pipeline.records import FETCHED
from pipeline.stages.dedup import DedupSettings
from tests.pipeline.dedup.fetched_rows import Dedup, Row, flipped, kept_id, made_up_rows, make_row


@pytest.fixture
def dedup(plain_engine: Any) -> Dedup:
    return Dedup(plain_engine)


def shown(seed: int, texts: list[str], first: int = 0) -> list[Row]:
    """Pairs of one image, the larger the earlier; every second a near copy."""
    near = flipped(make_row(seed)["dedup_hash"], 6)
    return [
        make_row(
            first + place,
            seed=seed,
            text=text,
            original_width=4096 >> place,
            original_height=4096 >> place,
            **({"dedup_hash": near} if place % 2 else {}),
        )
        for place, text in enumerate(texts)
    ]


def ids(rows: list[Row]) -> set[bytes]:
    return {row["pair_id"] for row in rows}


def test_image_text_keeps_one_pair_for_each_text_of_an_image(dedup: Dedup) -> None:
    rows = shown(1, ["a dog", "a cat", "A  Dog", "a cat", "a bird"])
    outcome = dedup(rows[:2], rows[2:], text="image_text")
    assert set(outcome.kept) == ids([rows[0], rows[1], rows[4]])
    assert kept_id(outcome.drops[rows[2]["pair_id"]]) == rows[0]["pair_id"]
    assert kept_id(outcome.drops[rows[3]["pair_id"]]) == rows[1]["pair_id"]
    assert all(row["alternates"] == [] for row in outcome.kept.values())


def test_image_k_keeps_pairs_with_the_best_distinct_texts_under_one_cluster(dedup: Dedup) -> None:
    texts = ["a dog", "A dog", "a big dog here", "a cat over there", "IMG_1234.jpg", "a bird"]
    rows = shown(1, texts)
    other = make_row(99)
    outcome = dedup(rows[:3], [*rows[3:], other], text="image_k", captions_k=3)
    stays = [rows[0], rows[2], rows[3]]
    assert set(outcome.kept) == ids([*stays, other])
    assert {row["cluster_id"] for row in outcome.kept.values()} == ids([rows[0], other])
    best = outcome.kept[rows[0]["pair_id"]]
    assert best["duplicates"] == 3
    assert [each["text"] for each in best["alternates"]] == ["a bird"]
    reasons = {pair: reason for pair, (reason, _) in outcome.drops.items()}
    assert reasons == {
        rows[1]["pair_id"]: "dup_near",
        rows[4]["pair_id"]: "caption_limit",
        rows[5]["pair_id"]: "caption_limit",
    }
    assert all(kept_id(verdict) == rows[0]["pair_id"] for verdict in outcome.drops.values())


def test_image_k_of_one_keeps_what_image_keeps(dedup: Dedup) -> None:
    rows = made_up_rows(160, 5)
    image, image_k = dedup(rows), dedup(rows, text="image_k", captions_k=1)
    assert set(image_k.kept) == set(image.kept)
    assert {row["duplicates"] for row in image_k.kept.values()} == {
        row["duplicates"] for row in image.kept.values()
    }


@pytest.mark.parametrize("seed", [6, 7])
def test_image_k_decides_alike_in_any_parts_and_sums_up(dedup: Dedup, seed: int) -> None:
    rows = made_up_rows(160, seed)
    whole = dedup(rows, text="image_k", captions_k=2)
    cut = dedup(rows[::3], rows[1::3], rows[2::3], text="image_k", captions_k=2, bucket_bytes=9000)
    assert (cut.kept, cut.drops) == (whole.kept, whole.drops)
    assert sum(row["duplicates"] for row in whole.kept.values()) == len(whole.drops)
    sizes = np.unique([row["cluster_id"] for row in whole.kept.values()], return_counts=True)[1]
    assert sizes.max() == 2


def test_the_preferred_column_decides_before_size(dedup: Dedup) -> None:
    schema = FETCHED.append(pa.field("stars", pa.int64()))
    rows = [
        {**row, "stars": stars}
        for row, stars in zip(shown(1, ["a"] * 4), [None, 256, 7, 8], strict=True)
    ]
    outcome = dedup(rows, schema=schema, prefer="stars")
    assert set(outcome.kept) == ids([rows[3]])
    assert set(dedup(rows, schema=schema).kept) == ids([rows[0]])


@pytest.mark.parametrize("column", ["missing", "text"])
def test_a_preferred_column_without_whole_numbers_is_refused(dedup: Dedup, column: str) -> None:
    with pytest.raises(OpenwitError, match=r"column .*: must hold whole numbers"):
        dedup([make_row(1)], prefer=column)


def test_coyo_merges_equal_phash_and_text_alone(dedup: Dedup) -> None:
    rows = [
        make_row(1, text="a dog", phash="00ff" * 4),
        make_row(2, text="A dog", phash="00ff" * 4, original_width=2000, original_height=2000),
        make_row(3, text="a cat", phash="00ff" * 4),
        make_row(4, text="a dog", phash="00fe" + "00ff" * 3),
    ]
    outcome = dedup(rows, preset="coyo")
    assert outcome.drops == {rows[0]["pair_id"]: ("dup_signature", f"{rows[1]['pair_id'].hex()}:0")}


@pytest.mark.parametrize(("distance", "kept"), [(0, 4), (2, 3), (4, 2)])
def test_imagehash64_merges_phashes_within_its_distance(
    dedup: Dedup, distance: int, kept: int
) -> None:
    hashes = ["00ff" * 4, "03ff" + "00ff" * 3, "00ff" * 3 + "0ff0", "00ff" * 3 + "0f00"]
    rows = [make_row(n, phash=phash) for n, phash in enumerate(hashes)]
    outcome = dedup(rows, preset="imagehash64", threshold=distance)
    apart = [(int(a, 16) ^ int(b, 16)).bit_count() for a in hashes for b in hashes if a < b]
    assert sorted(apart)[:2] == [2, 4]
    assert len(outcome.kept) == kept


@pytest.mark.parametrize("preset", ["coyo", "imagehash64", "exact"])
def test_flat_images_go_by_pixels_in_every_preset(dedup: Dedup, preset: Any) -> None:
    flat: Row = {"dedup_flags": FLAT, "dedup_hash": bytes(64), "dedup_chroma": bytes(32)}
    rows = [
        make_row(n, dedup_pixels=pixels * 16, phash=None, **flat)
        for n, pixels in enumerate((b"w", b"w", b"b"))
    ]
    outcome = dedup(rows, preset=preset)
    assert [reason for reason, _ in outcome.drops.values()] == ["dup_pixels"]
    assert rows[2]["pair_id"] in outcome.kept


def test_presets_that_need_a_phash_name_the_row_without(dedup: Dedup) -> None:
    with pytest.raises(OpenwitError, match="row 0: phash: null under the preset coyo"):
        dedup([make_row(1, phash=None)], preset="coyo")


def test_exact_drops_within_15_bits_alone(dedup: Dedup) -> None:
    first = make_row(0)
    near, far = (make_row(n, dedup_hash=flipped(first["dedup_hash"], n)) for n in (15, 16))
    rows = [{**row, "dedup_chroma": first["dedup_chroma"]} for row in (first, near, far)]
    rows[0]["original_width"] = rows[0]["original_height"] = 9000
    assert set(dedup(rows, preset="exact").drops) == {near["pair_id"]}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threshold": 101}, "threshold must be 0 to 100"),
        ({"threshold": -1}, "threshold must be"),
        ({"threshold": 16, "preset": "exact"}, "0 to 15 under the preset exact"),
        ({"threshold": 5, "preset": "imagehash64"}, "0 to 4 under the preset imagehash64"),
        ({"threshold": 65, "chroma_max": 255}, "threshold must be at most 64 while chroma_max"),
        (
            {"threshold_graphic": 65, "chroma_max_graphic": 255},
            "threshold_graphic must be at most 64 while chroma_max_graphic",
        ),
        ({"chroma_max": 256}, "chroma_max must be"),
        ({"stars": 0}, "stars must be"),
        ({"max_bucket": 1}, "max_bucket must be"),
        ({"local_edges": 0}, "local_edges must be"),
        ({"alternates_max": -1}, "alternates_max must be"),
        ({"captions_k": 0}, "captions_k must be"),
        ({"recheck_max": 1}, "recheck_max must be"),
        ({"max_overflow": float("nan")}, "max_overflow must be"),
        ({"audit_sample": -1}, "audit_sample must be"),
        ({"preset": "coyo", "block": ("a",)}, "preset must be openwit or exact"),
        ({"preset": "imagehash64", "against": ("a",)}, "preset must be openwit or exact"),
        ({"text": "image_text", "against": ("a",)}, "text must be image or image_k"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DedupSettings(**wrong)


def test_loose_thresholds_may_be_allowed() -> None:
    assert DedupSettings(threshold=80, chroma_max=255, allow_loose=True).nearness.threshold == 80


@pytest.mark.parametrize(
    ("preset", "limits"),
    [("openwit", (80, 15)), ("exact", (15, 15)), ("imagehash64", (4, 4)), ("coyo", (80, 15))],
)
def test_each_preset_has_its_thresholds(preset: Any, limits: tuple[int, int]) -> None:
    rule = DedupSettings(preset=preset).nearness
    assert (rule.threshold, rule.threshold_graphic) == limits


def test_the_usual_threshold_is_lower_where_colours_are_not_compared() -> None:
    assert DedupSettings(chroma_max=255).nearness.threshold == 64
