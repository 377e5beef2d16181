"""Tasks in worker processes that may die of them: a crash costs one finding, not a run."""

import contextlib
import dataclasses
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from manifests.base.errors import OpenwitError

Task = TypeVar("Task")
Result = TypeVar("Result")
Report = Callable[[int], None]
"""A task says which of its items it is at; -1 for none."""
MAX_DEATHS = 100
"""After so many deaths of its workers a task is given up."""


@dataclasses.dataclass(frozen=True)
class Died:
    """A worker that ended without an answer."""

    item: int
    """What the task said it was at; -1 for none."""
    exit_code: int | None


def run_isolated(
    function: Callable[[Task, Report], Result],
    tasks: Sequence[Task],
    jobs: int,
    after_death: Callable[[Task, Died], Task | None],
) -> Iterator[tuple[Task, Result]]:
    """Yield each task's result, in the order they come.

    Args:
        function: an importable function; it runs in a process of its own kind.
        tasks: what it is called with, first to last; anything that can be pickled.
        jobs: how many processes.
        after_death: told of a dead worker; returns the task to try instead, or None.

    Raises:
        OpenwitError: if the function raises; the message is its traceback's last line.
    """
    waiting = list(reversed(tasks))
    workers = [_Worker(function) for _ in range(min(jobs, len(tasks)))]
    deaths = 0
    try:
        while waiting or any(worker.task is not None for worker in workers):
            for worker in workers:
                if worker.task is None and waiting:
                    worker.give(waiting.pop())
            busy = {worker.connection: worker for worker in workers if worker.task is not None}
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                task, answer = worker.take()
                if isinstance(answer, Died):
                    deaths += 1
                    again = after_death(task, answer) if deaths <= MAX_DEATHS else None
                    waiting += [] if again is None else [again]
                else:
                    yield task, answer
    finally:
        for worker in workers:
            worker.stop()


class _Worker(Generic[Task, Result]):
    """One process and its pipe; a dead process is replaced at the next task."""

    def __init__(self, function: Callable[[Task, Report], Result]) -> None:
        # Not forked: pyarrow's threads would not survive it.
        self._context = multiprocessing.get_context("spawn")
        self._function = function
        self.task: Task | None = None
        self._start()

    def _start(self) -> None:
        self.connection, theirs = self._context.Pipe()
        self._item = self._context.RawValue("q", -1)
        self._process = self._context.Process(
            target=_serve, args=(self._function, theirs, self._item), daemon=True
        )
        self._process.start()
        theirs.close()

    def give(self, task: Task) -> None:
        if not self._process.is_alive():
            self._start()
        self.task = task
        self._item.value = -1
        with contextlib.suppress(BrokenPipeError):  # it died just now; `take` will say so
            self.connection.send(task)

    def take(self) -> tuple[Task, Result | Died]:
        task, self.task = self.task, None
        if task is None:
            raise ValueError("task must be given before its answer is taken")
        try:
            failure, answer = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            self.connection.close()
            return task, Died(int(self._item.value), self._process.exitcode)
        if failure:
            raise OpenwitError(failure)
        return task, answer

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()
        self.connection.close()


def _serve(
    function: Callable[[Any, Report], Any], connection: "Connection[Any, Any]", item: Any
) -> None:
    # The terminal sends an interrupt to all; the driver alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def report(number: int) -> None:
        item.value = number

    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            answer = ("", function(task, report))
        except Exception:
            answer = (traceback.format_exc().strip().rpartition("\n")[2], None)
        connection.send(answer)
