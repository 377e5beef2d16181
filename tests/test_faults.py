"""Killed at any moment, out of space, done twice at once: never a wrong dataset."""

import os
import pathlib
import random
import resource
import signal
import subprocess
import time

import pytest

from pipeline.engine.stage_dir import spec_digest
from pipeline.engine.work import run_unit
from tests.pipeline.engine.engine_kernels import make_step, make_units, tree
from tests.whole_run import ROOT, command, make_job, run, run_bytes

KILLS = 50
SHORTEST_SECONDS = 1.0
"""Before this a run has only imported."""
POLL_SECONDS = 0.002


def start(config: pathlib.Path) -> subprocess.Popen[bytes]:
    words = command("pipeline", "run", config, "--set", 'engine.mode="memory"')
    return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603


def kill_after(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kill a run after some seconds; tell whether it was still at work."""
    with process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    assert process.returncode == 0
    return False


@pytest.mark.slow
@pytest.mark.timeout(2400)  # for a machine that does much else: one such took 2190 s
def test_runs_killed_at_random_moments_end_with_the_same_bytes(
    finished: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    expected = run_bytes(finished)
    moments = random.Random(7)  # noqa: S311 (a seed, no secret)
    begun = time.monotonic()
    assert start(make_job(tmp_path / "whole")).wait() == 0
    whole_seconds = time.monotonic() - begun
    killed = folders = 0
    config = make_job(tmp_path / "0")
    while killed < KILLS:
        if kill_after(start(config), moments.uniform(SHORTEST_SECONDS, whole_seconds)):
            killed += 1
            continue
        assert run_bytes(config.parent) == expected
        folders += 1
        config = make_job(tmp_path / str(folders))
    assert start(config).wait() == 0
    assert run_bytes(config.parent) == expected


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_killed_at_every_commit_end_with_the_same_bytes(
    finished: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    steps = [path.parent.name for path in (finished / "run" / "stages").glob("*/stage.json")]
    config = make_job(tmp_path)
    killed = set()
    for _ in range(len(steps) + 1):
        process = start(config)
        committed = set(steps) - {step for step in steps if is_committed(tmp_path, step)}
        while process.poll() is None and not any(
            is_committed(tmp_path, each) for each in committed
        ):
            time.sleep(POLL_SECONDS)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed |= {each for each in committed if is_committed(tmp_path, each)}
    assert len(killed) > len(steps) // 2  # two commits may follow each other faster than a look
    assert start(config).wait() == 0
    assert run_bytes(tmp_path) == run_bytes(finished)


def is_committed(folder: pathlib.Path, step: str) -> bool:
    return (folder / "run" / "stages" / step / "stage.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_run_that_may_write_no_more_says_so_and_ends_well_once_it_may(
    finished: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    config = make_job(tmp_path)
    words = command("pipeline", "run", config, "--set", 'engine.mode="memory"')
    bound = 60_000
    done = subprocess.run(  # noqa: S603 (words of this file)
        words,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bound, bound)),
    )
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "File too large" in done.stderr
    done = run(config, 'engine.mode="memory"')
    assert done.returncode == 0, done.stderr
    assert run_bytes(tmp_path) == run_bytes(finished)


def test_a_unit_done_twice_at_the_same_time_is_done_once(tmp_path: pathlib.Path) -> None:
    unit = make_units(tmp_path / "in", [5000])[0]
    step = make_step()
    spec = spec_digest(step, [])
    run_unit(step, spec, unit, str(tmp_path / "one"))
    pids = []
    for _ in range(4):
        pid = os.fork()
        if not pid:
            for _ in range(10):
                run_unit(step, spec, unit, str(tmp_path / "many"))
            os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    assert tree(tmp_path / "many") == tree(tmp_path / "one")
