import json
import os
import pathlib
import subprocess
import sys

import pytest

from manifests.base.errors import RefusedError
from trainer.run_dir import RunDir, claim

HOLD = """
import os, pathlib, sys
from trainer.run_dir import claim
with claim(pathlib.Path(sys.argv[1])):
    os.write(1, f"{os.fork()}\\n".encode())
    sys.stdin.read()
"""


def test_a_run_is_made_and_can_be_taken_again(tmp_path: pathlib.Path) -> None:
    with claim(tmp_path / "a" / "run") as folder:
        folder.write_status("running")
        folder.write_config("x = 1\n")
    with claim(tmp_path / "a" / "run"):
        assert (folder.path / "config.toml").read_text() == "x = 1\n"


def test_a_run_killed_before_it_wrote_anything_can_be_taken(tmp_path: pathlib.Path) -> None:
    with claim(tmp_path / "run"):
        pass
    with claim(tmp_path / "run") as folder:
        folder.write_status("failed", "why", 3)
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == {
        "kind": "openwit-run",
        "status": "failed",
        "reason": "why",
        "exit_code": 3,
    }


def test_a_folder_of_others_is_refused_and_left_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RefusedError, match="not empty, and no RUN of ours"):
        claim(tmp_path).__enter__()
    assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(RefusedError, match="not a folder"):
        claim(tmp_path / "notes.txt").__enter__()
    with pytest.raises(RefusedError, match="cannot be written: Not a directory"):
        claim(tmp_path / "notes.txt" / "run").__enter__()


def test_a_run_is_held_by_one_process_even_after_its_children_outlive_it(
    tmp_path: pathlib.Path,
) -> None:
    # The holder forks a child that stays, as data workers do for a while after a kill.
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(  # noqa: S603 (words of this file)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        child = max(int(holder.stdout.readline()), int(holder.stdout.readline()))
        message = rf"held by process {holder.pid} on {os.uname().nodename}: wait for it"
        with pytest.raises(RefusedError, match=message):
            claim(tmp_path / "run").__enter__()
        holder.kill()
        os.waitpid(holder.pid, 0)
        with claim(tmp_path / "run"):
            os.kill(child, 0)  # is still there


def test_bad_samples_of_steps_to_be_done_again_are_forgotten(tmp_path: pathlib.Path) -> None:
    folder = RunDir(tmp_path)
    folder.forget_bad_samples(3)
    lines = [json.dumps({"key": str(step), "step": step}) + "\n" for step in (1, 3, 4)]
    folder.bad_samples.write_text("".join(lines) + '{"key": "cut off by a ki')
    folder.forget_bad_samples(3)
    assert folder.bad_samples.read_text() == "".join(lines[:2])
