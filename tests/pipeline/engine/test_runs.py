import contextlib
import json
import pathlib

import pytest

from manifests.base.errors import RefusedError
from pipeline.engine.runs import Meter, open_run


def test_runs_are_numbered_and_say_what_their_steps_took(tmp_path: pathlib.Path) -> None:
    for number in (1, 2):
        with open_run(str(tmp_path)) as run:
            assert run.number == number
            run.add({"step": "match", "seconds": number})
    assert json.loads((tmp_path / "runs" / "2.json").read_bytes()) == {
        "steps": [{"step": "match", "seconds": 2}]
    }


def test_a_run_that_fails_is_written_down_too(tmp_path: pathlib.Path) -> None:
    with contextlib.suppress(KeyError), open_run(str(tmp_path)) as run:
        run.add({"step": "match"})
        raise KeyError
    assert (tmp_path / "runs" / "1.json").exists()


def test_a_root_that_cannot_be_written_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match=r"file/root: cannot be written: Not a directory"):
        open_run(str(tmp_path / "file" / "root")).__enter__()


def test_a_meter_reads_time_cpu_and_memory() -> None:
    meter = Meter()
    sum(range(3_000_000))
    used = meter.read()
    assert 0 < used["cpu_seconds"] < 30
    assert used["peak_bytes"] > 10 << 20
