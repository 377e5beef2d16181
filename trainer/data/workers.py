"""The loader's processes: what signals they hear, and how the main one learns of a death."""

import contextlib
import multiprocessing.connection
import os
import signal
from collections.abc import Iterator
from typing import TypeVar

from manifests.base.errors import OpenwitError
from trainer.distributed import processes_here

T = TypeVar("T")
MOST_WORKERS = 4
"""What open_clip_train starts."""
DEATH_SECONDS = 30
"""How long a worker that has closed its connection may take to be gone."""


def default_workers() -> int:
    """Return how many workers a rank starts when nobody says: as the machine has cores for."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // processes_here()))


def start_worker(_: int) -> None:
    """Leave to the main process what a terminal or a batch system sends to all of them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def sigchld_kept() -> Iterator[None]:
    """Keep torch's handler out: it raises wherever the program is, be it within a checkpoint."""
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before)


def fetch(results: Iterator[T]) -> T | None:
    """Return what the workers of a DataLoader's iterator made next, or None at the end.

    Raises:
        OpenwitError: if a worker has died.
    """
    try:
        return next(results, None)
    except (RuntimeError, OSError, EOFError) as error:
        workers = getattr(results, "_workers", [])
        if workers and not isinstance(error, RuntimeError):  # its files close before it ends
            by_sentinel = {each.sentinel: each for each in workers}
            for sentinel in multiprocessing.connection.wait(by_sentinel, DEATH_SECONDS):
                by_sentinel[sentinel].join(DEATH_SECONDS)
        codes = [each.exitcode for each in workers if each.exitcode]
        if not codes:
            raise
        raise OpenwitError(
            f"data worker: ended with exit code {codes[0]}: likely the memory is full: lower "
            "train.data.workers or train.data.prefetch"
        ) from None
