"""Checkpoints that are written while the training goes on, and disks that are full for a while."""

import concurrent.futures
import pathlib
import time
from collections.abc import Mapping

from torch import Tensor

from manifests.base.console import say
from manifests.base.errors import OpenwitError
from trainer.checkpoint import State, save
from trainer.metrics import Metrics

MAX_FAILED_SAVES = 3
"""Checkpoints in a row that the disk may refuse."""
SLOW_SECONDS = 20.0
"""torchrun kills its processes 30 seconds after it has asked them to stop."""


class Saver:
    """Writes checkpoints of the first rank, at most one at a time."""

    def __init__(self, folder: pathlib.Path, metrics: Metrics, *, keep: int) -> None:
        """Write into `folder`, of which the newest `keep` remain."""
        self._folder, self._metrics, self._keep = folder, metrics, keep
        self._pool = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._writing: tuple[int, concurrent.futures.Future[float]] | None = None
        self._failed = 0

    def save(
        self, state: State, tensors: Mapping[str, Mapping[str, Tensor]], *, must: bool
    ) -> None:
        """Copy the tensors and write them in the background; if it `must` be, wait for the end.

        Raises:
            OpenwitError: if it must be and the disk fails, or it has failed too often.
        """
        self.look(wait=True, must=False)
        copies = {
            name: {key: each.detach().to("cpu", copy=not must) for key, each in group.items()}
            for name, group in tensors.items()
        }
        self._writing = state.step, self._pool.submit(self._write, state, copies)
        self.look(wait=must, must=must)

    def _write(self, state: State, tensors: Mapping[str, Mapping[str, Tensor]]) -> float:
        start = time.monotonic()
        save(self._folder, state, tensors, keep=self._keep)
        return time.monotonic() - start

    def look(self, *, wait: bool = False, must: bool = False) -> None:
        """See what became of the checkpoint that is being written.

        Raises:
            OpenwitError: as `save`.
        """
        if self._writing is None or not (wait or self._writing[1].done()):
            return
        step, future = self._writing
        self._writing = None
        try:
            seconds = future.result()
        except OSError as error:
            self._failed += 1
            if must or self._failed == MAX_FAILED_SAVES:
                raise OpenwitError(
                    f"{self._folder}: no checkpoint could be written: {error}: make room"
                ) from None
            say(f"warning: {self._folder}: no checkpoint was written: {error}: going on")
            return
        self._failed = 0
        self._metrics.event("checkpoint", step, seconds=round(seconds, 3))
        if seconds > SLOW_SECONDS:
            say(
                f"warning: {self._folder}: a checkpoint took {seconds:.0f} s: give torchrun a "
                "longer --shutdown-timeout, or it kills the run while it writes one"
            )

    def close(self) -> None:
        """Let the checkpoint that is being written end."""
        self._pool.shutdown()
