"""Killed at any moment, a command leaves the old state or the new one; repeating finishes it."""

import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
from collections.abc import Callable

import pytest

from manifests.derivation.filter import filter_dataset
from manifests.format import Manifest
from tests.manifests.conftest import jpeg

ROOT = pathlib.Path(__file__).parents[3]
STATES = {
    "split": {"nothing", "revision 0", "revision 0, revision 0"},
    "drop": {"revision 0", "revision 1"},
}


def write_foreign(folder: pathlib.Path) -> None:
    folder.mkdir()
    for shard in range(2):
        with tarfile.open(folder / f"{shard}.tar", "w") as opened:
            for number in range(6):
                key = f"{shard}{number}"
                for name, data in ((f"{key}.jpg", jpeg(int(key))), (f"{key}.txt", b"dog " * 5)):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    opened.addfile(info, io.BytesIO(data))


@pytest.mark.timeout(240)  # some twenty children
@pytest.mark.parametrize(
    "command", ["sample", "filter", "split", "merge", "build", "build-out", "drop"]
)
def test_a_killed_command_is_finished_by_the_next_one(
    make_dataset: Callable[..., Manifest], tmp_path: pathlib.Path, command: str
) -> None:
    source = make_dataset(40, 10, name="a")
    filter_dataset(source.root, str(tmp_path / "b"), where="width > 0")
    write_foreign(tmp_path / "foreign")
    script = ROOT / "tests/manifests/derivation/killer.py"
    done = subprocess.run(  # noqa: S603 (our words)
        [sys.executable, str(script), command, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads(done.stdout)
    assert len(results) >= 6
    assert all(result["killed"] for result in results)
    assert {result["left"] for result in results} <= STATES.get(command, {"nothing", "revision 0"})
    assert all(result["same"] for result in results)
