"""A second order in plain Python, which follows the definition word by word."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainer.data.order import Last, Rows
from trainer.data.stream import START, Position, SampleOrder

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


def position(order: SampleOrder[Table], steps: int) -> Position:
    """Where the stream stands after so many batches."""
    return [START, *(at for _, at in itertools.islice(order.batches(), steps))][-1]


def first_batches(order: SampleOrder[Table], count: int, start: int = 0) -> list[list[int]]:
    """The keys of some batches; those before `start` are not planned again."""
    batches = order.batches(position(order, start))
    return [keys_of(rows) for rows, _ in itertools.islice(batches, count)]


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
