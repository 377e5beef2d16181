import collections
import io
import itertools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.queries.query_list import (
    METADATA_KEY,
    SCHEMA,
    SCHEMA_VERSION,
    from_queries,
    list_digest,
)
from filters.queries.select import ALL, share_threshold
from manifests.base.errors import OpenwitError
from pipeline.records import DEDUPED, QUERY_COUNTS, SELECTION
from pipeline.stages import balance
from pipeline.stages.preselect import PreselectSettings
from tests.pipeline.selection.rows import (
    Chain,
    Row,
    commit,
    kept_ids,
    make_candidate,
    make_row,
    read_drops,
    read_rows,
    write_list,
)

WORDS = ["ant", "bee", "cow", "dog", "elk", "fox"]
OFF = PreselectSettings(mode="off")


def pool(size: int) -> list[Row]:
    """Pairs with `ant` in all, `bee` in every second, down to `fox` in every sixth."""
    return [
        make_candidate(n, " ".join(w for i, w in enumerate(WORDS) if n % (i + 1) == 0))
        for n in range(size)
    ]


@pytest.fixture
def chain(plain_engine: Any, tmp_path: pathlib.Path) -> Chain:
    return Chain(plain_engine, write_list(tmp_path, *WORDS), cap=20, preselected_with=OFF)


def golden_chain(engine: Any, folder: pathlib.Path) -> Chain:
    """The list (en, dog) and the 8 pairs of the specification."""
    table = from_queries(["dog"]).table.set_column(2, SCHEMA.field("lang"), pa.array(["en"]))
    header = {"schema_version": SCHEMA_VERSION, "list_digest": list_digest(["en"], ["dog"])}
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(header)}), file)
    path = folder / "list.parquet"
    path.write_bytes(file.getvalue())
    return Chain(engine, str(path), cap=3, preselected_with=OFF)


def numbers(rows: Sequence[Row]) -> set[int]:
    return {int(row["text"].rpartition(" ")[2]) for row in rows}


@pytest.mark.parametrize(
    ("mode", "kept", "theta"),
    [
        ("exact", {2, 3, 7}, 0x62D0F5A231962984),
        ("probabilistic", {2, 3}, 0x5FFFFFFFFFFFFFFF),
    ],
)
def test_the_selection_of_the_specification(
    plain_engine: Any, tmp_path: pathlib.Path, mode: str, kept: set[int], theta: int
) -> None:
    chain = golden_chain(plain_engine, tmp_path)
    chain.balance_mode = mode
    matched = chain.match([make_candidate(i, f"a dog {i}") for i in range(8)])
    balanced = chain.balance(chain.preselect(matched), cuts=[3])
    assert numbers(chain.selected(balanced)) == kept
    [counts] = read_rows(balanced.queries)
    assert counts == {
        "query_id": 0,
        "matched": 8,
        "survived": 8,
        "selected": len(kept),
        "kept": len(kept),
        "theta": theta,
    }
    smallest = dict(enumerate([5, 8, 1, 3, 5, 5, 7, 4]))
    ids = {row["pair_id"]: int(row["text"].rpartition(" ")[2]) for row in read_rows(matched)}
    drops = read_drops(balanced.pairs)
    assert {ids[pair or b""]: value for pair, value in drops.items()} == {
        number: ("over_cap", str(cap)) for number, cap in smallest.items() if number not in kept
    }


def test_exact_selects_the_cap_of_each_head_query_and_all_of_the_others(chain: Chain) -> None:
    chain.cap = 25
    balanced = chain.balance(chain.preselect(chain.match(pool(120))))
    rows = chain.selected(balanced)
    selected = collections.Counter(query for row in rows for query in row["selected_by"])
    kept = collections.Counter(query for row in rows for query in row["matched_query_ids"])
    counts = read_rows(balanced.queries)
    assert [row["query_id"] for row in counts] == list(range(6))
    assert [row["survived"] for row in counts] == [120, 60, 40, 30, 24, 20]
    assert [row["selected"] for row in counts] == [25, 25, 25, 25, 24, 20]
    for row in counts:
        assert row["matched"] == row["survived"]
        assert row["selected"] == selected[row["query_id"]]
        assert row["kept"] == kept[row["query_id"]]
        assert (row["theta"] == ALL) == (row["survived"] <= 25)
    assert all(row["selected_by"] == sorted(row["selected_by"]) for row in rows)
    assert balanced.pairs.rows_in == 120 == len(rows) + len(read_drops(balanced.pairs))


@pytest.mark.parametrize("mode", ["exact", "probabilistic"])
def test_a_smaller_cap_keeps_a_subset(chain: Chain, mode: str) -> None:
    chain.balance_mode = mode
    matched = chain.match(pool(120))
    kept = []
    for chain.cap in (1, 3, 10, 25, 70):
        kept.append(kept_ids(chain.balance(chain.preselect(matched)).pairs))
    assert all(less < more for less, more in itertools.pairwise(kept))


@pytest.mark.parametrize("mode", ["exact", "probabilistic"])
def test_order_and_units_change_no_decision(chain: Chain, mode: str) -> None:
    chain.balance_mode = mode
    rows = pool(120)
    once = chain.balance(chain.preselect(chain.match(rows)))
    expected = [read_rows(each) for each in (once.pairs, once.queries)]
    chain.engine.bucket_bytes = 16384
    preselected = chain.preselect(chain.match(rows[::-1][:50], rows[::-1][50:]))
    again = chain.balance(preselected, cuts=[1, 30, 30, 90])
    assert [read_rows(each) for each in (again.pairs, again.queries)] == expected


