"""The order of an epoch, word by word as it is defined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.data.plain_order import (
    GOLDEN_SIZES,
    Table,
    flat,
    keys_of,
    make_order,
    plain_hash,
)
from trainer.data.order import Domain, Rows, chunk_rows, hash64, plan_block, plan_shards


@pytest.mark.parametrize(
    ("domain", "epoch", "value", "expected"),
    [
        ("shard", 0, 0, 0x0E91918F1E21A04C),
        ("sample", 0, 0, 0x567825E8673995EF),
        ("augment", 0, 0, 0xAF363AE7AD958F9A),
        ("model", 5, 2, 0xB80F56D78F817311),
    ],
)
def test_hashes_are_those_of_the_definition(
    domain: Domain, epoch: int, value: int, expected: int
) -> None:
    assert hash64(domain, 0, epoch, np.array([value], np.uint64)).tolist() == [expected]


@given(
    st.sampled_from(["shard", "sample", "augment", "model"]),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.lists(st.integers(0, 2**64 - 1), max_size=3),
)
def test_hashes_take_every_unsigned_number(
    domain: Domain, seed: int, epoch: int, values: list[int]
) -> None:
    expected = [plain_hash(domain.encode(), seed, epoch, value) for value in values]
    assert hash64(domain, seed, epoch, np.array(values, np.uint64)).tolist() == expected


def test_equal_hashes_are_ordered_by_key() -> None:
    same = np.zeros(3, np.uint64)
    tables = {1: Table(same, np.array([8, 3, 5])), 0: Table(same, np.array([9, 1, 4]))}
    assert keys_of(plan_block(tables, seed=0, epoch=0)) == [1, 3, 4, 5, 8, 9]


def test_shards_without_samples_are_not_planned() -> None:
    blocks = plan_shards({0: 5, 1: 0, 2: 5, 3: 5}, seed=0, epoch=0, open_shards=2)
    assert sorted(flat(blocks)) == [0, 2, 3]
    assert [len(block) for block in blocks] == [2, 1]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_out_the_same_chunks(world: int) -> None:
    batch, _ = next(make_order(GOLDEN_SIZES).batches())
    parts = [chunk_rows(batch, 4, rank, world) for rank in range(world)]
    assert [number for number, _ in parts[-1]] == list(range(world - 1, 4, world))
    whole = [keys_of(rows) for _, rows in sorted(flat(parts), key=lambda part: part[0])]
    assert whole == [keys_of(batch)[start : start + 4] for start in range(0, 16, 4)]


@pytest.mark.parametrize(("chunks", "world"), [(3, 1), (4, 3)])
def test_uneven_chunks_are_refused(chunks: int, world: int) -> None:
    batch, _ = next(make_order(GOLDEN_SIZES).batches())
    with pytest.raises(ValueError, match=f"16 rows and be a multiple of {world} ranks"):
        chunk_rows(batch, chunks, 0, world)


def test_rows_gather_columns_and_take_rows() -> None:
    tables = {4: Table(np.arange(3, dtype=np.uint64), np.array([40, 41, 42])),
              2: Table(np.arange(2, dtype=np.uint64), np.array([20, 21]))}  # fmt: skip
    rows = Rows(np.zeros(3, np.int64), np.array([4, 2, 4]), np.array([2, 0, 1]), tables)
    assert keys_of(rows) == [42, 20, 41]
    assert keys_of(rows.take(np.array([2, 0]))) == [41, 42]
