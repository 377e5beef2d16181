"""Work for processes of this machine, with results in the order of the tasks."""

import collections
import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from manifests.base.errors import OpenwitError

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(function: Callable[[T], R], tasks: Iterable[T], workers: int) -> Iterator[R]:
    """Yield `function(task)` in the order of the tasks; few of them are held at once.

    Args:
        function: of a module, for other processes import it.
        tasks: are taken as they are needed.
        workers: processes; 0 is one per core. With one worker or task all happens here.
    """
    workers = workers or os.cpu_count() or 1
    iterator = iter(tasks)
    first = list(_take(iterator, 2))
    if workers == 1 or len(first) < 2:
        yield from map(function, first)
        yield from map(function, iterator)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
        waiting = collections.deque(pool.submit(function, task) for task in first)
        try:
            for task in iterator:
                waiting.append(pool.submit(function, task))
                if len(waiting) > workers + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except concurrent.futures.process.BrokenProcessPool:
            raise OpenwitError(
                "queries build: a worker process died: is memory short? use fewer --workers"
            ) from None


def _take(iterator: Iterator[T], count: int) -> Iterator[T]:
    for _, item in zip(range(count), iterator, strict=False):
        yield item