def test_exact_after_preselect_is_exact_of_all_that_would_survive(chain: Chain) -> None:
    matched = chain.match(pool(600))
    whole = chain.balance(chain.preselect(matched), survival=0.6)
    chain.preselected_with = PreselectSettings(expected_yield=0.3)
    preselected = chain.preselect(matched)
    assert preselected.pairs.rows_out < matched.rows_out
    fewer = chain.balance(preselected, survival=0.6)
    assert fewer.short == ()
    assert kept_ids(fewer.pairs) == kept_ids(whole.pairs)
    assert [row["selected"] for row in read_rows(fewer.queries)] == [20] * 6
    assert [row["matched"] for row in read_rows(fewer.queries)] == [600, 300, 200, 150, 120, 100]


def test_a_query_that_lost_too_many_is_named(chain: Chain) -> None:
    chain.preselected_with = PreselectSettings(expected_yield=1.0)
    balanced = chain.balance(chain.preselect(chain.match(pool(600))), survival=0.2)
    assert set(balanced.short) == set(range(6))
    assert chain.balance(chain.preselect(chain.match(pool(600))), survival=0).short == (*range(6),)


def test_without_a_head_query_no_hash_is_asked_for(chain: Chain) -> None:
    chain.cap = 1000
    balanced = chain.balance(chain.preselect(chain.match(pool(120))))
    assert balanced.pairs.rows_out == 120
    assert "balance-thresholds" not in {record.step for record in chain.engine.records}
    assert {row["select_prob"] for row in read_rows(balanced.pairs)} == {1.0}


def test_zero_survivors_are_a_result(chain: Chain) -> None:
    balanced = chain.balance(chain.preselect(chain.match(pool(30))), survival=0)
    assert read_rows(balanced.pairs) == []
    counts = read_rows(balanced.queries)
    assert [row["matched"] for row in counts] == [30, 15, 10, 8, 6, 5]
    assert {(row["survived"], row["selected"], row["kept"]) for row in counts} == {(0, 0, 0)}


def test_tables_have_their_schemas(chain: Chain) -> None:
    balanced = chain.balance(chain.preselect(chain.match(pool(30))))
    for record, schema in ((balanced.pairs, SELECTION), (balanced.queries, QUERY_COUNTS)):
        assert all(pq.read_schema(path).equals(schema) for path in record.paths("part"))


def test_another_list_is_refused(chain: Chain, tmp_path: pathlib.Path) -> None:
    preselected = chain.preselect(chain.match(pool(5)))
    write_list(tmp_path, "ant", "bee")
    with pytest.raises(OpenwitError, match="made with query list"):
        chain.balance(preselected)


def test_cap_and_seed_are_part_of_the_directory(chain: Chain) -> None:
    matched = chain.match(pool(30))
    specs = set()
    for chain.cap, chain.seed in ((20, 0), (5, 0), (5, 1)):
        balanced = chain.balance(chain.preselect(matched))
        specs.add(balanced.pairs.spec)
        assert balanced.cap == chain.cap
    assert len(specs) == 3


def test_shares_of_another_pool_hold_whatever_survives(
    chain: Chain, tmp_path: pathlib.Path
) -> None:
    foreign = {"ant": 1000, "bee": 40, "unknown": 7}
    path = tmp_path / "counts.json"
    path.write_text(json.dumps(foreign))
    chain.counts_file, chain.balance_mode = str(path), "probabilistic"
    matched = chain.match(pool(120))
    preselected = chain.preselect(matched)
    rows = read_rows(preselected.thresholds)
    assert [row["base"] for row in rows] == [1000, 40, 0, 0, 0, 0]
    assert [row["pairs"] for row in rows] == [120, 60, 40, 30, 24, 20]
    balanced = chain.balance(preselected, survival=0.5)
    survivors = {row["pair_id"] for row in read_rows(preselected.pairs)}
    assert kept_ids(balanced.pairs) < survivors
    assert balanced.pairs.drops == {}
    thetas = [share_threshold(1000, 20), share_threshold(40, 20), *[ALL] * 4]
    assert [row["theta"] for row in read_rows(balanced.queries)] == thetas


def test_a_pair_that_comes_twice_is_an_error(chain: Chain) -> None:
    preselected = chain.preselect(chain.match(pool(5)))
    rows = [make_row(DEDUPED, row) for row in read_rows(preselected.pairs)]
    deduped = commit(chain.engine, "dedup", DEDUPED, [[*rows, rows[2]]])
    with pytest.raises(OpenwitError, match=r"^pair id [0-9a-f]{32}: 2 rows of it"):
        balance.run(chain.engine, balance.BalanceSettings(), chain.listed[1], deduped, preselected)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 50), cap=st.integers(1, 40), mode=st.sampled_from(["exact", "strict"]))
def test_counts_equal_a_recount_and_exact_caps_hold(
    tmp_path_factory: pytest.TempPathFactory, make_engine: Any, seed: int, cap: int, mode: str
) -> None:
    folder = tmp_path_factory.mktemp("recount")
    chain = Chain(
        make_engine(folder), write_list(folder, *WORDS), cap=cap, seed=seed, balance_mode=mode
    )
    matched = chain.match(pool(60))
    balanced = chain.balance(chain.preselect(matched), cuts=[5], survival=0.7)
    rows = chain.selected(balanced)
    counted = read_rows(balanced.queries)
    for name, column in [("selected", "selected_by"), ("kept", "matched_query_ids")]:
        again = collections.Counter(query for row in rows for query in row[column])
        assert {row["query_id"]: row[name] for row in counted if row[name]} == again
    if mode == "exact":
        assert [row["selected"] for row in counted] == [
            min(cap, row["survived"]) for row in counted
        ]
