import hashlib
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

from filters.hashes.perceptual import FLAT, GRAPHIC, canonical, record, self_test
from manifests.base.errors import OpenwitError, RefusedError
from pipeline.records import DEDUPED, FETCHED
from tests.pipeline.dedup.fetched_rows import Dedup, Row, flipped, make_row


@pytest.fixture
def dedup(plain_engine: Any) -> Dedup:
    return Dedup(plain_engine)


def test_copies_name_the_best_one_with_reason_and_distance(dedup: Dedup) -> None:
    best = make_row(1, original_width=5000, original_height=4000)
    same_bytes = make_row(2, seed=1)
    same_record = make_row(3, seed=1, original_sha256=b"3" * 32)
    near = make_row(4, seed=1, dedup_hash=flipped(best["dedup_hash"], 20))
    near_too = {**make_row(5), **{name: near[name] for name in near if name.startswith("dedup")}}
    other = make_row(6)
    outcome = dedup([best, near], [same_bytes, same_record, other], [near_too])

    name = best["pair_id"].hex()
    assert outcome.drops == {
        same_bytes["pair_id"]: ("dup_bytes", f"{name}:0"),
        same_record["pair_id"]: ("dup_signature", f"{name}:0"),
        near["pair_id"]: ("dup_near", f"{name}:20"),
        near_too["pair_id"]: ("dup_near", f"{name}:20"),
    }
    assert {row: kept["duplicates"] for row, kept in outcome.kept.items()} == {
        best["pair_id"]: 4,
        other["pair_id"]: 0,
    }
    assert (outcome.record.rows_in, outcome.record.rows_out) == (6, 2)


def test_kept_rows_keep_their_columns_and_are_sorted(dedup: Dedup) -> None:
    rows = [make_row(number) for number in range(30)]
    outcome = dedup(rows[:20], rows[20:])
    for path in outcome.record.paths("part"):
        table = pq.read_table(path)
        assert table.schema.equals(DEDUPED)
        ids = table["pair_id"].to_pylist()
        assert ids == sorted(ids)
    for row in rows:
        kept = outcome.kept[row["pair_id"]]
        assert {name: kept[name] for name in row} == row
        assert kept["cluster_id"] == row["pair_id"]
        assert (kept["duplicates"], kept["alternates"], kept["eval_hits"]) == (0, [], [])


def test_flat_images_are_equal_by_pixels_alone(dedup: Dedup) -> None:
    flat: Row = {"dedup_flags": FLAT | GRAPHIC, "dedup_hash": bytes(64), "dedup_chroma": bytes(32)}
    white, blue = b"w" * 16, b"b" * 16
    rows = [
        make_row(1, dedup_pixels=white, **flat),
        make_row(2, dedup_pixels=white, **flat),
        make_row(3, dedup_pixels=blue, **flat),
    ]
    outcome = dedup(rows[:1], rows[1:])
    assert [reason for reason, _ in outcome.drops.values()] == ["dup_pixels"]
    assert rows[2]["pair_id"] in outcome.kept
    assert outcome.noted("dedup-nodes", "probes") == 0


def test_a_probe_without_borders_meets_the_image_it_was_cut_from(dedup: Dedup) -> None:
    plain = make_row(1)
    inside = flipped(plain["dedup_hash"], 9) + plain["dedup_chroma"] + bytes([0])
    framed = make_row(2, original_height=100, dedup_trim=inside)
    outcome = dedup([plain], [framed])
    assert outcome.drops == {framed["pair_id"]: ("dup_near", f"{plain['pair_id'].hex()}:9")}


def test_no_chain_drops_an_image_that_differs_from_the_kept_one(dedup: Dedup) -> None:
    sizes = [2000, 1000, 500]  # A is near B, B near C, A not near C
    first = make_row(1)
    hashes = [flipped(first["dedup_hash"], bits) for bits in (0, 50, 100)]
    rows = [
        make_row(number, dedup_hash=bits, original_height=size, original_width=size)
        for number, (bits, size) in enumerate(zip(hashes, sizes, strict=True))
    ]
    rows = [{**row, "dedup_chroma": first["dedup_chroma"]} for row in rows]
    outcome = dedup(rows)
    assert set(outcome.kept) == {rows[0]["pair_id"], rows[2]["pair_id"]}
    assert outcome.drops[rows[1]["pair_id"]] == ("dup_near", f"{rows[0]['pair_id'].hex()}:50")


def test_distinct_texts_of_duplicates_become_alternates_best_first(dedup: Dedup) -> None:
    texts = [
        ("a dog on a beach", 4000),
        ("A  Dog on a Beach", 2000),
        ("a wet dog", 1000),
        ("IMG_1234.jpg", 900),
        ("Dog", 2100),
        ("a happy dog", 300),
        ("a wet DOG", 200),
    ]
    near = flipped(make_row(0)["dedup_hash"], 5)
    rows = [
        make_row(
            number,
            seed=0,
            text=text,
            original_width=side,
            original_height=side,
            **({"dedup_hash": near} if number % 2 else {}),
        )
        for number, (text, side) in enumerate(texts)
    ]
    outcome = dedup(rows[:3], rows[3:5], rows[5:])
    assert len(outcome.drops) == 6
    kept = outcome.kept[rows[0]["pair_id"]]
    assert kept["duplicates"] == 6
    assert [each["text"] for each in kept["alternates"]] == ["Dog", "a wet dog", "a happy dog"]
    assert kept["alternates"][0] == {
        "text": "Dog",
        "source": "alt",
        "url": rows[4]["url"],
        "page_url": rows[4]["page_url"],
    }
    few = dedup(rows, alternates_max=2).kept[rows[0]["pair_id"]]
    assert [each["text"] for each in few["alternates"]] == ["Dog", "a wet dog"]
    assert dedup(rows, alternates_max=0).kept[rows[0]["pair_id"]]["alternates"] == []


