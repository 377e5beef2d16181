"""The order, against a second one in plain Python that follows the definition word by word."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainer.data.order import (
    Domain,
    Last,
    Rows,
    SampleOrder,
    chunk_rows,
    hash64,
    plan_block,
    plan_shards,
)

T = TypeVar("T")
GOLDEN_SIZES = (60, 10, 35, 20, 50, 5, 40, 30)
PER_SHARD = 10_000
"""Keys and ids of the shards of these tests: this times the shard, plus the row."""


@dataclasses.dataclass(frozen=True)
class Table:
    ids: NDArray[np.uint64]
    keys: NDArray[np.int64]


def read_shard(sizes: Sequence[int], shard: int) -> Table:
    keys = PER_SHARD * shard + np.arange(sizes[shard])
    return Table(keys.astype(np.uint64), keys)


def make_order(
    sizes: Sequence[int],
    seed: int = 0,
    batch: int = 16,
    open_shards: int = 3,
    last: Last = "carry",
) -> SampleOrder[Table]:
    return SampleOrder(
        dict(enumerate(sizes)),
        lambda shard: read_shard(sizes, shard),
        seed=seed,
        global_batch=batch,
        open_shards=open_shards,
        last=last,
    )


def keys_of(rows: Rows[Table]) -> list[int]:
    return rows.gather(lambda table: table.keys).tolist()


def first_batches(order: SampleOrder[Table], count: int, start: int = 0) -> list[list[int]]:
    return [keys_of(rows) for rows in itertools.islice(order.batches(start), count)]


def flat(lists: Iterable[list[T]]) -> list[T]:
    return list(itertools.chain.from_iterable(lists))


def sha256_of(keys: list[int]) -> str:
    return hashlib.sha256(np.array(keys, "<u8").tobytes()).hexdigest()


def plain_hash(domain: bytes, seed: int, epoch: int, value: int) -> int:
    data = b"".join(number.to_bytes(8, "little") for number in (seed, epoch, value))
    digest = hashlib.blake2b(data, digest_size=8, person=b"openwit." + domain).digest()
    return int.from_bytes(digest, "little")


def plain_order(sizes: Sequence[int], seed: int, epoch: int, open_shards: int) -> list[int]:
    shards = [shard for shard, size in enumerate(sizes) if size]
    shards.sort(key=lambda shard: (plain_hash(b"shard", seed, epoch, shard), shard))
    order = []
    for start in range(0, len(shards), open_shards):
        block = [
            PER_SHARD * shard + row
            for shard in shards[start : start + open_shards]
            for row in range(sizes[shard])
        ]
        order += sorted(block, key=lambda key: (plain_hash(b"sample", seed, epoch, key), key))
    return order


def plain_stream(
    sizes: Sequence[int], seed: int, batch: int, open_shards: int, epochs: int
) -> list[int]:
    """The samples of whole epochs, `last = "carry"`."""
    stream: list[int] = []
    for epoch in range(epochs):
        order = plain_order(sizes, seed, epoch, open_shards)
        carried = len(stream) % batch
        if carried:
            repeats, fresh, met = set(stream[-carried:]), list[int](), list[int]()
            walk = iter(order)
            while len(fresh) < batch - carried:
                key = next(walk)
                (met if key in repeats else fresh).append(key)
            order = [*fresh, *met, *walk]
        stream += order
    return stream


def datasets() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 30), min_size=1, max_size=8)


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


def test_the_first_epoch_is_the_golden_one() -> None:
    order = make_order(GOLDEN_SIZES)
    keys = [key for rows in order.epoch_rows(0) for key in keys_of(rows)]
    assert order.blocks(0) == [[7, 0, 4], [2, 6, 5], [1, 3]]
    assert keys[:2] == [35, 40036]
    assert sha256_of(keys).startswith("a81e86d81beee7c5")


def test_the_batch_between_epochs_is_the_golden_one() -> None:
    batches = first_batches(make_order(GOLDEN_SIZES), 40)
    assert batches[15] == [
        10001, 10009, 30003, 10000, 10007, 10005, 30016, 10002,
        30017, 10004, 70008, 30005, 30007, 70001, 40038, 70010,
    ]  # fmt: skip
    assert sha256_of(flat(batches)).startswith("123e2e3cbe3cc324")


def test_equal_hashes_are_ordered_by_key() -> None:
    same = np.zeros(3, np.uint64)
    tables = {1: Table(same, np.array([8, 3, 5])), 0: Table(same, np.array([9, 1, 4]))}
    assert keys_of(plan_block(tables, seed=0, epoch=0)) == [1, 3, 4, 5, 8, 9]


def test_shards_without_samples_are_not_planned() -> None:
    blocks = plan_shards({0: 5, 1: 0, 2: 5, 3: 5}, seed=0, epoch=0, open_shards=2)
    assert sorted(flat(blocks)) == [0, 2, 3]
    assert [len(block) for block in blocks] == [2, 1]


@given(datasets(), st.integers(0, 2**64 - 1), st.integers(1, 4), st.integers(1, 20))
@settings(deadline=None)
def test_carry_is_one_stream_in_which_nothing_is_lost_repeated_or_met_twice(
    sizes: list[int], seed: int, open_shards: int, batch: int
) -> None:
    samples = sum(sizes)
    assume(samples >= 2 * batch)
    epochs = 3
    steps = epochs * samples // batch
    batches = first_batches(make_order(sizes, seed, batch, open_shards), steps)
    assert all(len(set(keys)) == batch for keys in batches)
    stream = flat(batches)
    everything = sorted(
        PER_SHARD * shard + row for shard, n in enumerate(sizes) for row in range(n)
    )
    for epoch in range(epochs - 1):
        assert sorted(stream[epoch * samples : (epoch + 1) * samples]) == everything
    expected = plain_stream(sizes, seed, batch, open_shards, epochs)
    assert stream == expected[: steps * batch]


@given(datasets(), st.integers(0, 99), st.integers(1, 4), st.integers(1, 20))
@settings(deadline=None)
def test_drop_leaves_out_what_makes_no_full_batch(
    sizes: list[int], seed: int, open_shards: int, batch: int
) -> None:
    samples = sum(sizes)
    assume(samples >= batch)
    order = make_order(sizes, seed, batch, open_shards, "drop")
    per_epoch = samples // batch
    batches = first_batches(order, 3 * per_epoch)
    for epoch in range(3):
        keys = flat(batches[epoch * per_epoch : (epoch + 1) * per_epoch])
        expected = plain_order(sizes, seed, epoch, open_shards)
        assert keys == expected[: per_epoch * batch]
        rest = [key for rows in order.epoch_rows(epoch, 0) for key in keys_of(rows)]
        assert rest == expected
    assert order.used_samples == per_epoch * batch


@given(datasets(), st.data(), st.sampled_from(["carry", "drop"]), st.integers(1, 4))
@settings(deadline=None)
def test_any_split_into_resumes_gives_the_same_batches(
    sizes: list[int], data: st.DataObject, last: Last, open_shards: int
) -> None:
    most = sum(sizes) // (2 if last == "carry" else 1)
    assume(most)
    batch = data.draw(st.integers(max(1, most // 8), most))
    order = make_order(sizes, 1, batch, open_shards, last)
    steps = min(3 * sum(sizes) // batch + 2, 40)
    whole = first_batches(order, steps)
    cuts = sorted(data.draw(st.sets(st.integers(1, steps - 1), max_size=4)) | {0, steps})
    parts = [first_batches(order, end - start, start) for start, end in itertools.pairwise(cuts)]
    assert flat(parts) == whole


def test_a_position_follows_from_the_number_of_batches() -> None:
    order = make_order(GOLDEN_SIZES)  # 250 samples; blocks of 140, 80 and 30 in epoch 0
    assert dataclasses.astuple(order.position(0)) == (0, 0, 0, 0, 0, 0)
    assert dataclasses.astuple(order.position(14)) == (0, 224, 2, 4, 0, 224)
    assert dataclasses.astuple(order.position(16)) == (1, 6, 0, 6, 10, 256)
    assert order.position(125).epoch == 8
    assert order.position(125).offset == order.position(125).tail_rows == 0


def test_a_position_with_drop_skips_the_rest_of_an_epoch() -> None:
    order = make_order(GOLDEN_SIZES, last="drop")  # 15 batches an epoch
    assert dataclasses.astuple(order.position(16)) == (1, 16, 0, 16, 0, 256)


def test_blocks_before_the_position_are_not_read() -> None:
    read = list[int]()

    def note(shard: int) -> Table:
        read.append(shard)
        return read_shard(GOLDEN_SIZES, shard)

    order = SampleOrder(dict(enumerate(GOLDEN_SIZES)), note, seed=0, global_batch=16, open_shards=3)
    batches = order.batches(14)
    next(batches)
    assert read == order.blocks(0)[2]
    next(batches)  # looks again at the end of epoch 0, then fills up from epoch 1
    assert read[2:] == order.blocks(0)[2] + order.blocks(1)[0]


@pytest.mark.parametrize(("last", "most"), [("carry", 125), ("drop", 250)])
def test_a_batch_the_dataset_cannot_fill_is_refused(last: Last, most: int) -> None:
    make_order(GOLDEN_SIZES, batch=most, last=last)
    for batch in (0, most + 1):
        with pytest.raises(ValueError, match=f"from 1 to {most} for 250 samples .* got {batch}"):
            make_order(GOLDEN_SIZES, batch=batch, last=last)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_out_the_same_chunks(world: int) -> None:
    batch = next(make_order(GOLDEN_SIZES).batches())
    parts = [chunk_rows(batch, 4, rank, world) for rank in range(world)]
    assert [number for number, _ in parts[-1]] == list(range(world - 1, 4, world))
    whole = [keys_of(rows) for _, rows in sorted(flat(parts), key=lambda part: part[0])]
    assert whole == [keys_of(batch)[start : start + 4] for start in range(0, 16, 4)]


@pytest.mark.parametrize(("chunks", "world"), [(3, 1), (4, 3)])
def test_uneven_chunks_are_refused(chunks: int, world: int) -> None:
    batch = next(make_order(GOLDEN_SIZES).batches())
    with pytest.raises(ValueError, match=f"16 rows and be a multiple of {world} ranks"):
        chunk_rows(batch, chunks, 0, world)


def test_rows_gather_columns_and_take_rows() -> None:
    tables = {4: Table(np.arange(3, dtype=np.uint64), np.array([40, 41, 42])),
              2: Table(np.arange(2, dtype=np.uint64), np.array([20, 21]))}  # fmt: skip
    rows = Rows(np.zeros(3, np.int64), np.array([4, 2, 4]), np.array([2, 0, 1]), tables)
    assert keys_of(rows) == [42, 20, 41]
    assert keys_of(rows.take(np.array([2, 0]))) == [41, 42]
