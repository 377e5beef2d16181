"""What all benchmarks share: CPU seconds in alternating rounds, missing peers, reports."""

import importlib
import json
import pathlib
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any

from manifests.base.console import table_text
from manifests.base.errors import ExitCode

Work = Callable[[], object]


class MissingError(Exception):
    """A peer or its data cannot be had; the message says what, and the way out."""


def need(module: str, package: str) -> Any:
    """Import a peer.

    Raises:
        MissingError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingError(f"{package}: not installed: pip install 'openwit[bench]'") from None


def cpu_seconds(work: Work) -> float:
    """Return user and system time of a call, that of its ended children included."""
    before = _used()
    work()
    return _used() - before


def _used() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def reset_peak() -> None:
    """Make the kernel's mark of peak memory begin anew (Linux)."""
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """Return the most memory that this process has had since its start or `reset_peak` (Linux).

    Not `ru_maxrss`, in which the process counts that began this one.
    """
    text = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if "VmHWM" in line)


def alternate(works: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """Return the CPU seconds of each, best of `rounds`; all take turns, so all meet the same noise.

    One round more goes before, to warm caches.
    """
    best: dict[str, float] = {}
    for number in range(rounds + 1):
        for name, work in works.items():
            seconds = cpu_seconds(work)
            if number:
                best[name] = min(seconds, best.get(name, seconds))
    return best


def report(
    columns: list[str], rows: list[dict[str, Any]], metrics: Mapping[str, float], path: str
) -> None:
    """Print a table and the metrics, and write those as one flat JSON object."""
    sys.stdout.write(table_text(columns, rows) + "\n\n")
    for name, value in metrics.items():
        sys.stdout.write(f"{name:>20}  {value:.4g}\n")
    if path:
        text = json.dumps(dict(metrics), indent=2)
        pathlib.Path(path).write_text(text + "\n", encoding="utf-8")


def run(main: Callable[[], None]) -> None:
    """Run a benchmark and exit: 3, with one line, if a peer or data cannot be had."""
    try:
        main()
    except MissingError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(ExitCode.UNFINISHED)
