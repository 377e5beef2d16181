"""RUN, the folder of one training: who holds it, how it ended, what is in it.

config.toml          all settings
run.json             status and reason
metrics.jsonl        events
bad_samples.jsonl    samples that could not be used
tb/                  TensorBoard
eval/                the last evaluation of each set
checkpoints/         see `trainer.checkpoint`
queries/             what was learnt by query, at each checkpoint
nonfinite/           what a step held whose loss or gradient was not finite
report/              how it went, as report.md, .html and .json
"""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import Literal

from manifests.base import storage
from manifests.base.errors import RefusedError
from trainer.checkpoint import FOLDER

LOCK, STATUS = "lock", "run.json"
KIND = "openwit-run"
Status = Literal["running", "finished", "stopped", "failed"]


class RunDir:
    """The paths of a RUN, and its status."""

    def __init__(self, path: pathlib.Path) -> None:
        """Name the RUN at `path`; `claim` makes it."""
        self.path = path
        self.checkpoints = path / FOLDER
        self.metrics = path / "metrics.jsonl"
        self.bad_samples = path / "bad_samples.jsonl"
        self.tensorboard = path / "tb"
        self.nonfinite = path / "nonfinite"
        self.queries = path / "queries"
        self.evaluations = path / "eval"
        self.report = path / "report"

    def write_config(self, toml: str) -> None:
        """Write the settings that the run goes by."""
        storage.write_atomic(str(self.path / "config.toml"), toml.encode())

    def write_status(self, status: Status, reason: str = "", exit_code: int = 0) -> None:
        """Write how the run stands or ended; launchers may hide the exit code."""
        value = {"kind": KIND, "status": status, "reason": reason, "exit_code": exit_code}
        storage.write_atomic(str(self.path / STATUS), json.dumps(value, indent=1).encode() + b"\n")

    def forget_bad_samples(self, step: int) -> None:
        """Take away the bad samples of steps after `step`, which will be done again."""
        if not self.bad_samples.exists():
            return
        lines = self.bad_samples.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= step]
        storage.write_atomic(str(self.bad_samples), b"".join(kept))


@contextlib.contextmanager
def claim(path: pathlib.Path) -> Iterator[RunDir]:
    """Take a RUN for this process, making it if it is not there; the lock dies with the process.

    Raises:
        RefusedError: if another process holds it, or the folder holds something else.
    """
    if path.exists() and not path.is_dir():
        raise RefusedError(f"{path}: not a folder: choose another --output")
    names = {each.name for each in path.iterdir()} if path.exists() else set()
    if names - {LOCK} and STATUS not in names:
        raise RefusedError(f"{path}: not empty, and no RUN of ours: choose another --output")
    with contextlib.ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((path / LOCK).open("a+", encoding="utf-8"))
        except OSError as error:
            raise RefusedError(
                f"{path}: cannot be written: {error.strerror}: choose another --output"
            ) from None
        try:
            # Not flock: data workers would inherit it, and hold it for a while after a kill.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise RefusedError(
                f"{path}: held by {file.read().strip() or 'another process'}: wait for it, or "
                "choose another --output"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield RunDir(path)
