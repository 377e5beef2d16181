import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from filters.hashes.bands import wide_bands
from filters.hashes.matching import Counts, Nearness, Probes, match
from filters.hashes.perceptual import FLAT, GRAPHIC, GRAY

Distances = dict[tuple[int, int], int]


def make_probes(hashes: NDArray[np.uint8], **columns: NDArray[Any]) -> Probes:
    """Probes whose ranks are their row numbers, gray-blue and without flags unless told."""
    ranks = np.arange(1, len(hashes) + 1, dtype=">u4").view("S4")
    plain: dict[str, NDArray[Any]] = {
        "chroma": np.full((len(hashes), 32), 128, np.uint8),
        "flags": np.zeros(len(hashes), np.uint8),
        "texts": np.zeros(len(hashes), np.uint64),
        "fixed": np.zeros(len(hashes), np.bool_),
    }
    return Probes(hashes=hashes, ranks=ranks, **{**plain, **columns})


def rule(**values: Any) -> Nearness:
    usual = {"threshold": 64, "threshold_graphic": 15, "chroma_max": 8, "chroma_max_graphic": 4}
    return Nearness(**{**usual, **values})


def found_edges(
    probes: Probes, settings: Nearness, tables: int = 16, *, judged: bool = True
) -> tuple[Distances, Counts]:
    """Match over all tables; each must report an edge at its one distance."""
    bands = wide_bands(tables, judged=judged)
    keys, emitted = bands.of(probes.hashes)
    edges: Distances = {}
    counts = Counts()
    for table in range(tables):
        rows = np.flatnonzero(emitted[:, table])
        found = match(bands, table, keys[rows, table], probes.take(rows), settings, counts)
        for better, worse, distance in found:
            for edge in zip(rows[better].tolist(), rows[worse].tolist(), distance, strict=True):
                assert edges.setdefault(edge[:2], int(edge[2])) == edge[2]
    return edges, counts


def all_edges(hashes: NDArray[np.uint8], within: int) -> Distances:
    """Compare every pair."""
    edges = {}
    for row, one in enumerate(hashes):
        distances = np.bitwise_count(hashes[row + 1 :] ^ one).sum(axis=1)
        for other in np.flatnonzero(distances <= within).tolist():
            edges[row, row + 1 + other] = int(distances[other])
    return edges


def uniform(rows: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (rows, 64), dtype=np.uint8)


