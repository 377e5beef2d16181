"""Several ranks on this machine, forked from the test; torchrun's part is played by the test."""

import contextlib
import functools
import multiprocessing
import os
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined] # not in its types' __all__

T = TypeVar("T")
SECONDS = 50


def run_ranks(world: int, work: Callable[..., T], *arguments: object, **named: object) -> list[T]:
    """Call `work` in so many processes, and return the result of each, None of one that was killed.

    Raises:
        AssertionError: with the traceback of the first rank that raised.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(world)]
    processes = [
        context.Process(
            target=_rank,
            args=(rank, world, store.port, pipe, functools.partial(work, *arguments, **named)),
        )
        for rank, (_, pipe) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    for _, pipe in pipes:
        pipe.close()
    found: list[Any] = [None] * world
    for rank, (receive, _) in enumerate(pipes):
        with contextlib.suppress(EOFError):
            if receive.poll(SECONDS):
                found[rank] = receive.recv()
    for process in processes:
        process.join(10)
        process.kill()
    errors = [each for each in found if isinstance(each, str) and each.startswith("Traceback")]
    assert not errors, errors[0]
    return found


def _rank(
    rank: int,
    world: int,
    port: int,
    pipe: Any,
    work: Callable[[], object],
) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    torch.set_num_threads(1)
    try:
        pipe.send(work())
    except BaseException:
        pipe.send(traceback.format_exc())
    pipe.close()
    os._exit(0)  # a fork must not run the end of the test process
