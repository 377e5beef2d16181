"""ROOT/runs: one driver at a time, the run's number, and all that may differ between equal runs."""

import contextlib
import fcntl
import json
import os
import pathlib
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

from manifests.base.errors import RefusedError
from pipeline.engine import files
from pipeline.engine.units import canonical_json

RSS_BYTES = 1 if sys.platform == "darwin" else 1 << 10
"""Unit of `ru_maxrss`."""


class Run:
    """One run: where it writes what it saw, apart from all that is committed."""

    def __init__(self, root: str, number: int) -> None:
        """Made by `open_run`."""
        self.number = number
        self.folder = files.join(root, "runs", str(number))
        self._facts: list[dict[str, Any]] = []

    def add(self, facts: dict[str, Any]) -> None:
        """Keep what one step took."""
        self._facts.append(facts)

    def save(self) -> None:
        """Write ROOT/runs/<number>.json."""
        files.write_atomic(f"{self.folder}.json", canonical_json({"steps": self._facts}))


@contextlib.contextmanager
def open_run(root: str) -> Iterator[Run]:
    """Take ROOT for this process and number the run.

    Raises:
        RefusedError: if another process holds ROOT, or it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            files.make_folder(files.join(root, "runs"))
            if files.is_local(root):
                stack.enter_context(_locked(root))
            last = files.join(root, "runs", "last")
            before = json.loads(files.read_bytes(last)) if files.size_bytes(last) else 0
            files.write_atomic(last, canonical_json(before + 1))
        except OSError as error:
            raise RefusedError(
                f"{root}: cannot be written: {error.strerror or error}: choose another root"
            ) from None
        run = Run(root, before + 1)
        try:
            yield run
        finally:
            with contextlib.suppress(OSError):  # a full disk must not hide the error before it
                run.save()


@contextlib.contextmanager
def _locked(root: str) -> Iterator[None]:
    with pathlib.Path(root, "runs", "lock").open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RefusedError(
                f"{root}: process {file.read().strip() or '?'} is at work here: wait for it, "
                "or choose another root"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield  # the lock ends with the file


_forked = {"cpu_seconds": 0.0, "peak_bytes": 0}


def count_worker(cpu_seconds: float, peak_bytes: int) -> None:
    """Count what a worker has used that is not a child of this process."""
    _forked["cpu_seconds"] += cpu_seconds
    _forked["peak_bytes"] = max(_forked["peak_bytes"], peak_bytes)


class Meter:
    """Seconds, CPU-seconds and memory from its making on."""

    def __init__(self) -> None:
        """Begin to measure."""
        self._start = time.monotonic()
        self._cpu = used_cpu_seconds()

    def read(self) -> dict[str, float | int]:
        """Return what was used so far; worker processes count once they have ended."""
        own, children = (
            resource.getrusage(who).ru_maxrss * RSS_BYTES
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        return {
            "seconds": round(time.monotonic() - self._start, 3),
            "cpu_seconds": round(used_cpu_seconds() - self._cpu, 3),
            "peak_bytes": own,
            "peak_worker_bytes": max(children, _forked["peak_bytes"]),
        }


def used_cpu_seconds() -> float:
    """Return the CPU seconds of this process, of its children, and of workers that have ended."""
    return _forked["cpu_seconds"] + sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
