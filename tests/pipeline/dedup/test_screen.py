import pathlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from filters.hashes.bands import wide_bands
from filters.hashes.hamming import near_pairs, words
from filters.hashes.perceptual import FLAT, GRAPHIC
from manifests.base.errors import RefusedError
from pipeline.dedup.screen import FixedSet, is_exhaustive, key_candidates
from pipeline.dedup.settings import DecontaminateSettings
from tests.pipeline.dedup.fetched_rows import Dedup, Row, flipped, make_row
from tests.pipeline.dedup.hash_rows import hash_file, hash_rows


@pytest.fixture
def dedup(plain_engine: Any) -> Dedup:
    return Dedup(plain_engine)


def against(path: str, **inner: Any) -> dict[str, Any]:
    return {"decontaminate": DecontaminateSettings(eval=(path,), **inner)}


@pytest.mark.parametrize("mode", ["exhaustive", "keys"])
def test_pairs_that_show_an_evaluation_image_go_with_all_their_copies(
    dedup: Dedup, tmp_path: pathlib.Path, mode: Any
) -> None:
    shown = make_row(1)
    copy = make_row(2, seed=1)
    near = make_row(3, dedup_hash=flipped(shown["dedup_hash"], 30), dedup_chroma=bytes(32))
    near_to_near = make_row(4, dedup_hash=flipped(shown["dedup_hash"], 130), dedup_chroma=bytes(32))
    other = make_row(5)
    path = hash_file(tmp_path / "e.parquet", hash_rows(shown, item="rose.png"))
    outcome = dedup([shown, near], [copy, near_to_near, other], **against(path, mode=mode))
    assert outcome.drops == {
        shown["pair_id"]: ("contaminated", "flowers:rose.png:0"),
        copy["pair_id"]: ("contaminated", "flowers:rose.png:0"),
        near["pair_id"]: ("contaminated", "flowers:rose.png:30"),
    }
    assert set(outcome.kept) == {near_to_near["pair_id"], other["pair_id"]}
    (noted,) = (unit.notes["sets"] for unit in outcome.steps["dedup-screen"].units)
    assert noted["flowers"]["items"] == 1
    assert noted["flowers"]["variants"] == {"id": 2}
    assert (noted["flowers"]["distances"]["0-0"], noted["flowers"]["distances"]["16-31"]) == (1, 1)
    assert outcome.record.rows_in == 5


@pytest.mark.parametrize(
    ("bits", "flags", "gone"),
    [(100, 0, True), (101, 0, False), (31, GRAPHIC, True), (32, GRAPHIC, False)],
)
def test_the_radius_is_that_of_graphics_if_one_is(
    dedup: Dedup, tmp_path: pathlib.Path, bits: int, flags: int, gone: bool
) -> None:
    shown = make_row(1)
    row = make_row(2, dedup_hash=flipped(shown["dedup_hash"], bits), dedup_flags=flags)
    path = hash_file(tmp_path / "e.parquet", hash_rows(shown))
    assert bool(dedup([row], **against(path)).drops) == gone


def test_flagged_pairs_stay_and_name_what_they_show(dedup: Dedup, tmp_path: pathlib.Path) -> None:
    shown, other = make_row(1), make_row(2)
    near = make_row(3, seed=1, dedup_hash=flipped(shown["dedup_hash"], 4), original_height=100)
    rows = [
        *hash_rows(shown, item="a"),
        *hash_rows(shown, name="trees", item="b"),
        *hash_rows({**shown, "dedup_hash": flipped(shown["dedup_hash"], 9)}, item="c"),
    ]
    path = hash_file(tmp_path / "e.parquet", rows)
    outcome = dedup([shown], [other, near], **against(path, action="flag"))
    assert outcome.kept[shown["pair_id"]]["eval_hits"] == ["flowers:a:0", "trees:b:0"]
    assert outcome.kept[other["pair_id"]]["eval_hits"] == []
    assert {reason for reason, _ in outcome.drops.values()} == {"dup_near"}


def test_a_border_does_not_hide_an_evaluation_image(dedup: Dedup, tmp_path: pathlib.Path) -> None:
    shown = make_row(1)
    trim = shown["dedup_hash"] + shown["dedup_chroma"] + b"\0"
    framed = make_row(2, dedup_trim=trim)
    path = hash_file(tmp_path / "e.parquet", hash_rows(shown))
    assert set(dedup([framed], **against(path)).drops) == {framed["pair_id"]}
    path = hash_file(tmp_path / "f.parquet", hash_rows(framed))
    assert set(dedup([shown], **against(path)).drops) == {shown["pair_id"]}


