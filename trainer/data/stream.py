"""The stream of global batches: epoch after epoch in their order, from any position on.

Memory is O(shards + rows of two blocks), never O(samples): a block is let go before the one after
the next is read.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from trainer.data.order import Last, Rows, S, defer_repeats, join, plan_block, plan_shards

Keep = Callable[[int, int], NDArray[np.bool_]]
"""Epoch and shard id to which of its samples are in the epoch, shape (rows,)."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a run stands, in consumed batches; enough to go on without what came before."""

    epoch: int = 0
    offset: int = 0
    """Samples of this epoch that are used up."""
    block: int = 0
    block_offset: int = 0
    tail_rows: int = 0
    """Samples of the epoch before that were batched with the first ones of this."""
    samples_seen: int = 0


START = Position()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Piece(Generic[S]):
    """Consecutive samples of an epoch's order."""

    rows: Rows[S]
    epoch: int
    offset: int
    """Samples of the epoch before the first one."""
    tail_rows: int
    marks: tuple[tuple[int, int], ...]
    """Where the blocks around begin: samples of the epoch before it, number of the block."""
    end: int | None
    """Samples of the epoch's order that are used, if that is known."""

    def cut(self, count: int) -> "Piece[S]":
        """Return what is left behind the first `count` samples."""
        rows = self.rows.take(slice(count, None))
        return dataclasses.replace(self, rows=rows, offset=self.offset + count)

    def halves(self) -> list["Piece[S]"]:
        """Cut in two, so that a planner one piece ahead waits until the block before is used."""
        middle = (len(self.rows) + 1) // 2
        first = dataclasses.replace(self, rows=self.rows.take(slice(None, middle)))
        return [piece for piece in (first, self.cut(middle)) if len(piece.rows)]

    def place(self, count: int, samples_seen: int) -> Position:
        """Return the position behind the first `count` samples, with which a batch ends."""
        offset = self.offset + count
        if offset == self.end:
            return Position(epoch=self.epoch + 1, samples_seen=samples_seen)
        start, block = max(mark for mark in self.marks if mark[0] <= offset)
        return Position(
            epoch=self.epoch,
            offset=offset,
            block=block,
            block_offset=offset - start,
            tail_rows=self.tail_rows,
            samples_seen=samples_seen,
        )


Ahead = Callable[[Iterator[Piece[S]]], Iterator[Piece[S]]]
Batch = tuple[Rows[S], Position]
"""The samples of a global batch, and the position behind it."""


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
        keep: Keep | None = None,
    ) -> None:
        """Take the samples of each shard id, and how to read one shard's ids and keys.

        Args:
            shards: samples by shard id.
            read: gives a shard.
            seed: another one is another order.
            global_batch: samples of a batch.
            open_shards: shards that are shuffled together.
            last: what becomes of the samples of an epoch that fill no batch.
            keep: epoch and shard id to the samples that are in the epoch, shape (rows,); only with
                `carry`.

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
        self._keep = keep
        self._planned: dict[int, list[list[int]]] = {}
        most = self.samples // 2 if last == "carry" else self.samples
        if not 1 <= global_batch <= most:
            raise ValueError(
                f"global_batch must be from 1 to {most} for {self.samples} samples with "
                f'last = "{last}", got {global_batch}'
            )

    @property
    def used_samples(self) -> int:
        """Samples of an epoch's order that are in its batches; the others are left out."""
        if self.last == "carry":
            return self.samples
        return self.samples // self.global_batch * self.global_batch

    def batches(self, start: Position = START, *, ahead: Ahead[S] = iter) -> Iterator[Batch[S]]:
        """Yield global batches and the positions behind them, for ever.

        Args:
            start: the position to go on from.
            ahead: passes the pieces of the stream on; may make the next one in advance.
        """
        pending, seen = list[Piece[S]](), start.samples_seen
        for piece in ahead(self._stream(start)):
            if self.last == "drop" and pending and piece.epoch > pending[-1].epoch:
                pending = []
            pending.append(piece)
            while (have := sum(len(each.rows) for each in pending)) >= self.global_batch:
                last = pending[-1]
                count = len(last.rows) - (have - self.global_batch)
                seen += self.global_batch
                rows = [each.rows for each in pending[:-1]] + [last.rows.take(slice(count))]
                yield join(rows), last.place(count, seen)
                pending = [last.cut(count)]

    def _stream(self, start: Position) -> Iterator[Piece[S]]:
        while True:
            streamed = 0
            for piece in self._pieces(start):
                streamed += len(piece.rows)
                yield piece
            # A stream begins behind a batch, or with the samples that complete one.
            begun = streamed + (start.tail_rows if start.offset == 0 else 0)
            tail_rows = begun % self.global_batch if self.last == "carry" else 0
            start = Position(epoch=start.epoch + 1, tail_rows=tail_rows)

    def _pieces(self, start: Position) -> Iterator[Piece[S]]:
        """Yield an epoch's samples from `start` on, about half a block at a time."""
        block, offset, skip = start.block, start.offset - start.block_offset, start.block_offset
        if start.tail_rows and start.offset < self.global_batch:
            head = self._head(start.epoch, start.tail_rows)
            block, offset, skip = len(head.marks) - 1, head.marks[-1][0], 0
            yield from head.cut(start.offset).halves()
            del head
        for index in range(block, len(self.blocks(start.epoch))):
            rows = self.plan(start.epoch, index)
            marks = ((offset, index), (offset + len(rows), index + 1))
            piece = Piece(
                rows=rows,
                epoch=start.epoch,
                offset=offset,
                tail_rows=start.tail_rows,
                marks=marks,
                end=self._end(start.epoch, marks),
            )
            offset += len(rows)
            del rows
            yield from piece.cut(skip).halves()
            skip = 0
            del piece

    def _end(self, epoch: int, marks: Sequence[tuple[int, int]]) -> int | None:
        if self._keep is None:
            return self.used_samples
        samples, block = marks[-1]
        return samples if block == len(self.blocks(epoch)) else None

    def plan(self, epoch: int, block: int) -> Rows[S]:
        """Return all samples of one block of an epoch, in its own order."""
        shards = {shard: self._read(shard) for shard in self.blocks(epoch)[block]}
        kept = {shard: self._keep(epoch, shard) for shard in shards} if self._keep else None
        return plan_block(shards, seed=self._seed, epoch=epoch, kept=kept)

    def _head(self, epoch: int, tail_rows: int) -> Piece[S]:
        """Return the first blocks, at least a batch, without repeats in the batch they complete."""
        # The end of the epoch before first: its shards are the ones read last.
        repeats = self.tail(epoch - 1, tail_rows)
        parts, marks = list[Rows[S]](), [(0, 0)]
        while marks[-1][0] < self.global_batch and len(parts) < len(self.blocks(epoch)):
            parts.append(self.plan(epoch, len(parts)))
            marks.append((marks[-1][0] + len(parts[-1]), len(parts)))
        return Piece(
            rows=defer_repeats(join(parts), repeats, self.global_batch - tail_rows),
            epoch=epoch,
            offset=0,
            tail_rows=tail_rows,
            marks=tuple(marks),
            end=self._end(epoch, marks),
        )

    def tail(self, epoch: int, count: int) -> Rows[S]:
        """Return the last `count` samples of an epoch's order."""
        parts, have, block = list[Rows[S]](), 0, len(self.blocks(epoch))
        while have < count and block:
            block -= 1
            parts.insert(0, self.plan(epoch, block))
            have += len(parts[0])
        return join(parts).take(slice(have - count, None))

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
