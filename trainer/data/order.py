"""The order of samples: a pure function of (seed, epoch, position). numpy only.

Every number here is an unsigned 64-bit keyed hash, never a generator's state, because numpy does
not promise equal streams between versions. Memory is O(shards + rows of two blocks), never
O(samples): a block is let go before the one after the next is read.
"""

import dataclasses
import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

ORDER_VERSION = 1
"""Raised with any change that gives another order; part of every checkpoint."""

Domain = Literal["shard", "sample", "augment", "model"]
Last = Literal["carry", "drop"]


class ShardRows(Protocol):
    """What the order needs of a shard, in row order."""

    @property
    def ids(self) -> NDArray[np.uint64]:
        """Shape (rows,), the first 8 bytes of each pair id, little-endian."""

    @property
    def keys(self) -> NDArray[np.generic]:
        """Shape (rows,), the keys: they break ties between equal hashes."""


S = TypeVar("S", bound=ShardRows)


def hash64(domain: Domain, seed: int, epoch: int, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return `h(domain, epoch, value)` for each value, shape (n,), uniform in 64 bits."""
    prefix = hashlib.blake2b(
        struct.pack("<QQ", seed, epoch), digest_size=8, person=b"openwit." + domain.encode()
    )
    data = values.astype("<u8").tobytes()
    digests = bytearray()
    for start in range(0, len(data), 8):  # measured: a copied prefix costs 0.7 microseconds a hash
        state = prefix.copy()
        state.update(data[start : start + 8])
        digests += state.digest()
    return np.frombuffer(bytes(digests), "<u8").astype(np.uint64)


def plan_shards(
    shards: Mapping[int, int], *, seed: int, epoch: int, open_shards: int
) -> list[list[int]]:
    """Return the ids of all shards with samples in the epoch's order, cut into blocks."""
    ids = np.array(sorted(shard for shard, samples in shards.items() if samples), dtype=np.uint64)
    order = np.lexsort((ids, hash64("shard", seed, epoch, ids)))
    ordered = [int(shard) for shard in ids[order]]
    return [ordered[at : at + open_shards] for at in range(0, len(ordered), open_shards)]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Rows(Generic[S]):
    """A run of samples in training order; the arrays have shape (n,)."""

    epoch: NDArray[np.int64]
    shard: NDArray[np.int64]
    row: NDArray[np.int64]
    tables: Mapping[int, S]
    """The shards these rows are in, by shard id."""

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: slice | NDArray[np.int64]) -> "Rows[S]":
        """Return the chosen rows, in the order of `which`."""
        return Rows(self.epoch[which], self.shard[which], self.row[which], self.tables)

    def gather(self, column: Callable[[S], NDArray[np.generic]]) -> NDArray[np.generic]:
        """Return one value a row, of a column that each shard holds as an array."""
        parts = {int(shard): column(self.tables[int(shard)]) for shard in np.unique(self.shard)}
        result = np.empty(len(self), dtype=np.result_type(*parts.values()))
        for shard, values in parts.items():
            here = self.shard == shard
            result[here] = values[self.row[here]]
        return result


def join(pieces: Sequence[Rows[S]]) -> Rows[S]:
    """Return the rows of all pieces, one after the other; unused shards are let go."""
    if len(pieces) == 1:
        return pieces[0]
    shard = np.concatenate([piece.shard for piece in pieces])
    tables = {number: table for piece in pieces for number, table in piece.tables.items()}
    return Rows(
        np.concatenate([piece.epoch for piece in pieces]),
        shard,
        np.concatenate([piece.row for piece in pieces]),
        {int(number): tables[int(number)] for number in np.unique(shard)},
    )


