"""What the outside asks of a training, heard at the ends of steps."""

import contextlib
import signal
import types
from collections.abc import Iterator

from trainer.distributed import Ranks

STOPS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """SIGTERM and SIGINT to stop, SIGUSR1 to save; sent to one rank, they are meant for all."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        self._heard = dict.fromkeys((*STOPS, signal.SIGUSR1), False)

    def _hear(self, number: int, frame: types.FrameType | None) -> None:
        is_second = number == signal.SIGINT and self._heard[signal.SIGINT]
        self._heard[signal.Signals(number)] = True
        if is_second:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Hear signals within the block."""
        before = [signal.signal(number, self._hear) for number in self._heard]
        try:
            yield
        finally:
            for number, handler in zip(self._heard, before, strict=True):
                signal.signal(number, handler)

    def agree(self, ranks: Ranks, *, save: bool) -> tuple[str, bool]:
        """Return, on all ranks, the name of the signal to stop by, if any, and whether to save.

        Args:
            ranks: all call this together.
            save: whether this rank wants to save anyway.
        """
        mine = [*self._heard.values(), save]
        self._heard[signal.SIGUSR1] = False
        *stops, usr1, due = (bool(count) for count in ranks.sum(mine))
        names = [number.name for number, was in zip(STOPS, stops, strict=True) if was]
        return names[0] if names else "", usr1 or due
