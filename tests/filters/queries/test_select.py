import json
import pathlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.queries.select import (
    ALL,
    PairHash,
    QueryKeys,
    cap_from_tail,
    exact_threshold,
    narrowed_threshold,
    nearest_cap,
    query_key,
    share_threshold,
    smallest_cap,
    tail_share,
    take_room,
    widened_cap,
)
from manifests.format.ids import pair_id

BALANCE = json.loads(
    (pathlib.Path(__file__).parents[2] / "golden/curation-golden.json").read_text("utf-8")
)["balance"]
COUNTS = BALANCE["counts"]
PAIR = bytes.fromhex("5836a3eecff53951d31311f58fb160f1")
DOG, PHOTO = query_key("en", "dog"), query_key("en", "photo of a")


def share(pairs: int, cap: int) -> float:
    return (share_threshold(pairs, cap) + 1) / 2**64


def test_query_keys() -> None:
    assert DOG.hex() == "ae1f151f2952abe197d6385af92ccf0f"
    assert PHOTO.hex() == "a008054734f36826d49d875733287301"
    keys = QueryKeys([("en", "dog"), ("en", "photo of a")])
    assert [keys[0], keys[1], len(keys)] == [DOG, PHOTO, 2]


@pytest.mark.parametrize(
    ("key", "seed", "expected"),
    [
        (DOG, 0, 0x56C049001C566810),
        (DOG, 1, 0x9D32E2A1F1EE8214),
        (PHOTO, 0, 0x9227E7FB0C984CC7),
        (PHOTO, 1, 0x29BC4142B3AC261A),
    ],
)
def test_pair_hashes(key: bytes, seed: int, expected: int) -> None:
    assert PairHash(seed)(PAIR, key) == expected


def test_shares_are_metaclips() -> None:
    assert [share(count, BALANCE["t"]) for count in COUNTS] == BALANCE["probs"]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (120_000_000, 1.6667e-4),
        (107_000_000, 1.8692e-4),
        (48_000_000, 4.1667e-4),
        (47_000_000, 4.2553e-4),
        (21_000, 0.952381),
        (58_000, 0.344828),
        (133_000, 0.150376),
        (713_000, 0.0280505),
        (1_400_000, 0.0142857),
        (12_000, 1.0),
    ],
)
def test_published_shares_at_a_cap_of_20000(pairs: int, expected: float) -> None:
    assert share(pairs, 20_000) == pytest.approx(expected, rel=5e-5)


def test_tail_of_the_golden_counts() -> None:
    tail = tail_share(COUNTS, BALANCE["t"])
    assert tail == Fraction(36, 1276)
    assert float(tail) == pytest.approx(BALANCE["t_to_p"], abs=1e-15)
    assert nearest_cap(COUNTS, tail) == BALANCE["p_to_t_of_that"] == 20
    assert cap_from_tail(COUNTS, tail) == 40
    assert (nearest_cap(COUNTS, Fraction("0.06")), cap_from_tail(COUNTS, Fraction("0.06"))) == (
        40,
        80,
    )


@given(st.lists(st.integers(0, 50), min_size=1).filter(any), st.fractions(0, 1))
def test_the_cap_from_a_tail_is_the_largest(counts: list[int], tail: Fraction) -> None:
    cap = cap_from_tail(counts, tail)
    assert tail_share(counts, cap) <= tail
    assert tail_share(counts, cap + 1) > tail or cap > max(counts)


def test_widened_caps() -> None:
    assert widened_cap(20_000, Fraction("0.5")) == 40_000
    assert widened_cap(20_000, Fraction("0.3")) == 66_667


def test_thresholds_are_exact_integers() -> None:
    assert share_threshold(8, 8) == ALL
    assert share_threshold(8, 3) == 0x5FFFFFFFFFFFFFFF
    assert narrowed_threshold(ALL, 8, 3) == 0x5FFFFFFFFFFFFFFF
    assert narrowed_threshold(77, 3, 3) == 77


@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.data())
def test_an_exact_threshold_selects_up_to_the_cap(values: list[int], data: st.DataObject) -> None:
    hashes = sorted(value + 1 for value in values)
    cap = data.draw(st.integers(1, len(hashes)))
    theta = exact_threshold(hashes, cap)
    selected = sum(value <= theta for value in hashes)
    assert selected <= cap
    following = min((value for value in hashes if value > theta), default=None)
    if following is not None:  # one more distinct hash would be too many
        assert sum(value <= following for value in hashes) > cap
    if len(set(hashes)) == len(hashes):
        assert selected == cap


def test_ties_that_no_threshold_can_cut_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1 zeros"):
        exact_threshold([0, 0, 5], 1)


@given(st.integers(0, ALL), st.integers(1, 10**9))
def test_the_smallest_cap_keeps_and_one_less_does_not(u: int, pairs: int) -> None:
    cap = smallest_cap(u, pairs)
    assert u <= share_threshold(pairs, cap)
    assert cap == 1 or u > share_threshold(pairs, cap - 1)


@pytest.mark.parametrize(("cap", "kept"), [(1, [0, 1, 4]), (2, [0, 1, 2, 3])])
def test_the_strict_rule_of_the_specification_is_not_nested(cap: int, kept: list[int]) -> None:
    a, b, c = range(3)
    room = [cap] * 3
    full = [take_room(queries, room) for queries in ([a], [c], [a, b], [b, c], [b])]
    assert [place for place, query in enumerate(full) if query is None] == kept


def test_smallest_caps_of_the_specification() -> None:
    u = PairHash(0)
    pairs = [pair_id(f"http://example.com/{i}.jpg", f"a dog {i}") for i in range(8)]
    hashes = [u(pair, DOG) for pair in pairs]
    assert sorted(range(8), key=hashes.__getitem__) == [2, 3, 7, 4, 0, 5, 6, 1]
    assert [smallest_cap(value, 8) for value in hashes] == [5, 8, 1, 3, 5, 5, 7, 4]
    assert exact_threshold(sorted(hashes), 3) == 0x62D0F5A231962984
