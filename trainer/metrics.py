"""What a run writes down while it goes: metrics.jsonl and TensorBoard; neither can stop it."""

import collections
import dataclasses
import json
import math
import pathlib
import resource
import statistics
import sys
import time
import typing
from collections.abc import Callable
from typing import Any, Literal

from manifests.base.console import say

if typing.TYPE_CHECKING:  # a configuration is checked without torch, which takes seconds to import
    from torch.utils.tensorboard import SummaryWriter

Event = Literal[
    "start", "train", "epoch", "eval", "checkpoint", "queries", "bad", "nonfinite", "signal", "end"
]
RSS_BYTES = 1 if sys.platform == "darwin" else 1 << 10
"""Unit of `ru_maxrss`."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LogConfig:
    """What is logged, and how often."""

    every_s: float = 10.0
    """Seconds between two lines of training; 0: each step. First and last step always."""
    tensorboard: bool = True
    """Whether the numbers of training also go to TensorBoard."""
    per_query: bool = True
    """Whether losses are also kept by query, if the dataset has queries."""

    def __post_init__(self) -> None:
        if not 0 <= self.every_s < math.inf:
            raise ValueError(f"every_s must be at least 0, got {self.every_s}")


class Metrics:
    """Appends events to metrics.jsonl; those of training also go to TensorBoard."""

    def __init__(
        self, path: pathlib.Path | None, tensorboard: pathlib.Path | None = None, *, step: int = 0
    ) -> None:
        """Write to `path`, and below `tensorboard` if given, going on after `step` steps.

        Without a path nothing is written: one rank does it for all.
        """
        self._path = path
        self._broken = False
        self._board = _open_board(tensorboard, step) if tensorboard else None

    def event(self, event: Event, step: int, **values: Any) -> None:
        """Write one event, at `step` steps done."""
        if self._path is None:
            return
        record = {"event": event, "step": step, "time": round(time.time(), 3), **values}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(plain(record)) + "\n")
        except OSError as error:
            if not self._broken:
                say(f"warning: {self._path}: cannot be written: {error.strerror}: going on")
            self._broken = True
        if event == "train":
            self._on_board(lambda board: _add_scalars(board, step, values))

    def close(self) -> None:
        """Write out what TensorBoard still holds."""
        self._on_board(lambda board: board.close())

    def _on_board(self, act: "Callable[[SummaryWriter], Any]") -> None:
        if self._board is None:
            return
        try:
            act(self._board)
        except Exception as error:  # whatever it is, the training matters more
            self._board = None
            say(f"warning: TensorBoard: {type(error).__name__}: {error}: going on without")


def _add_scalars(board: "SummaryWriter", step: int, values: dict[str, Any]) -> None:
    for name, value in values.items():
        board.add_scalar(f"train/{name}", value, step)


def _open_board(folder: pathlib.Path, step: int) -> "SummaryWriter | None":
    try:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder), purge_step=step + 1)
    except Exception as error:  # not installed, or a full disk
        say(f"warning: TensorBoard: {type(error).__name__}: {error}: going on without")
        return None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What one step gave; means over the valid rows of its batch."""

    loss: float
    loss_i2t: float
    loss_t2i: float
    top1_i2t: float
    top1_t2i: float
    grad_norm: float
    """Of the whole gradient, before clipping."""


class Window:
    """The steps since the last line of training."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin at the present of `clock`, in seconds."""
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._start = self._clock()
        self._wait = 0.0
        self._seconds: list[float] = []
        self._samples = 0
        self._sums = collections.defaultdict[str, float](float)

    @property
    def age_s(self) -> float:
        """Seconds since the window began."""
        return self._clock() - self._start

    def step_begins(self) -> None:
        """Say that the next step has begun, with waiting for its batch."""
        self._step_start = self._clock()

    def batch_came(self) -> None:
        """Say that the wait is over."""
        self._wait += self._clock() - self._step_start

    def step_ends(self, result: StepResult, samples: int) -> None:
        """Count a step."""
        self._seconds.append(self._clock() - self._step_start)
        self._samples += samples
        for name, value in dataclasses.asdict(result).items():
            self._sums[name] += value

    def close(self) -> dict[str, float]:
        """Return means over the steps and the speed, and begin anew."""
        steps = len(self._seconds)
        seconds = max(self.age_s, 1e-9)
        ordered = sorted(self._seconds)
        values = {name: total / steps for name, total in self._sums.items()}
        values |= {
            "samples_per_s": self._samples / seconds,
            "data_wait_share": self._wait / seconds,
            "step_ms_p50": 1000 * statistics.median(ordered),
            "step_ms_p95": 1000 * ordered[math.ceil(0.95 * steps) - 1],
        }
        self._begin()
        return values


def peak_bytes() -> int:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_BYTES


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: an infinity, or what is no number, by its name."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