def plan_block(shards: Mapping[int, S], *, seed: int, epoch: int) -> Rows[S]:
    """Return the samples of the given shards, shuffled together: by hash, then by key."""
    shard = np.concatenate([np.full(len(t.ids), s, np.int64) for s, t in shards.items()])
    row = np.concatenate([np.arange(len(t.ids), dtype=np.int64) for t in shards.values()])
    ids = np.concatenate([table.ids for table in shards.values()])
    keys = np.concatenate([table.keys for table in shards.values()])
    order = np.lexsort((keys, hash64("sample", seed, epoch, ids)))
    return Rows(np.full(len(order), epoch, np.int64), shard[order], row[order], shards)


def defer_repeats(rows: Rows[S], repeats: Rows[S], wanted: int) -> Rows[S]:
    """Move samples that are also in `repeats` behind the first `wanted` others.

    The batch that ends an epoch is filled from the next one; so no sample meets itself in it. Only
    the first `wanted + len(repeats)` rows move.
    """
    met = np.isin(_place(rows), _place(repeats))
    fresh = np.flatnonzero(~met)[:wanted]
    end = int(fresh[-1]) + 1 if len(fresh) else 0
    order = np.concatenate([fresh, np.flatnonzero(met[:end]), np.arange(end, len(rows))])
    return rows.take(order.astype(np.int64))


def chunk_rows(rows: Rows[S], chunks: int, rank: int, world: int) -> list[tuple[int, Rows[S]]]:
    """Cut a global batch into `chunks`; return number and rows of those of one rank.

    Raises:
        ValueError: if chunks or ranks would not be of one size.
    """
    if len(rows) % chunks or chunks % world:
        raise ValueError(
            f"chunks must divide {len(rows)} rows and be a multiple of {world} ranks, got {chunks}"
        )
    size = len(rows) // chunks
    return [(c, rows.take(slice(c * size, (c + 1) * size))) for c in range(rank, chunks, world)]