def test_many_copies_cost_one_row_a_part(dedup: Dedup) -> None:
    rows = [make_row(number, seed=0) for number in range(300)]
    outcome = dedup(rows[:200], rows[200:])
    assert [unit.notes["received"] for unit in outcome.steps["dedup-nodes"].units] == [{"copy": 2}]
    assert outcome.steps["dedup-edges-1"].rows_out == 0
    assert outcome.record.drops == {"dup_bytes": 299}
    (kept,) = outcome.kept.values()
    assert len(kept["alternates"]) == 8


def test_parts_without_rows_are_parts_again(dedup: Dedup) -> None:
    outcome = dedup([], [])
    assert (outcome.record.rows_in, outcome.record.rows_out) == (0, 0)
    assert len(outcome.record.paths("part")) == 2


def test_more_edges_than_one_worker_may_hold_are_refused(dedup: Dedup) -> None:
    rows = [make_row(n, dedup_hash=flipped(bytes(range(64)), n)) for n in range(9)]
    rows = [{**row, "dedup_chroma": bytes(32)} for row in rows]
    with pytest.raises(OpenwitError, match=r"dedup: \d+ edges.*at most 3.*dedup\.local_edges"):
        dedup(rows, local_edges=3)


def test_hashes_of_two_versions_are_refused(dedup: Dedup) -> None:
    with pytest.raises(RefusedError, match="hash versions ow1/p12, ow1/p13"):
        dedup([make_row(1)], [make_row(2, hash_version="ow1/p13")])


def test_crowded_bands_that_were_not_compared_in_full_are_said_or_stop_the_stage(
    dedup: Dedup, capsys: pytest.CaptureFixture[str]
) -> None:
    base = make_row(0)
    rows = [make_row(n, seed=0, dedup_hash=bytes([n]) + base["dedup_hash"][1:]) for n in range(40)]
    crowded: dict[str, Any] = {"max_bucket": 8, "stars": 2, "threshold": 0, "recheck_max": 2}
    outcome = dedup(rows, **crowded, max_overflow=1.0)
    assert outcome.noted("dedup-edges", "overflow_rows") > 0
    assert "pairs not compared" in capsys.readouterr().err
    with pytest.raises(OpenwitError, match=r"not compared in full.*max_overflow"):
        dedup(rows, **crowded)
    with pytest.raises(OpenwitError, match="preset exact compares all"):
        dedup(rows, **crowded, preset="exact")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([[make_row(1, dedup_flags=FLAT)]], r"part-0.* row 0: dedup_pixels: null on a flat image"),
        ([[make_row(1), make_row(1, dedup_flags=2)]], r"row 1: pair [0-9a-f]{32}: comes twice"),
        ([[make_row(1)], [make_row(1)]], r"parts 0 and 1 of fetch: pair .*: comes twice"),
    ],
)
def test_rows_that_cannot_be_compared_stop_the_stage_with_their_place(
    dedup: Dedup, parts: list[list[Row]], message: str
) -> None:
    with pytest.raises(OpenwitError, match=message):
        dedup(*parts)


@pytest.mark.parametrize(
    "wrong", [pa.field("dedup_hash", pa.binary(64)), pa.field("dedup_hash", pa.binary(32), False)]
)
def test_parts_that_may_hold_no_hash_or_a_short_one_are_refused(dedup: Dedup, wrong: Any) -> None:
    schema = FETCHED.set(FETCHED.get_field_index("dedup_hash"), wrong)
    row = make_row(1, dedup_hash=bytes(wrong.type.byte_width))
    with pytest.raises(
        OpenwitError, match=r"column .*dedup_hash.*: must be .*binary\[64\] not null"
    ):
        dedup([row], schema=schema)


def hashed(number: int, image: Image.Image, data: bytes) -> Row:
    found = record(canonical(image))
    return make_row(
        number,
        original_sha256=hashlib.sha256(data).digest(),
        original_width=image.width,
        original_height=image.height,
        dedup_hash=found.hash,
        dedup_chroma=found.chroma,
        dedup_quality=found.quality,
        dedup_flags=found.flags,
        dedup_trim=found.trim,
        dedup_pixels=found.pixels,
        phash=found.phash,
        hash_version=self_test(),
    )


def photo(seed: int) -> Image.Image:
    """Noise at several scales, as in a photograph."""
    random = np.random.default_rng(seed)
    made = Image.new("RGB", (640, 480))
    for size, share in ((4, 0.5), (16, 0.3), (64, 0.2)):
        noise = Image.fromarray(random.integers(0, 256, (size, size, 3), dtype=np.uint8))
        made = Image.blend(made, noise.resize(made.size, Image.Resampling.BICUBIC), share)
    return made.filter(ImageFilter.GaussianBlur(1))


def test_an_image_its_jpeg_and_its_half_size_are_one_and_another_stays(dedup: Dedup) -> None:
    image = photo(1)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    images = [image, Image.open(buffer), image.resize((320, 240)), photo(2)]
    rows = [hashed(number, each, bytes([number])) for number, each in enumerate(images)]
    outcome = dedup(rows[:2], rows[2:])
    kept = outcome.kept
    assert len(kept) == 2
    assert kept[rows[3]["pair_id"]]["duplicates"] == 0
    assert rows[2]["pair_id"] in outcome.drops
    assert {reason for reason, _ in outcome.drops.values()} == {"dup_near"}
