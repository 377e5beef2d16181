"""The stream of batches, against `plain_order`."""

import dataclasses
import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.trainer.data.plain_order import (
    GOLDEN_SIZES,
    PER_SHARD,
    Table,
    datasets,
    first_batches,
    flat,
    keys_of,
    make_order,
    plain_order,
    plain_stream,
    position,
    read_shard,
    sha256_of,
)
from trainer.data.order import Last
from trainer.data.stream import SampleOrder


def test_the_first_epoch_is_the_golden_one() -> None:
    order = make_order(GOLDEN_SIZES)
    keys = [key for block in range(3) for key in keys_of(order.plan(0, block))]
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
        rest = sum(sizes) - per_epoch * batch
        if rest:
            assert keys_of(order.tail(epoch, rest)) == expected[-rest:]
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
    assert dataclasses.astuple(position(order, 0)) == (0, 0, 0, 0, 0, 0)
    assert dataclasses.astuple(position(order, 14)) == (0, 224, 2, 4, 0, 224)
    assert dataclasses.astuple(position(order, 16)) == (1, 6, 0, 6, 10, 256)
    assert position(order, 125).epoch == 8
    assert position(order, 125).offset == position(order, 125).tail_rows == 0


def test_a_position_with_drop_skips_the_rest_of_an_epoch() -> None:
    order = make_order(GOLDEN_SIZES, last="drop")  # 15 batches an epoch
    assert dataclasses.astuple(position(order, 16)) == (1, 16, 0, 16, 0, 256)


def test_blocks_before_the_position_are_not_read() -> None:
    read = list[int]()

    def note(shard: int) -> Table:
        read.append(shard)
        return read_shard(GOLDEN_SIZES, shard)

    order = SampleOrder(dict(enumerate(GOLDEN_SIZES)), note, seed=0, global_batch=16, open_shards=3)
    batches = order.batches(position(make_order(GOLDEN_SIZES), 14))
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
