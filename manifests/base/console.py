"""What a command shows on stderr while it works: a bar, or a plain line every 10 seconds.

Results go to stdout and never through this module.
"""

import contextlib
import logging
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

LINE_SECONDS = 10.0
"""How often a plain line is printed."""


class Progress:
    """How far a piece of work is; `update` may be called as often as one likes."""

    def __init__(
        self,
        name: str,
        total: int,
        *,
        stream: TextIO | None = None,
        bar: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to measure.

        Args:
            name: what is being done, at the head of each line.
            total: how many units there are.
            stream: where to write; standard error by default.
            bar: whether to draw a bar; by default when the stream is a terminal.
            clock: seconds from any fixed point.
        """
        self._name = name
        self._total = total
        self._stream = stream or sys.stderr
        self._clock = clock
        self._start = self._printed = clock()
        self._first: int | None = None
        draws = self._stream.isatty() if bar is None else bar
        self._bar = _Bar(name, total, self._stream) if draws else None

    def update(self, units: int, rows: int) -> None:
        """Say how many units and rows are done."""
        if self._first is None:
            self._first = rows
        now = self._clock()
        rate = (rows - self._first) / max(now - self._start, 1e-9)
        if self._bar:
            self._bar.update(units, f"{rows} rows {rate:.0f} rows/s")
        elif now - self._printed >= LINE_SECONDS:
            self._printed = now
            share = units / max(self._total, 1)
            left = (now - self._start) * (1 - share) / share if share else None
            self._stream.write(
                f"{self._name} {share:.0%} units {units}/{self._total} rows {rows} "
                f"{rate:.0f} rows/s left {_clock_text(left)}\n"
            )
            self._stream.flush()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.close()


class _Bar:
    def __init__(self, name: str, total: int, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rows]}"),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._task = self._rich.add_task(name, total=total, rows="")
        self._rich.start()

    def update(self, units: int, rows: str) -> None:
        self._rich.update(self._task, completed=units, rows=rows)

    def close(self) -> None:
        self._rich.stop()


@contextlib.contextmanager
def progress(name: str, total: int, *, bar: bool | None = None) -> Iterator[Progress]:
    """Give a `Progress` on standard error that is taken away at the end of the block."""
    shown = Progress(name, total, bar=bar)
    try:
        yield shown
    finally:
        shown.close()


def say(line: str) -> None:
    """Print a line for people on standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@contextlib.contextmanager
def quiet_logs() -> Iterator[None]:
    """Keep warnings of a library's logger off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def printable(text: str) -> str:
    r"""Return text from the web with control, bidi and escape characters shown as `\u{...}`."""
    return "".join(f"\\u{{{ord(char):x}}}" if _is_unseen(char) else char for char in text)


def _is_unseen(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] == "C" or category in ("Zl", "Zp")


def table_text(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as aligned text: numbers to the right, thousands marked; the rest to the left."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [
        max(len(column), *(len(line[index]) for line in cells)) if cells else len(column)
        for index, column in enumerate(columns)
    ]
    numeric = [
        bool(rows) and all(isinstance(row.get(column), (int, float, type(None))) for row in rows)
        for column in columns
    ]
    lines = []
    for line in [list(columns), *cells]:
        aligned = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def bytes_text(count: float) -> str:
    """Return a number of bytes for people, as in `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _clock_text(seconds: float | None) -> str:
    if seconds is None:
        return "--:--:--"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"
