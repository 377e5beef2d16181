"""Whole trainings on several processes, against one process."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from manifests.base.errors import ConfigError, OpenwitError
from manifests.format import Manifest
from tests.trainer.many import run_ranks
from tests.trainer.toy import BASE as BASE_SETTINGS
from tests.trainer.toy import events, losses, plan_for, write_dataset
from trainer import jobs
from trainer.data.loader import Chunk
from trainer.distributed import world_size
from trainer.training import loop, step

BASE = ("train.model.name=nano-16", "train.samples=96", "train.micro_batch=2")
pytestmark = pytest.mark.usefixtures("nano")
Seen = dict[tuple[int, int], str]
"""Step and chunk to a digest of its keys, pixels and tokens."""


def is_last() -> bool:
    return int(os.environ.get("RANK", "-1")) == world_size() - 1


def digest(chunk: Chunk) -> str:
    keys = "".join(chunk.rows.gather(lambda table: table.keys).tolist()).encode()
    tensors = (chunk.tensors.images, chunk.tensors.tokens, chunk.tensors.valid)
    return hashlib.sha256(keys + b"".join(each.numpy().tobytes() for each in tensors)).hexdigest()


def train(
    manifest: Manifest, run: pathlib.Path, *settings: str, kill_at: int = 0, fail_at: int = 0
) -> Seen:
    """Train, and return what this rank has seen; if wanted, the last one ends at a step."""
    seen = Seen()
    backward = step.Stepper.backward

    def watched(self: step.Stepper, number: int, batch: Sequence[Chunk]) -> Any:
        seen.update({(number, chunk.number): digest(chunk) for chunk in batch})
        if is_last() and kill_at == number > 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if is_last() and fail_at == number > 0:
            raise OpenwitError("00000001.tar: cannot be opened")
        return backward(self, number, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step.Stepper, "backward", watched)
        jobs.train(plan_for(manifest, *BASE, *settings), run)
    return seen


def kept_out(manifest: Manifest, run: pathlib.Path, *settings: str, **how: int) -> Any:
    """Train and return how the run ends in error: class, exit code, message."""
    try:
        train(manifest, run, *settings, **how)
    except OpenwitError as error:
        return type(error).__name__, error.exit_code, str(error)
    return "finished"


def merged(parts: Sequence[Seen]) -> Seen:
    assert sum(map(len, parts)) == len({key for part in parts for key in part})
    return {key: value for part in parts for key, value in part.items()}


def run_json(run: pathlib.Path) -> dict[str, object]:
    return dict(json.loads((run / "run.json").read_text()))


def test_two_processes_train_as_one(
    toy: Manifest, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    alone = train(toy, tmp_path / "one")
    capfd.readouterr()
    together = merged(run_ranks(2, train, toy, tmp_path / "two"))
    assert together == alone
    assert len(together) == 12 * 4
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    assert losses(tmp_path / "two")[1] == pytest.approx(losses(tmp_path / "one")[1], rel=1e-6)
    coverage = [
        [each["coverage"] for each in events(tmp_path / run, "epoch")] for run in ("one", "two")
    ]
    assert coverage[0] == coverage[1]
    # One of the two writes.
    assert [each["step"] for each in events(tmp_path / "two", "train")] == list(range(1, 13))
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("train step")]
    assert len(said) == 12
    assert events(tmp_path / "two", "start")[0]["processes"] == 2
    assert run_json(tmp_path / "two")["status"] == "finished"


@pytest.mark.parametrize(
    ("before", "after", "workers"),
    [
        (2, 1, 0),
        pytest.param(1, 4, 1, marks=pytest.mark.slow),
        pytest.param(4, 2, 2, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_with_another_number_of_processes_and_workers(
    toy: Manifest, tmp_path: pathlib.Path, before: int, after: int, workers: int
) -> None:
    torch.set_num_threads(1)
    whole, run = tmp_path / "whole", tmp_path / "run"
    every = ("train.checkpoint.every_steps=2", "train.timeout_s=15")
    alone = train(toy, whole, *every)
    *ends, last = run_ranks(before, kept_out, toy, run, *every, kill_at=9)
    assert last is None
    for name, code, message in ends:
        assert (name, code) == ("LostRankError", 1)
        assert "another one ended, or did not answer within 15 s" in message
    if before > 1:
        assert run_json(run)["status"] == "failed"
    parts = run_ranks(after, train, toy, run, *every, f"train.data.workers={workers}")
    seen = merged(parts)
    first = min(number for number, _ in seen)
    assert first in (6, 8)  # the last checkpoint may not have been whole
    assert seen == {key: value for key, value in alone.items() if key[0] >= first}
    found, expected = losses(run), losses(whole)
    assert found[first + 1] == pytest.approx(expected[first + 1], rel=1e-5)
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_losses_are_equal_bit_by_bit_on_as_many_processes(
    toy: Manifest, tmp_path: pathlib.Path
) -> None:
    every = ("train.checkpoint.every_steps=4", "train.timeout_s=15")
    run_ranks(2, train, toy, tmp_path / "whole", *every)
    run_ranks(2, kept_out, toy, tmp_path / "run", *every, kill_at=9)
    run_ranks(2, train, toy, tmp_path / "run", *every)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_an_error_of_one_rank_is_told_once_and_ends_all(
    toy: Manifest, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    message = "00000001.tar: cannot be opened"
    shown = f"rank 1: {message}"
    ends = run_ranks(2, kept_out, toy, tmp_path / "run", fail_at=3)
    assert ends == [
        ("LostRankError", 3, shown),
        ("OpenwitError", 3, shown.removeprefix("rank 1: ")),
    ]
    assert run_json(tmp_path / "run")["reason"] == shown
    assert run_json(tmp_path / "run")["exit_code"] == 3
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert errors == [f"error: {shown}"]  # by rank 1; rank 0 leaves it to the command


def test_what_all_ranks_find_is_told_by_one(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = write_dataset(tmp_path / "d", 24, 10, dict.fromkeys(range(4), b""))
    strict = ("train.bad.max_rate=0.1", "train.bad.min_seen=20")
    (first, second) = run_ranks(2, kept_out, dataset, tmp_path / "run", *strict)
    assert first == second
    assert first[:2] == ("TooManyBadSamplesError", 5)
    lines = (tmp_path / "run" / "bad_samples.jsonl").read_text().splitlines()
    assert len({json.loads(line)["key"] for line in lines}) == len(lines) == 4
    path = pathlib.Path(dataset.root, "shards", "00000002.tar")
    path.write_bytes(path.read_bytes()[:-1])
    (first, second) = run_ranks(2, kept_out, dataset, tmp_path / "other")
    assert (first[:2], second[:2]) == (("OpenwitError", 3), ("LostRankError", 3))
    assert "00000002.tar: another number of bytes" in first[2] == second[2]
    assert "error" not in capfd.readouterr().err


def stopped(manifest: Manifest, run: pathlib.Path) -> Any:
    """Train; the last rank gets a signal at step 3."""

    def interrupt(line: str) -> None:
        if line.startswith("train step 3/"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "say", interrupt)
        return kept_out(manifest, run)


def test_a_signal_to_one_rank_stops_all_after_the_same_step(
    toy: Manifest, tmp_path: pathlib.Path
) -> None:
    ends = run_ranks(2, stopped, toy, tmp_path / "run")
    assert {end[:2] for end in ends} == {("StoppedError", 75)}
    assert all("stopped by SIGTERM after step 3 of 12" in end[2] for end in ends)
    assert [each["step"] for each in events(tmp_path / "run", "checkpoint")] == [3]


def test_shares_that_are_not_equal_are_refused(
    toy: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match=r"8 has 4 parts of 2: 3 processes .*: start 2,"):
        plan_for(toy, *BASE)
    with pytest.raises(ConfigError, match=r"8 has 8 parts of 1: 3 processes .*: start 2,"):
        plan_for(toy)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert plan_for(toy).chunks == 4


@pytest.mark.slow
@pytest.mark.timeout(300)  # three processes import torch
@pytest.mark.parametrize("kill", [False, True])
def test_torchrun_starts_a_training_on_two_processes(
    toy: Manifest, tmp_path: pathlib.Path, kill: bool
) -> None:
    run, samples = tmp_path / "run", 8000 if kill else 32
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("-m", "trainer", "run", f"{toy.root}/manifest.json", "--output", str(run)),
        *(f"--set={each}" for each in (*BASE_SETTINGS, f"train.samples={samples}")),
    ]
    with (
        (tmp_path / "said").open("wb") as said,
        subprocess.Popen(command, stdout=said, stderr=said) as process,  # noqa: S603 (own words)
    ):
        if kill:
            kill_second_rank(process, run / "metrics.jsonl")
        code = process.wait(120)
    lines = (tmp_path / "said").read_text().splitlines()
    status = run_json(run)
    if not kill:
        assert (code, status["status"]) == (0, "finished")
        assert sum(line.startswith("train step") for line in lines) == 4
        assert sum(line.endswith("finished: 4 steps") for line in lines) == 1
        return
    assert code != 0
    assert (status["status"], status["exit_code"]) == ("failed", 1)
    assert sum(line.startswith("error: rank 0 of 2: another one ended") for line in lines) == 1


def kill_second_rank(process: subprocess.Popen[bytes], metrics: pathlib.Path) -> None:
    """Kill rank 1 of a torchrun once steps are logged."""
    deadline = time.monotonic() + 120
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 4:
        if time.monotonic() > deadline or process.poll() is not None:
            process.terminate()
            raise AssertionError("no step was done")
        time.sleep(0.1)
    os.kill(int(children.read_text().split()[1]), signal.SIGKILL)
