"""The rows of a global batch across ranks: all of them, in the order of the batch, exactly."""

import dataclasses
from typing import Any, cast

import torch
from torch import Tensor, distributed


@dataclasses.dataclass(frozen=True, slots=True)
class Gather:
    """Which rows of a global batch a rank holds: those of every `world`-th chunk from `rank` on."""

    rank: int = 0
    world: int = 1
    chunks: int = 1
    """Chunks that each rank holds."""

    def rows(self, local: Tensor) -> Tensor:
        """Return the rows of all ranks, with the gradient that all ranks' losses have.

        Args:
            local: shape (n, ...), this rank's.

        Returns:
            Shape (world * n, ...), in the order of the batch.
        """
        return local if self.world == 1 else cast(Tensor, _AllRows.apply(local, self))

    def places(self, rows: int) -> Tensor:
        """Return where in the global batch the `rows` rows of this rank are, shape (rows,)."""
        return self._own(torch.arange(self.world * rows))

    def _own(self, everything: Tensor) -> Tensor:
        shape = (self.chunks, self.world, -1, *everything.shape[1:])
        return everything.reshape(shape)[:, self.rank].flatten(0, 1)


class _AllRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, gather: Gather) -> Tensor:
        ctx.gather = gather
        parts = [torch.empty_like(local) for _ in range(gather.world)]
        distributed.all_gather(parts, local.contiguous())
        shape = (gather.world, gather.chunks, -1, *local.shape[1:])
        return torch.stack(parts).reshape(shape).transpose(0, 1).flatten(0, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Every rank's loss depends on these rows, so their gradients add up.
        total = gradient.contiguous()
        distributed.all_reduce(total)
        return ctx.gather._own(total), None
