"""Ranks: the processes of one training, as torchrun starts them; without it there is one."""

import contextlib
import dataclasses
import datetime
import json
import os
import signal
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from manifests.base.errors import OpenwitError
from trainer.errors import LostRankError

if typing.TYPE_CHECKING:  # a configuration is checked without torch, which takes seconds to import
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")
PATIENCE = datetime.timedelta(days=7)
"""How long ranks wait where one of them may be reading the whole dataset."""
LAST_WORDS = datetime.timedelta(seconds=5)
"""How long the reason of a lost rank may take to arrive."""
FAILURE = "failure"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """One process among those of a training. All must call the methods that exchange together."""

    rank: int = 0
    world: int = 1
    """How many there are."""
    local_rank: int = 0
    """Place among those of this machine; also the number of its GPU."""
    local_world: int = 1
    timeout_s: float = 600.0
    store: "Store | None" = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add up each value over the ranks, in float64."""
        return typing.cast(list[float], self.sum_array(np.array(values, np.float64)).tolist())

    def sum_array(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up an array over the ranks; it is left as it is."""
        if self.world == 1:
            return values
        import torch

        total = torch.from_numpy(values.copy())
        torch.distributed.all_reduce(total)
        return typing.cast(NDArray[np.float64], total.numpy())

    def sum_int(self, value: int) -> int:
        """Add up a number over the ranks, mod 2^64."""
        if self.world == 1:
            return value
        import torch

        total = torch.tensor([value - (1 << 64) if value >> 63 else value])  # torch adds mod 2^64
        torch.distributed.all_reduce(total)
        return int(total) % (1 << 64)

    def gather(self, value: T) -> list[T]:
        """Return the value of every rank, in their order."""
        if self.world == 1:
            return [value]
        import torch

        found: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(found, value)
        return found

    def first(self, work: Callable[[], T]) -> T:
        """Return on every rank what the first one's `work` gives.

        Raises:
            OpenwitError: on every rank, if it raises one.
        """
        if self.world == 1:
            return work()
        result, error = None, None
        if self.is_first:
            try:
                result = work()
            except OpenwitError as caught:
                error = caught
        result, error = self.gather((result, error))[0]
        if error:
            raise error if self.is_first else LostRankError(str(error), error.exit_code)
        return typing.cast(T, result)

    def wait_for_all(self, name: str) -> None:
        """Wait, without the limit of other exchanges, until all have come here.

        Args:
            name: of this place; each has its own.
        """
        if self.store is not None:
            self.store.set(f"{name}/{self.rank}", "")
            self.store.wait([f"{name}/{rank}" for rank in range(self.world)], PATIENCE)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Tell the other ranks of an error in the block, and say of theirs what it was.

        Raises:
            LostRankError: in place of what torch says when another rank has gone.
        """
        try:
            yield
        except Exception as error:
            if self.store is None or _is_alike(error):
                raise
            if isinstance(error, RuntimeError) and _is_of_exchange(error):
                # torchrun now ends the others too; there is still to say why.
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                raise self._lost(error) from None
            line = f"rank {self.rank}: {str(error) or type(error).__name__}"
            code = error.exit_code if isinstance(error, OpenwitError) else 1
            self.store.set(FAILURE, json.dumps([line, code]))
            if not self.is_first:  # whose errors are printed anyway
                sys.__stderr__.write(f"error: {line}\n")  # type: ignore[union-attr]
            raise

    def _lost(self, error: RuntimeError) -> LostRankError:
        try:
            self.store.wait([FAILURE], LAST_WORDS)  # type: ignore[union-attr]
            return LostRankError(*json.loads(self.store.get(FAILURE)))  # type: ignore[union-attr]
        except Exception:  # it died without a word, or the store with it
            reason = str(error).split("\n")[0][:200]
            return LostRankError(
                f"rank {self.rank} of {self.world}: another one ended, or did not answer within "
                f"{self.timeout_s:g} s: {reason}: run the same command to go on"
            )


ALONE = Ranks()


def _is_alike(error: Exception) -> bool:
    """Tell whether all ranks raise this error, each by itself."""
    return isinstance(error, OpenwitError) and type(error) is not OpenwitError


def _is_of_exchange(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.distributed.DistError) or any(
        word in str(error) for word in ("gloo", "NCCL", "Connection")
    )


def world_size() -> int:
    """Return how many processes torchrun has started for this training."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def processes_here() -> int:
    """Return how many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))


def speaks() -> bool:
    """Tell whether this process is the one that prints."""
    return int(os.environ.get("RANK", "0")) == 0


@contextlib.contextmanager
def joined(timeout_s: float) -> Iterator[Ranks]:
    """Meet the other processes that torchrun has started, if there are any.

    Args:
        timeout_s: how long one may keep the others waiting.

    Raises:
        LostRankError: if they do not come.
    """
    if world_size() == 1:
        yield ALONE
        return
    import torch
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    timeout, environment = datetime.timedelta(seconds=timeout_s), os.environ
    local_rank = int(environment.get("LOCAL_RANK", environment["RANK"]))
    has_gpus = torch.cuda.is_available()
    if has_gpus:
        torch.cuda.set_device(local_rank)
    try:
        store, rank, world = next(iter(rendezvous("env://", timeout=timeout)))
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if has_gpus else "gloo",
            store=store,
            rank=rank,
            world_size=world,
            timeout=timeout,
        )
    except RuntimeError as error:
        raise LostRankError(f"WORLD_SIZE {world_size()}: not all ranks came: {error}") from None
    yield Ranks(
        rank=rank,
        world=world,
        local_rank=local_rank,
        local_world=processes_here(),
        timeout_s=timeout_s,
        store=store,
    )
    distributed.destroy_process_group()  # not after an error: it would wait for the lost