def clustered(rows: int, seed: int) -> NDArray[np.uint8]:
    """Clusters of up to a dozen hashes, each some bits from its centre; a tenth almost empty."""
    random = np.random.default_rng(seed)
    centres = uniform(rows // 6, seed)
    centres[::10, :32] &= random.integers(0, 256, (len(centres[::10]), 32), dtype=np.uint8) & 17
    flips = random.random((rows, 512)) < random.choice([0.002, 0.02, 0.06], (rows, 1))
    return centres[random.integers(0, len(centres), rows)] ^ np.packbits(flips, axis=1)


def guaranteed(hashes: NDArray[np.uint8], edges: Distances) -> set[tuple[int, int]]:
    """Return the pairs that differ in fewer bits than keys that one of them emits."""
    keys = wide_bands(16).of(hashes)[1].sum(axis=1)
    return {pair for pair, bits in edges.items() if bits < max(keys[pair[0]], keys[pair[1]])}


@pytest.mark.parametrize("make", [uniform, clustered])
@pytest.mark.parametrize("tables", [16, 32])
def test_no_pair_within_the_guarantee_is_missed_and_none_beyond_the_threshold_found(
    make: Any, tables: int
) -> None:
    hashes = make(1500, 3)
    settings = rule()
    edges, counts = found_edges(make_probes(hashes), settings, tables)
    expected = all_edges(hashes, settings.threshold)
    assert edges.items() <= expected.items()
    must = guaranteed(hashes, expected)
    assert must <= edges.keys()
    assert len(must) > 1000 or make is uniform
    assert counts.hot_keys == 0


def hot(rows: int, copies: int) -> NDArray[np.uint8]:
    """Hashes that all share the band of table 0, and so many near pairs among them."""
    hashes = uniform(rows, 5)
    flips = np.zeros((copies, 512), np.uint8)
    for row in range(copies):
        flips[row, np.random.default_rng(row).permutation(512)[: row % 16]] = 1
    hashes[-copies:] = hashes[:copies] ^ np.packbits(flips, axis=1)
    hashes[:, 32:36] = 7
    return hashes


@pytest.mark.parametrize("tables", [16, 32])
def test_a_hot_key_loses_no_pair_within_15_bits(tables: int) -> None:
    hashes = hot(600, 200)
    settings = rule(max_bucket=8, stars=2)
    edges, counts = found_edges(make_probes(hashes), settings, tables)
    assert guaranteed(hashes, all_edges(hashes, 15)) <= edges.keys()
    assert counts.hot_keys >= 1
    assert counts.hot_rows >= 600
    assert counts.overflow_groups == 0


def test_a_hot_table_alone_finds_all_pairs_within_15_bits() -> None:
    hashes = hot(600, 200)
    keys, _ = wide_bands(16).of(hashes)
    found = set()
    for better, worse, _ in match(
        wide_bands(16), 0, keys[:, 0], make_probes(hashes), rule(max_bucket=8, stars=2), Counts()
    ):
        found |= set(zip(better.tolist(), worse.tolist(), strict=True))
    assert all_edges(hashes, 15).keys() <= found


def test_a_band_crowded_twice_is_compared_with_the_best_and_counted() -> None:
    hashes = np.repeat(uniform(1, 6), 40, axis=0)
    hashes[:, 0] = np.arange(40)  # all differ, in table 8 alone
    settings = rule(max_bucket=8, stars=2, threshold=20)
    edges, counts = found_edges(make_probes(hashes), settings)
    assert {(0, row) for row in range(1, 40)} <= edges.keys()
    assert counts.hot_keys >= 8
    assert counts.overflow_rows >= 8 * 40
    assert counts.overflow_pairs >= 8 * 38 * 37 // 2


def test_work_grows_with_the_rows_of_a_hot_key_not_with_their_pairs() -> None:
    settings = rule(max_bucket=8, stars=2)
    made = []
    for rows in (1000, 2000):
        counts = Counts()
        keys = np.full(rows, 9, np.uint32)
        list(match(wide_bands(16), 0, keys, make_probes(uniform(rows, 7)), settings, counts))
        made.append(counts.candidates)
        assert counts.candidates <= rows * (2 + 16 * (8 // 2 + 2))
    assert made[1] < 2.1 * made[0]


def pair(bits_apart: int) -> NDArray[np.uint8]:
    hashes = np.repeat(uniform(1, 8), 2, axis=0)
    flips = np.zeros(512, np.uint8)
    flips[32 : 32 + bits_apart] = 1  # within few bands of the dHash
    hashes[1] ^= np.packbits(flips)
    return hashes


@pytest.mark.parametrize(
    ("bits_apart", "flags", "near"),
    [
        (64, (0, 0), True),
        (65, (0, 0), False),
        (15, (GRAPHIC, GRAPHIC), True),
        (16, (GRAPHIC, GRAPHIC), False),
        (64, (0, GRAPHIC), True),
        (65, (GRAPHIC, 0), False),
    ],
)
def test_the_threshold_is_that_of_graphics_if_both_are(
    bits_apart: int, flags: tuple[int, int], near: bool
) -> None:
    probes = make_probes(pair(bits_apart), flags=np.array(flags, np.uint8))
    assert bool(found_edges(probes, rule())[0]) == near


@pytest.mark.parametrize(
    ("levels", "flags", "match_gray", "near"),
    [
        (8, (0, 0), False, True),
        (9, (0, 0), False, False),
        (4, (GRAPHIC, GRAPHIC), False, True),
        (5, (GRAPHIC, GRAPHIC), False, False),
        (8, (GRAPHIC, 0), False, True),
        (40, (GRAY, 0), True, True),
        (40, (GRAY, GRAY), True, False),
        (40, (GRAY, 0), False, False),
        (40, (GRAY | GRAPHIC, 0), True, True),
        (40, (GRAY | GRAPHIC, GRAPHIC), True, False),
    ],
)
def test_colours_must_agree(
    levels: int, flags: tuple[int, int], match_gray: bool, near: bool
) -> None:
    chroma = np.full((2, 32), 128, np.uint8)
    chroma[1] -= levels
    probes = make_probes(pair(0), flags=np.array(flags, np.uint8), chroma=chroma)
    assert bool(found_edges(probes, rule(match_gray=match_gray))[0]) == near


def test_two_probes_of_one_image_make_no_edge() -> None:
    probes = dataclasses.replace(make_probes(pair(0)), ranks=np.array([b"a", b"a"]))
    assert not found_edges(probes, rule())[0]


def test_probes_of_other_texts_make_no_edge() -> None:
    texts = np.array([1, 2], np.uint64)
    assert not found_edges(make_probes(pair(0), texts=texts), rule())[0]


@pytest.mark.parametrize(
    ("is_fixed", "near"), [((True, True), False), ((True, False), True), ((False, False), True)]
)
def test_two_published_probes_make_no_edge(is_fixed: tuple[bool, bool], near: bool) -> None:
    probes = make_probes(pair(3), fixed=np.array(is_fixed))
    assert bool(found_edges(probes, rule())[0]) == near


@pytest.mark.parametrize(
    ("bits_apart", "flags", "near"),
    [
        (0, (FLAT, FLAT), True),
        (1, (FLAT, FLAT), False),
        (0, (FLAT, 0), False),
        (0, (0, FLAT), False),
    ],
)
def test_flat_probes_are_equal_or_not(bits_apart: int, flags: tuple[int, int], near: bool) -> None:
    probes = make_probes(pair(bits_apart), flags=np.array(flags, np.uint8))
    assert bool(found_edges(probes, rule())[0]) == near


def skewed(rows: int, seed: int) -> NDArray[np.uint8]:
    """Clusters whose row pairs come from few values, as those of clip art do."""
    hashes = clustered(rows, seed)
    random = np.random.default_rng(seed)
    words = hashes.view(np.uint32)
    for word in random.permutation(16)[:6]:
        pool = random.integers(0, 1 << 32, 5, dtype=np.uint32)
        chosen = random.random(rows) < 0.6
        words[chosen, word] = pool[random.integers(0, 5, int(chosen.sum()))]
    return hashes


@pytest.mark.parametrize("make", [uniform, clustered, skewed])
@pytest.mark.parametrize("seed", [1, 2])
def test_with_crowded_bands_each_guaranteed_pair_is_found_or_in_an_overflow(
    make: Any, seed: int
) -> None:
    hashes = make(3000, seed)
    settings = rule(max_bucket=8, stars=2)
    edges, counts = found_edges(make_probes(hashes), settings)
    missing = guaranteed(hashes, all_edges(hashes, 15)) - edges.keys()
    assert not missing or counts.overflow_pairs >= len(missing)
    if make is uniform:
        assert not missing


@pytest.mark.parametrize("seed", [1, 2])
def test_unjudged_bands_find_all_pairs_within_15_bits(seed: int) -> None:
    hashes = skewed(1200, seed)
    settings = rule(threshold=15, max_bucket=2000)
    edges, counts = found_edges(make_probes(hashes), settings, judged=False)
    assert edges == all_edges(hashes, 15)
    assert counts.hot_keys == 0