def test_flat_images_show_an_evaluation_image_of_the_same_pixels_alone(
    dedup: Dedup, tmp_path: pathlib.Path
) -> None:
    flat: Row = {"dedup_flags": FLAT, "dedup_hash": bytes(64), "dedup_chroma": bytes(32)}
    white, blue = (
        make_row(n, dedup_pixels=each * 16, **flat) for n, each in enumerate((b"w", b"b"))
    )
    photo = make_row(7, dedup_hash=b"w" * 64, dedup_chroma=bytes(32))
    path = hash_file(tmp_path / "e.parquet", hash_rows(white))
    assert set(dedup([white, blue, photo], **against(path)).drops) == {white["pair_id"]}


def test_block_files_use_the_thresholds_of_copies_and_their_own_reason(
    dedup: Dedup, tmp_path: pathlib.Path
) -> None:
    shown = make_row(1)
    near, gray, far = (
        make_row(2, seed=1, dedup_hash=flipped(shown["dedup_hash"], 80)),
        make_row(3, seed=1, dedup_chroma=bytes(32)),
        make_row(4, seed=1, dedup_hash=flipped(shown["dedup_hash"], 81)),
    )
    path = hash_file(tmp_path / "b.parquet", hash_rows(shown, name="removed", item="x"), "block")
    outcome = dedup([near], [gray], [far], block=(path,))
    assert outcome.drops == {near["pair_id"]: ("blocked_hash", "removed:x:80")}


def test_screening_decides_alike_in_any_parts(dedup: Dedup, tmp_path: pathlib.Path) -> None:
    rows = [make_row(n, seed=n // 3) for n in range(60)]
    evals = [hash_rows(rows[n], item=str(n))[0] for n in range(0, 30, 7)]
    path = hash_file(tmp_path / "e.parquet", evals)
    whole = dedup(rows, **against(path))
    cut = dedup(rows[::2], rows[1::2], bucket_bytes=4000, **against(path, mode="keys"))
    assert (cut.kept, cut.drops) == (whole.kept, whole.drops)
    assert whole.record.drops["contaminated"] == 15


@pytest.mark.parametrize(
    ("kind", "version", "settings", "message"),
    [
        ("block", "ow1/p12", "eval", "of the kind block: dedup.decontaminate.eval takes"),
        ("eval", "ow1/p12", "against", "of the kind eval: dedup.against takes the kind published"),
        ("eval", "ow1/p13", "eval", "hash versions ow1/p12, ow1/p13"),
    ],
)
def test_files_of_another_kind_or_version_are_refused(
    dedup: Dedup, tmp_path: pathlib.Path, kind: str, version: str, settings: str, message: str
) -> None:
    path = hash_file(tmp_path / "e.parquet", hash_rows(make_row(1)), kind, version)
    given = against(path) if settings == "eval" else {"against": (path,)}
    with pytest.raises(RefusedError, match=message):
        dedup([make_row(2)], **given)


def test_mixed_versions_may_be_allowed(dedup: Dedup, tmp_path: pathlib.Path) -> None:
    path = hash_file(tmp_path / "e.parquet", hash_rows(make_row(1)), version="ow1/p13")
    assert dedup([make_row(1)], allow_mixed_hash=True, **against(path)).drops


def as_set(hashes: NDArray[np.uint8]) -> FixedSet:
    nothing: Any = None
    return FixedSet("eval", nothing, hashes, nothing, nothing, nothing)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_keys_find_every_pair_that_differs_in_fewer_than_twice_the_emitted_keys(seed: int) -> None:
    random = np.random.default_rng(seed)
    sets = random.integers(0, 256, (300, 64), dtype=np.uint8)
    sets[:100, :16] = 0  # these emit fewer keys
    nodes = np.repeat(sets, 8, axis=0)
    for row in nodes:
        flips = np.zeros(512, np.uint8)
        flips[random.permutation(512)[: random.integers(0, 40)]] = 1
        row ^= np.packbits(flips)
    bands = wide_bands(16)
    found = set()
    for left, right in key_candidates(bands.of(nodes)[0], as_set(sets), bands):
        found |= set(zip(left.tolist(), right.tolist(), strict=True))
    emitted = bands.of(sets)[1].sum(axis=1)
    assert emitted.min() < 16
    must = 0
    for left, right in near_pairs(words(nodes), words(sets), 31):
        apart = np.bitwise_count(nodes[left] ^ sets[right]).sum(axis=1, dtype=int)
        for pair, bits in zip(zip(left.tolist(), right.tolist(), strict=True), apart, strict=True):
            if bits < 2 * emitted[pair[1]]:
                must += 1
                assert pair in found
    assert must > 1000


def test_auto_compares_all_pairs_up_to_its_bound() -> None:
    settings = DecontaminateSettings()
    assert is_exhaustive(settings, 10**6, 10**6)
    assert not is_exhaustive(settings, 10**6, 10**6 + 1)
