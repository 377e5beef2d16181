import hashlib
import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.queries.select import ALL, PairHash, QueryKeys, share_threshold, smallest_cap
from pipeline.selection.choose import (
    Choice,
    Matches,
    choose,
    hash_matches,
    select_probabilities,
    selected_rows,
    smallest_caps,
)
from pipeline.selection.quotas import Quotas

QUERIES = 5
KEYS = QueryKeys(("en", f"query {number}") for number in range(QUERIES))
LISTS = st.lists(
    st.lists(st.integers(0, QUERIES - 1), min_size=1, unique=True).map(sorted), max_size=20
)


def pair_ids(count: int) -> pa.Array:
    ids = [hashlib.sha256(str(number).encode()).digest()[:16] for number in range(count)]
    return pa.array(ids, pa.binary(16))


def shares(lists: list[list[int]], cap: int) -> Quotas:
    pairs = np.bincount([query for ids in lists for query in ids], minlength=QUERIES)
    theta = [share_threshold(count, cap) for count in pairs.tolist()]
    return Quotas(pairs, pairs, np.array(theta, np.uint64))


def decide(lists: list[list[int]], quotas: Quotas) -> tuple[Matches, Choice]:
    matches = Matches.of(pa.array(lists, pa.list_(pa.int32())))
    u = hash_matches(pair_ids(len(lists)), matches, matches.open(quotas), KEYS, 0)
    return matches, choose(matches, quotas, u, len(lists))


@given(LISTS, st.integers(1, 6))
def test_a_pair_is_kept_iff_one_of_its_queries_selects_it(lists: list[list[int]], cap: int) -> None:
    quotas = shares(lists, cap)
    matches, choice = decide(lists, quotas)
    u = PairHash(0)
    expected = [
        [query for query in ids if u(pair, KEYS[query]) <= int(quotas.theta[query])]
        for pair, ids in zip(pair_ids(len(lists)).to_pylist(), lists, strict=True)
    ]
    rows = selected_rows(pair_ids(len(lists)), matches, choice, quotas)
    assert rows["selected_by"].to_pylist() == [ids for ids in expected if ids]
    assert rows["pair_id"] == pair_ids(len(lists)).filter(pa.array(choice.kept))
    assert choice.kept.tolist() == [bool(ids) for ids in expected]
    assert choice.lost.tolist() == np.flatnonzero(~choice.kept).tolist()
    assert all(0 < value <= 1 for value in rows["select_prob"].to_pylist())


@given(LISTS, st.integers(1, 6))
def test_a_lost_pair_names_the_smallest_cap_that_keeps_it(lists: list[list[int]], cap: int) -> None:
    _, choice = decide(lists, shares(lists, cap))
    for row, smallest in zip(choice.lost.tolist(), choice.smallest.tolist(), strict=True):
        assert smallest > cap
        assert decide(lists, shares(lists, smallest))[1].kept[row]
        assert not decide(lists, shares(lists, smallest - 1))[1].kept[row]


@given(LISTS)
def test_a_smaller_cap_keeps_a_subset(lists: list[list[int]]) -> None:
    kept = [decide(lists, shares(lists, cap))[1].kept for cap in (1, 2, 3, 5, 8)]
    for less, more in itertools.pairwise(kept):
        assert not (less & ~more).any()


def test_published_probability_of_three_words() -> None:
    pairs = [54_000_000, 120_000_000, 50_000_000]
    theta = np.array([share_threshold(count, 20_000) for count in pairs], np.uint64)
    matches = Matches.of(pa.array([[0, 1, 2], [0]], pa.list_(pa.int32())))
    quotas = Quotas(np.array(pairs), np.array(pairs), theta)
    assert select_probabilities(matches, quotas, 2)[0] == pytest.approx(0.00093676, rel=1e-5)
    assert select_probabilities(matches, quotas, 2)[1] == pytest.approx(20_000 / 54e6, rel=1e-12)


def test_a_tail_query_makes_a_pair_sure() -> None:
    counts = np.array([9, 1])
    quotas = Quotas(counts, counts, np.array([5, ALL], np.uint64))
    matches = Matches.of(pa.array([[0, 1]], pa.list_(pa.int32())))
    assert select_probabilities(matches, quotas, 1).tolist() == [1.0]


@given(st.lists(st.tuples(st.integers(0, ALL), st.integers(1, 2**40))))
def test_smallest_caps_are_those_of_each_match(matches: list[tuple[int, int]]) -> None:
    u = np.array([each for each, _ in matches], np.uint64)
    pairs = np.array([each for _, each in matches], np.int64)
    expected = [smallest_cap(*match) for match in matches]
    assert smallest_caps(u, pairs).tolist() == expected
    small = pairs % 1000 + 1
    expected = [smallest_cap(*match) for match in zip(u.tolist(), small.tolist(), strict=True)]
    assert smallest_caps(u, small).tolist() == expected


def test_hashes_are_those_of_the_slice_that_is_asked_for() -> None:
    ids, u = pair_ids(5), PairHash(0)
    matches = Matches.of(pa.array([[0], [1, 2], [3]], pa.list_(pa.int32())))
    found = hash_matches(ids[2:], matches, np.array([0, 2, 3]), KEYS, 0)
    assert found.tolist() == [
        u(ids[place].as_py(), KEYS[query]) for place, query in [(2, 0), (3, 2), (4, 3)]
    ]
