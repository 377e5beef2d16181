"""Which pairs take part in an epoch."""

import dataclasses
import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from manifests.base.errors import OpenwitError
from tests.trainer.data.plain_order import (
    GOLDEN_SIZES,
    PER_SHARD,
    Table,
    keys_of,
    make_order,
    plain_hash,
    read_shard,
)
from trainer.data.balance import Balance, BalanceConfig, drawn, tail_limit
from trainer.data.stream import Position, SampleOrder

COUNTS = np.array([0, 1, 5, 10, 20, 40, 80, 160, 320, 640])
Ids = list[list[int]]


def queries_of(ids: Ids) -> pa.ListArray:
    return pa.array(ids, pa.list_(pa.int32()))


def test_a_query_above_the_cap_gives_its_pairs_a_share() -> None:
    found = Balance(COUNTS, 40).probabilities(queries_of([[query] for query in range(10)]))
    assert found.tolist() == [1.0] * 6 + [0.5, 0.25, 0.125, 0.0625]


def test_a_pair_of_several_queries_has_several_chances() -> None:
    balance = Balance(np.array([54_000_000, 120_000_000, 50_000_000]), 20_000)
    found = balance.probabilities(queries_of([[0, 1, 2], [2, 0, 1], []]))
    assert found[0] == found[1]  # in any order
    assert found[0] == pytest.approx(0.000936760518, abs=1e-12)
    assert found[2] == 1.0  # without queries


def test_the_cap_can_follow_from_the_share_of_the_tail() -> None:
    assert tail_limit(COUNTS, 36 / 1276) == 20
    assert tail_limit(COUNTS, 0.05) == 40  # 76 of 1276 is nearer than 36
    assert tail_limit(COUNTS[::-1], 0.0) == 1
    assert tail_limit(COUNTS, 1.0) == 640


def test_a_query_that_is_not_in_the_list_is_refused() -> None:
    with pytest.raises(OpenwitError, match=r"query id 10: queries.parquet has 10 queries: run"):
        Balance(COUNTS, 40).probabilities(queries_of([[1], [10]]))


@dataclasses.dataclass(frozen=True)
class Golden:
    """The dataset of the order's goldens, with queries {shard, 100 + id mod 7}."""

    t: int
    tables: dict[int, Table] = dataclasses.field(
        default_factory=lambda: {s: read_shard(GOLDEN_SIZES, s) for s in range(8)}
    )

    def queries(self, shard: int) -> Ids:
        return [[shard, 100 + int(each) % 7] for each in self.tables[shard].ids]

    def probabilities(self, shard: int) -> NDArray[np.float64]:
        every = itertools.chain.from_iterable(q for s in range(8) for q in self.queries(s))
        counts = np.bincount(list(every), minlength=107)
        return Balance(counts, self.t).probabilities(queries_of(self.queries(shard)))

    def kept(self, epoch: int, shard: int) -> NDArray[np.bool_]:
        return drawn(self.probabilities(shard), self.tables[shard].ids, seed=0, epoch=epoch)


@pytest.mark.parametrize(
    ("t", "expected", "kept"),
    [
        (5, 69.405304, [66, 79, 63]),
        (10, 124.002597, [120, 130, 117]),
        (20, 199.410797, [198, 193, 201]),
    ],
)
def test_draws_are_those_of_the_specification(t: int, expected: float, kept: list[int]) -> None:
    golden = Golden(t)
    total = sum(float(golden.probabilities(shard).sum()) for shard in range(8))
    assert total == pytest.approx(expected, abs=5e-7)
    found = [sum(int(golden.kept(epoch, s).sum()) for s in range(8)) for epoch in range(3)]
    assert found == kept


def test_a_smaller_cap_keeps_some_of_what_a_larger_one_keeps() -> None:
    for epoch, shard in itertools.product(range(3), range(8)):
        few, more = Golden(5).kept(epoch, shard), Golden(10).kept(epoch, shard)
        assert not (few & ~more).any()


def test_the_draw_is_the_hash_of_the_definition() -> None:
    ids = np.arange(500, dtype=np.uint64)
    found = drawn(np.full(500, 0.3), ids, seed=7, epoch=2)
    expected = [
        (plain_hash(b"balance", 7, 2, number) >> 11) * 2.0**-53 < 0.3 for number in range(500)
    ]
    assert found.tolist() == expected


def order_of(golden: Golden, batch: int) -> SampleOrder[Table]:
    return SampleOrder(
        dict(enumerate(GOLDEN_SIZES)), golden.tables.__getitem__,
        seed=0, global_batch=batch, open_shards=3, keep=golden.kept,
    )  # fmt: skip


def test_an_epoch_is_the_order_of_all_without_those_left_out() -> None:
    golden, order = Golden(10), make_order(GOLDEN_SIZES)
    for block in range(3):
        every = order.plan(1, block)
        kept = [key for key in keys_of(every) if golden.kept(1, key // PER_SHARD)[key % PER_SHARD]]
        assert keys_of(order_of(golden, 16).plan(1, block)) == kept


@pytest.mark.parametrize("batch", [16, 17, 30])
def test_every_kept_sample_is_used_once_an_epoch(batch: int) -> None:
    golden = Golden(10)
    sizes = [sum(int(golden.kept(epoch, s).sum()) for s in range(8)) for epoch in range(4)]
    stream = [
        key
        for rows, _ in itertools.islice(order_of(golden, batch).batches(), sum(sizes) // batch)
        for key in keys_of(rows)
    ]
    for epoch, start in enumerate([0, *itertools.accumulate(sizes)][:3]):
        kept = {
            PER_SHARD * shard + int(row)
            for shard in range(8)
            for row in np.flatnonzero(golden.kept(epoch, shard))
        }
        assert sorted(stream[start : start + sizes[epoch]]) == sorted(kept)
    for start in range(0, len(stream), batch):
        assert len(set(stream[start : start + batch])) == batch


@given(st.integers(0, 3), st.sampled_from([8, 16, 30]), st.data())
@settings(deadline=None, max_examples=20)
def test_a_balanced_stream_goes_on_from_any_position(
    t: int, batch: int, data: st.DataObject
) -> None:
    order = order_of(Golden(8 + 4 * t), batch)
    whole = list(itertools.islice(order.batches(), 24))
    cut = data.draw(st.integers(0, 22))
    at: Position = whole[cut][1]
    again = list(itertools.islice(order.batches(at), 24 - cut - 1))
    assert [keys_of(rows) for rows, _ in again] == [keys_of(rows) for rows, _ in whole[cut + 1 :]]
    assert [after for _, after in again] == [after for _, after in whole[cut + 1 :]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"t": 0}, "t must be at least 1, got 0"),
        ({"tail_fraction": 1.5}, "tail_fraction must be from 0 to 1, got 1.5"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BalanceConfig(**values)  # type: ignore[arg-type]
