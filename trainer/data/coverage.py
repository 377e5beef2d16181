"""Whether an epoch used every sample once: two sums, of what was planned and what was used."""

import dataclasses
from collections.abc import Callable

import numpy as np

from manifests.base.errors import AccountingError
from trainer.data.order import Rows
from trainer.data.shards import ShardTable, ShardTables
from trainer.data.stream import Position, SampleOrder

MODULUS = 1 << 64


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CoverageState:
    """The sums of the open epoch, over all ranks; part of a checkpoint."""

    epoch: int = 0
    block: int = 0
    planned: int = 0
    """Sum over the samples of the epoch's blocks before `block`, mod 2^64."""
    used: int = 0
    """Sum over the samples of the epoch that were used, mod 2^64."""


def _keep(value: int) -> int:
    return value


class Coverage:
    """Sums `h(sample, 0, id)` mod 2^64 over planned and over used samples, by epoch."""

    def __init__(
        self,
        order: SampleOrder[ShardTable],
        tables: ShardTables,
        state: CoverageState,
        *,
        reduce_sum: Callable[[int], int] = _keep,
        is_first: bool = True,
    ) -> None:
        """Go on from `state`; `reduce_sum` adds up over ranks, `is_first` holds for one of them."""
        self._order = order
        self._tables = tables
        self._start = state
        self._reduce = reduce_sum
        self._used = {state.epoch: state.used if is_first else 0}

    def add(self, rows: Rows[ShardTable]) -> None:
        """Count samples that this rank has used."""
        prints = rows.gather(lambda table: table.prints)
        for epoch in np.unique(rows.epoch):
            total = int(prints[rows.epoch == epoch].sum(dtype=np.uint64))
            self._used[int(epoch)] = (self._used.get(int(epoch), 0) + total) % MODULUS

    def state(self, position: Position) -> CoverageState:
        """Return the sums at a position. All ranks must call it together."""
        return CoverageState(
            epoch=position.epoch,
            block=position.block,
            planned=self._planned(position.epoch, position.block),
            used=self._reduce(self._used.get(position.epoch, 0)) % MODULUS,
        )

    def finish(self, epoch: int) -> int:
        """Check an epoch that is used up, and return its sum. All ranks must call it together.

        Raises:
            AccountingError: if a sample was lost or used twice.
        """
        planned = self._planned(epoch, len(self._order.blocks(epoch)))
        if unused := self._order.samples - self._order.used_samples:
            left_out = self._order.tail(epoch, unused).gather(lambda table: table.prints)
            planned -= int(left_out.sum(dtype=np.uint64))
        self._tables.forget(epoch)
        planned %= MODULUS
        used = self._reduce(self._used.pop(epoch, 0)) % MODULUS
        if used != planned:
            raise AccountingError(
                f"epoch {epoch}: the samples used sum up to {used:016x}, the planned ones to "
                f"{planned:016x}: some were lost or used twice; please report this"
            )
        return used

    def _planned(self, epoch: int, end: int) -> int:
        resumed = epoch == self._start.epoch
        total = self._start.planned if resumed else 0
        for block in self._order.blocks(epoch)[self._start.block if resumed else 0 : end]:
            total += sum(self._tables.print_sum(epoch, shard) for shard in block)
        return total % MODULUS
