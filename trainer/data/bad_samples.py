"""Samples that cannot be used: each is recorded with its reason, and too many stop the run."""

import dataclasses
import enum
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TooManyBadSamplesError

MAX_DETAIL = 200


class BadReason(enum.StrEnum):
    """Why a sample is masked."""

    READ_ERROR = "read_error"
    READ_SHORT = "read_short"
    DECODE_ERROR = "decode_error"
    DECODE_BOMB = "decode_bomb"
    """More pixels than `max_pixels`."""
    EMPTY_TEXT = "empty_text"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BadConfig:
    """How many bad samples a run endures."""

    max_rate: float = 0.001
    """Bad samples over seen ones; provisional."""
    min_seen: int = 10_000
    """Samples to see before the rate counts; provisional."""
    max_in_row: int = 100
    """Bad samples that follow each other in training order; Energon's tolerance."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_rate <= 1:
            raise ValueError(f"max_rate must be from 0 to 1, got {self.max_rate}")
        if self.min_seen < 0:
            raise ValueError(f"min_seen must be at least 0, got {self.min_seen}")
        if self.max_in_row < 1:
            raise ValueError(f"max_in_row must be at least 1, got {self.max_in_row}")


@dataclasses.dataclass(frozen=True, slots=True)
class BadSample:
    """A sample of a chunk that is masked."""

    row: int
    """Its place in the chunk."""
    reason: BadReason
    detail: str = ""
    """Class and text of the exception."""


@dataclasses.dataclass(slots=True)
class BadCounts:
    """Seen and bad samples of a run so far; part of a checkpoint, equal on all ranks."""

    seen: int = 0
    bad: int = 0
    in_row: int = 0

    def add(self, valid: NDArray[np.bool_], limits: BadConfig) -> None:
        """Count one global batch.

        Args:
            valid: shape (global_batch,), in training order; False for a bad sample.
            limits: when to stop.

        Raises:
            TooManyBadSamplesError: if a limit is passed.
        """
        longest = self._longest_run(valid)
        self.seen += len(valid)
        self.bad += int((~valid).sum())
        if longest >= limits.max_in_row:
            raise TooManyBadSamplesError(
                f"bad samples: {longest} in a row, max_in_row is {limits.max_in_row}: read "
                "bad_samples.jsonl, then run openwit-manifest verify --deep"
            )
        if self.seen >= limits.min_seen and self.bad > limits.max_rate * self.seen:
            raise TooManyBadSamplesError(
                f"bad samples: {self.bad} of {self.seen}, max_rate is {limits.max_rate}: read "
                "bad_samples.jsonl, then run openwit-manifest verify --deep"
            )

    def _longest_run(self, valid: NDArray[np.bool_]) -> int:
        """Return the longest run of bad samples that ends in this batch; keep the open one."""
        good = np.flatnonzero(valid)
        if not len(good):
            self.in_row += len(valid)
            return self.in_row
        inside = int(np.diff(good).max(initial=1)) - 1
        longest = max(self.in_row + int(good[0]), inside)
        self.in_row = len(valid) - 1 - int(good[-1])
        return max(longest, self.in_row)


def append_records(path: pathlib.Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append records to `bad_samples.jsonl`, one a line."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