Ahead = Callable[[Iterator[Rows[S]]], Iterator[Rows[S]]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a run stands, in consumed batches; all but `epoch` and `offset` follow from them."""

    epoch: int
    offset: int
    """Samples of this epoch that are used up."""
    block: int
    block_offset: int
    tail_rows: int
    """Samples of the epoch before that were batched with the first ones of this."""
    samples_seen: int


class SampleOrder(Generic[S]):
    """The endless stream of global batches of a dataset."""

    def __init__(
        self,
        shards: Mapping[int, int],
        read: Callable[[int], S],
        *,
        seed: int,
        global_batch: int,
        open_shards: int,
        last: Last = "carry",
    ) -> None:
        """Take the samples of each shard id, and how to read one shard's ids and keys.

        Raises:
            ValueError: if the dataset is too small for the batch.
        """
        self.samples = sum(shards.values())
        self.global_batch = global_batch
        self.last = last
        self._shards = shards
        self._read = read
        self._seed = seed
        self._open_shards = open_shards
        self._planned: dict[int, list[list[int]]] = {}
        most = self.samples // 2 if last == "carry" else self.samples
        if not 1 <= global_batch <= most:
            raise ValueError(
                f"global_batch must be from 1 to {most} for {self.samples} samples with "
                f'last = "{last}", got {global_batch}'
            )

    def position(self, step: int) -> Position:
        """Return where the stream stands after `step` batches."""
        if self.last == "carry":
            epoch, offset = divmod(step * self.global_batch, self.samples)
        else:
            epoch, step_in_epoch = divmod(step, self.samples // self.global_batch)
            offset = step_in_epoch * self.global_batch
        block, before = self._find_block(epoch, offset)
        return Position(
            epoch=epoch,
            offset=offset,
            block=block,
            block_offset=offset - before,
            tail_rows=self._tail_rows(epoch),
            samples_seen=step * self.global_batch,
        )

    @property
    def used_samples(self) -> int:
        """Samples of an epoch's order that are in its batches; the others are left out."""
        if self.last == "carry":
            return self.samples
        return self.samples // self.global_batch * self.global_batch

    def batches(self, start: int = 0, *, ahead: Ahead[S] = iter) -> Iterator[Rows[S]]:
        """Yield global batches from number `start` on, for ever.

        Args:
            start: the number of the first batch.
            ahead: passes the pieces of the stream on; may make the next one in advance.
        """
        position = self.position(start)
        epoch, pending = position.epoch, list[Rows[S]]()
        for piece in ahead(self._stream(epoch, position.offset)):
            if self.last == "drop" and piece.epoch[0] > epoch:
                epoch, pending = int(piece.epoch[0]), []
            pending.append(piece)
            while sum(map(len, pending)) >= self.global_batch:
                end = self.global_batch - sum(map(len, pending[:-1]))
                yield join([*pending[:-1], pending[-1].take(slice(None, end))])
                pending = [pending[-1].take(slice(end, None))]

    def _stream(self, epoch: int, offset: int) -> Iterator[Rows[S]]:
        while True:
            yield from self.epoch_rows(epoch, offset)
            epoch, offset = epoch + 1, 0

    def epoch_rows(self, epoch: int, offset: int = 0) -> Iterator[Rows[S]]:
        """Yield an epoch's samples in order from `offset` on, about half a block at a time."""
        block, before = self._find_block(epoch, offset)
        skip, tail_rows = offset - before, self._tail_rows(epoch)
        if tail_rows and offset < self.global_batch:
            block = self._find_block(epoch, self.global_batch - 1)[0] + 1
            yield from _halves(self._head(epoch, block, tail_rows).take(slice(offset, None)))
            skip = 0
        for index in range(block, len(self.blocks(epoch))):
            yield from _halves(self.plan(epoch, index).take(slice(skip, None)))
            skip = 0

    def plan(self, epoch: int, block: int) -> Rows[S]:
        """Return all samples of one block of an epoch, in its own order."""
        shards = {shard: self._read(shard) for shard in self.blocks(epoch)[block]}
        return plan_block(shards, seed=self._seed, epoch=epoch)

    def _head(self, epoch: int, blocks: int, tail_rows: int) -> Rows[S]:
        """Return the first blocks, at least a batch, without repeats in the batch they complete."""
        # The end of the epoch before first: its shards are the ones read last.
        repeats = join(list(self.epoch_rows(epoch - 1, self.samples - tail_rows)))
        rows = join([self.plan(epoch, block) for block in range(blocks)])
        return defer_repeats(rows, repeats, self.global_batch - tail_rows)

    def _tail_rows(self, epoch: int) -> int:
        return epoch * self.samples % self.global_batch if self.last == "carry" else 0

    def blocks(self, epoch: int) -> list[list[int]]:
        """Return the shard ids of each block of an epoch, in order."""
        blocks = self._planned.get(epoch)
        if blocks is None:
            blocks = plan_shards(
                self._shards, seed=self._seed, epoch=epoch, open_shards=self._open_shards
            )
            # Two epochs meet in a batch. A new dict, because a thread may plan ahead.
            self._planned = {epoch: blocks} | dict(list(self._planned.items())[:1])
        return blocks

    def _find_block(self, epoch: int, offset: int) -> tuple[int, int]:
        """Return the block that holds sample `offset`, and how many samples come before it."""
        before = 0
        for index, block in enumerate(self.blocks(epoch)):
            rows = sum(self._shards[shard] for shard in block)
            if offset < before + rows:
                return index, before
            before += rows
        raise ValueError(f"offset must be below {before}, got {offset}")


def _halves(rows: Rows[S]) -> list[Rows[S]]:
    """Cut rows in two, so that a planner one piece ahead waits until the block before is used."""
    middle = (len(rows) + 1) // 2
    halves = rows.take(slice(None, middle)), rows.take(slice(middle, None))
    return [half for half in halves if len(half)]


def _place(rows: Rows[S]) -> NDArray[np.int64]:
    return rows.shard << 32 | rows.row
