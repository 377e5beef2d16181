"""The selection is the same with one process or two, and whatever is killed on the way."""

import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from pipeline.engine.driver import open_driver
from pipeline.engine.options import EngineSettings
from tests.pipeline.selection.test_laws import QUERIES, Case, balance, digests

REPOSITORY = pathlib.Path(__file__).parents[3]
SECONDS = 120
Digests = list[tuple[str, str]]


def make_case(mode: str) -> Case:
    pairs = [hashlib.sha256(str(number).encode()).digest()[:16] for number in range(400)]
    matched = {
        pair: [query for query in range(QUERIES) if number % (query + 1) == 0]
        for number, pair in enumerate(pairs)
    }
    lost = frozenset(pairs[::7])
    return Case(matched=matched, lost=lost, mode=mode, cap=30, wide_cap=60, seed=1)


def select(engine: Any, mode: str) -> Digests:
    case = make_case(mode)
    pairs = sorted(case.survivors)
    units = [pairs[start::8] for start in range(8)]
    balanced = balance(engine, case, units)
    return [*digests(balanced.pairs), *digests(balanced.queries)]


def on_beam(root: pathlib.Path, mode: str, running: str, workers: int) -> Digests:
    settings = EngineSettings(mode=running, workers=workers)  # type: ignore[arg-type]
    with open_driver(str(root), settings) as engine:
        return select(engine, mode)


@pytest.mark.timeout(300)  # each step starts its own workers
@pytest.mark.parametrize(
    ("mode", "running", "workers"),
    [
        pytest.param("exact", "processes", 1, marks=pytest.mark.slow),
        ("exact", "processes", 2),
        pytest.param("probabilistic", "memory", 1, marks=pytest.mark.slow),
        pytest.param("strict", "memory", 1, marks=pytest.mark.slow),
    ],
)
def test_any_number_of_processes_writes_the_bytes_of_a_plain_loop(
    plain_engine: Any, tmp_path: pathlib.Path, mode: str, running: str, workers: int
) -> None:
    expected = select(plain_engine, mode)
    assert on_beam(tmp_path / "beam", mode, running, workers) == expected


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "records",
    [pytest.param(1, marks=pytest.mark.slow), 12, pytest.param(18, marks=pytest.mark.slow)],
)
def test_a_run_killed_after_some_units_goes_on_to_the_same_bytes(
    plain_engine: Any, tmp_path: pathlib.Path, records: int
) -> None:
    expected = select(plain_engine, "exact")
    root = tmp_path / "beam"
    script = (
        "import pathlib\n"
        "from tests.pipeline.selection.test_laws_on_beam import on_beam\n"
        f"on_beam(pathlib.Path({str(root)!r}), 'exact', 'processes', 2)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY) as run:  # noqa: S603
        end = time.monotonic() + SECONDS
        while len(list(root.glob("stages/balance*/unit-*.json"))) < records:
            assert run.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)
        os.kill(run.pid, signal.SIGKILL)
    assert on_beam(root, "exact", "memory", 1) == expected
