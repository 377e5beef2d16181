"""The selection against its definition, however the pairs are ordered, cut, batched and re-run."""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.queries.select import (
    ALL,
    PairHash,
    QueryKeys,
    StrictOrder,
    share_threshold,
    take_room,
)
from manifests.format.ids import keyed_hash
from pipeline.engine.stage_dir import StageRecord
from pipeline.records import DEDUPED
from pipeline.selection import choose, exact
from pipeline.selection.caps import Caps
from pipeline.selection.quotas import QUOTAS, Draw
from pipeline.stages.balance import Balanced, BalanceSettings, run
from pipeline.stages.preselect import Preselected
from tests.pipeline.selection.rows import commit, make_row, read_drops, read_rows, write_list

QUERIES = 6
MODES = ("exact", "probabilistic", "strict")
Pairs = dict[bytes, list[int]]
"""Queries by pair id."""


@pytest.fixture(autouse=True, scope="module")
def _without_fsync() -> Iterator[None]:
    """Many small files: none must outlive a loss of power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@dataclasses.dataclass(frozen=True)
class Case:
    """Pairs that matched, and those of them that balance gets to see."""

    matched: Pairs
    lost: frozenset[bytes]
    """Pairs that have no image."""
    mode: str
    cap: int
    wide_cap: int | None
    """The cap of preselect; None if it is off."""
    seed: int

    @functools.cached_property
    def keys(self) -> QueryKeys:
        return QueryKeys(("und", f"query {number}") for number in range(QUERIES))

    def u(self, pair: bytes, query: int) -> int:
        return PairHash(self.seed)(pair, self.keys[query])

    @functools.cached_property
    def counts(self) -> Counter[int]:
        return Counter(query for ids in self.matched.values() for query in ids)

    @functools.cached_property
    def before(self) -> dict[int, int]:
        """Thresholds of preselect."""
        if self.wide_cap is None:
            return dict.fromkeys(self.counts, ALL)
        return {query: share_threshold(n, self.wide_cap) for query, n in self.counts.items()}

    @functools.cached_property
    def survivors(self) -> Pairs:
        return {
            pair: ids
            for pair, ids in self.matched.items()
            if pair not in self.lost and any(self.u(pair, q) <= self.before[q] for q in ids)
        }


@st.composite
def cases(draw: st.DrawFn) -> Case:
    lists = draw(
        st.lists(
            st.lists(st.integers(0, QUERIES - 1), min_size=1, max_size=4, unique=True).map(sorted),
            max_size=40,
        )
    )
    matched = {hashlib.sha256(bytes([n])).digest()[:16]: ids for n, ids in enumerate(lists)}
    cap = draw(st.integers(1, 9))
    return Case(
        matched=matched,
        lost=frozenset(pair for pair in matched if draw(st.integers(0, 9)) < 3),
        mode=draw(st.sampled_from(MODES)),
        cap=cap,
        wide_cap=draw(st.none() | st.just(2 * cap)),
        seed=draw(st.integers(0, 3)),
    )


def by_definition(case: Case) -> tuple[dict[bytes, list[int]], dict[int, int]]:
    """Return the queries that select each kept pair, and thresholds, as they are defined."""
    pairs, before, cap = case.survivors, case.before, case.cap
    if case.mode == "strict":
        room, order = [cap] * QUERIES, StrictOrder(case.seed)
        asked = sorted(pairs, key=lambda pair: (order(pair), pair))
        return {p: pairs[p] for p in asked if take_room(pairs[p], room) is None}, {}
    thetas = {}
    for query in before:
        hashes = sorted(case.u(pair, query) for pair, ids in pairs.items() if query in ids)
        under = sum(value <= before[query] for value in hashes)
        if case.mode == "exact":
            thetas[query] = ALL if len(hashes) <= cap else hashes[cap - 1]
        elif under > cap:
            thetas[query] = (before[query] + 1) * cap // under - 1
        else:
            thetas[query] = before[query]
    selected = {p: [q for q in ids if case.u(p, q) <= thetas[q]] for p, ids in pairs.items()}
    return {pair: ids for pair, ids in selected.items() if ids}, thetas


def balance(engine: Any, case: Case, units: Sequence[Sequence[bytes]]) -> Balanced:
    """Balance the survivors of a case, cut into units."""
    pathlib.Path(engine.root).mkdir(exist_ok=True)
    path = write_list(pathlib.Path(engine.root), *(f"query {n}" for n in range(QUERIES)))
    sha256 = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    rows = [
        {"query_id": query, "pairs": pairs, "base": pairs, "theta": case.before[query]}
        for query, pairs in sorted(case.counts.items())
    ]
    thresholds = commit(engine, "preselect-thresholds", QUOTAS, [rows])
    thresholds = dataclasses.replace(thresholds, parameters={"list": sha256})
    parts = [
        [
            make_row(DEDUPED, {"pair_id": pair, "matched_query_ids": case.matched[pair]})
            for pair in unit
        ]
        for unit in units
    ]
    deduped = commit(engine, "dedup", DEDUPED, parts)
    draw = Draw(list_path=path, list_sha256=sha256, seed=case.seed, caps=Caps(case.cap))
    how = BalanceSettings(mode=case.mode)  # type: ignore[arg-type]
    return run(engine, how, sha256, deduped, Preselected(deduped, thresholds, draw, False))


def digests(record: StageRecord) -> list[tuple[str, str]]:
    return [(file.role, file.sha256) for unit in record.units for file in unit.files]


MakeEngine = Callable[[pathlib.Path], Any]


@settings(max_examples=60)
@given(case=cases(), data=st.data())
def test_any_order_in_any_units_is_selected_as_it_is_defined(
    tmp_path_factory: pytest.TempPathFactory, make_engine: MakeEngine, case: Case, data: Any
) -> None:
    order = data.draw(st.permutations(sorted(case.survivors)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=3)))
    units = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    balanced = balance(make_engine(tmp_path_factory.mktemp("case")), case, units)
    expected, thetas = by_definition(case)
    rows = read_rows(balanced.pairs)
    assert {row["pair_id"]: row["selected_by"] for row in rows} == expected
    assert [row["pair_id"] for row in rows] == [pair for pair in order if pair in expected]
    assert set(read_drops(balanced.pairs)) == set(case.survivors) - set(expected)
    survived = Counter(query for ids in case.survivors.values() for query in ids)
    selected = Counter(query for ids in expected.values() for query in ids)
    kept = Counter(query for pair in expected for query in case.matched[pair])
    assert read_rows(balanced.queries) == [
        {
            "query_id": query,
            "matched": matched,
            "survived": survived[query],
            "selected": selected[query],
            "kept": kept[query],
            "theta": thetas.get(query, ALL),
        }
        for query, matched in sorted(case.counts.items())
    ]
    if case.mode == "exact":
        assert all(selected[q] == min(case.cap, survived[q]) for q in case.counts)


@settings(max_examples=10)
@given(case=cases())
def test_batches_and_repeated_runs_change_no_byte(
    tmp_path_factory: pytest.TempPathFactory, make_engine: MakeEngine, case: Case
) -> None:
    order = sorted(case.survivors)
    units = [order[::2], order[1::2]]
    found = set()
    for rows, hashes in [(65_536, 65_536), (1, 1), (3, 2), (3, 2)]:
        with pytest.MonkeyPatch.context() as patch:
            for module in (choose, exact):
                patch.setattr(module, "BATCH_ROWS", rows)
            patch.setattr(choose, "HASHES_AT_ONCE", hashes)
            balanced = balance(make_engine(tmp_path_factory.mktemp("case")), case, units)
        found.add((*digests(balanced.pairs), *digests(balanced.queries)))
    assert len(found) == 1


@settings(max_examples=15)
@given(case=cases(), mode=st.sampled_from(["exact", "probabilistic"]))
def test_a_smaller_cap_keeps_a_subset_of_equal_rows(
    tmp_path_factory: pytest.TempPathFactory, make_engine: MakeEngine, case: Case, mode: str
) -> None:
    case = dataclasses.replace(case, mode=mode, wide_cap=None)
    engine, less = make_engine(tmp_path_factory.mktemp("case")), set[bytes]()
    for cap in (1, 2, 3, 5, 8):
        capped = dataclasses.replace(case, cap=cap)
        balanced = balance(engine, capped, [sorted(capped.survivors)])
        more = {row["pair_id"] for row in read_rows(balanced.pairs)}
        assert less <= more
        less = more


def test_after_preselect_the_cap_is_kept_and_a_share_of_the_survivors_would_not_be(
    plain_engine: Any,
) -> None:
    pairs = [hashlib.sha256(str(number).encode()).digest()[:16] for number in range(8000)]
    case = Case(
        # Every fifth text holds a tail query, too, which keeps it whatever query 0 says.
        matched={p: [0] if n % 5 else [0, 1 + n // 5 % 5] for n, p in enumerate(pairs)},
        lost=frozenset(p for p in pairs if keyed_hash(p, "survival") >= 0.6 * 2**64),
        mode="probabilistic",
        cap=400,
        wide_cap=800,
        seed=0,
    )
    most = 5 * case.cap**0.5
    head = read_rows(balance(plain_engine, case, [sorted(case.survivors)]).queries)[0]
    assert abs(head["selected"] - case.cap) <= most
    second_draw = share_threshold(head["survived"], case.cap)
    wrong = sum(case.u(pair, 0) <= second_draw for pair in case.survivors)
    assert wrong - case.cap > 2 * most
