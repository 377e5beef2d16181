"""Whole jobs on Beam: equal bytes in every mode, nothing done twice, failures named."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from manifests.base.errors import AccountingError, OpenwitError, RefusedError
from pipeline.engine.driver import open_driver
from pipeline.engine.units import Unit
from tests.pipeline.engine.engine_kernels import (
    REPOSITORY,
    make_step,
    make_units,
    run_both,
    settings,
    sort_step,
    tree,
)


def test_every_row_arrives_in_the_order_of_its_key(
    tmp_path: pathlib.Path, units: list[Unit]
) -> None:
    record = run_both(tmp_path, units)
    assert record.rows_in == record.rows_out == 4633
    assert len(record.units) == 4


def test_worker_processes_and_another_order_of_units_give_the_same_bytes(
    tmp_path: pathlib.Path, units: list[Unit], reference: dict[str, str]
) -> None:
    run_both(tmp_path, [units[index] for index in (3, 1, 4, 0, 2)], "processes")
    assert tree(tmp_path) == reference


def test_auto_gives_the_same_bytes(
    tmp_path: pathlib.Path, units: list[Unit], reference: dict[str, str]
) -> None:
    run_both(tmp_path, units, "auto")
    assert tree(tmp_path) == reference


def test_a_second_run_does_nothing_and_imports_no_beam(
    tmp_path: pathlib.Path, units: list[Unit], reference: dict[str, str]
) -> None:
    run_both(tmp_path, units)
    script = (
        "import sys, pathlib\n"
        "from tests.pipeline.engine.engine_kernels import COUNTS, make_step, make_units, run_both\n"
        f"run_both(pathlib.Path({str(tmp_path)!r}),"
        f" make_units(pathlib.Path({str(tmp_path / 'runs')!r}), COUNTS))\n"
        "assert 'apache_beam' not in sys.modules\n"
    )
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "stages").rglob("*")}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=REPOSITORY)  # noqa: S603
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "stages").rglob("*")}
    assert tree(tmp_path) == reference


def test_an_added_input_redoes_only_its_own_unit(
    tmp_path: pathlib.Path, units: list[Unit], reference: dict[str, str]
) -> None:
    run_both(tmp_path, units[:-1])
    first = next((tmp_path / "stages").glob("make-*/unit-*0000.json"))
    before = first.stat().st_mtime_ns
    run_both(tmp_path, units)
    assert first.stat().st_mtime_ns == before
    assert reference.items() <= tree(tmp_path).items()


def test_uncommitted_units_with_a_torn_file_or_record_are_done_again(
    tmp_path: pathlib.Path, units: list[Unit], reference: dict[str, str]
) -> None:
    run_both(tmp_path, units)
    for stage in (tmp_path / "stages").glob("*/stage.json"):
        stage.unlink()
    next((tmp_path / "stages").glob("make-*/part-*2.parquet")).write_bytes(b"PAR1")
    next((tmp_path / "stages").glob("make-*/unit-*3.json")).write_bytes(b'{"unit":')
    next((tmp_path / "stages").glob("sort-*/unit-00002-*.json")).unlink()
    next((tmp_path / "stages").glob("sort-*/sent-*3-*.json")).unlink()
    run_both(tmp_path, units)
    assert tree(tmp_path) == reference


def test_a_torn_stage_record_is_an_error_that_says_so(
    tmp_path: pathlib.Path, units: list[Unit]
) -> None:
    run_both(tmp_path, units)
    stage = next((tmp_path / "stages").glob("make-*/stage.json"))
    stage.write_bytes(stage.read_bytes()[:100])
    with pytest.raises(OpenwitError, match=r"stage\.json: not a whole stage record"):
        run_both(tmp_path, units)


def test_a_committed_file_of_another_size_is_an_error_and_force_mends_it(
    tmp_path: pathlib.Path, units: list[Unit], reference: dict[str, str]
) -> None:
    run_both(tmp_path, units)
    next((tmp_path / "stages").glob("make-*/part-*2.parquet")).write_bytes(b"PAR1")
    with pytest.raises(OpenwitError, match=r"4 bytes, .*stage.json says \d+ bytes: --force make"):
        run_both(tmp_path, units)
    with open_driver(str(tmp_path), settings("memory"), force="make") as engine:
        engine.run(make_step(), units)
    assert tree(tmp_path) == reference


def test_a_changed_input_is_an_error_until_forced(tmp_path: pathlib.Path) -> None:
    with open_driver(str(tmp_path / "root"), settings("memory")) as engine:
        engine.run(make_step(), make_units(tmp_path / "in", [3]))
    changed = make_units(tmp_path / "in", [4])
    with (
        open_driver(str(tmp_path / "root"), settings("memory")) as engine,
        pytest.raises(OpenwitError, match="in-0: input changed since it was read"),
    ):
        engine.run(make_step(), changed)
    with open_driver(str(tmp_path / "root"), settings("memory"), force="make") as engine:
        assert engine.run(make_step(), changed).rows_in == 4


def test_a_failed_unit_is_named_and_the_others_are_kept(
    tmp_path: pathlib.Path, units: list[Unit], reference: dict[str, str]
) -> None:
    with pytest.raises(OpenwitError) as caught:
        run_both(tmp_path, units, make=make_step(fail_on="in-2"))
    assert caught.value.exit_code == 3
    assert str(caught.value).startswith(
        "make unit 0000000000000002: RuntimeError: in-2 is not readable: 4 of 5 units are done"
    )
    run_both(tmp_path, units)
    assert tree(tmp_path) == reference


def test_skip_commits_without_the_failed_unit_and_lists_it(
    tmp_path: pathlib.Path, units: list[Unit]
) -> None:
    chosen = settings("memory", on_unit_failure="skip")
    with open_driver(str(tmp_path), chosen) as engine:
        made = engine.run(make_step(fail_on="in-2"), units)
    assert made.skipped == ("0000000000000002",)
    assert [unit.unit[-1] for unit in made.units] == ["0", "1", "3", "4"]


def test_a_failed_emitter_makes_no_bucket(tmp_path: pathlib.Path, units: list[Unit]) -> None:
    with open_driver(str(tmp_path), settings("memory")) as engine:
        made = engine.run(make_step(), units)
        broken = [without_file(unit) for unit in made.next_units("part")]
        with pytest.raises(OpenwitError, match="FileNotFoundError"):
            engine.run(sort_step(), broken, [made])
    assert not list((tmp_path / "stages").glob("sort-*/unit-*"))


def without_file(unit: Unit) -> Unit:
    moved = tuple(dataclasses.replace(source, path="/nowhere") for source in unit.sources)
    return dataclasses.replace(unit, sources=moved)


def test_a_failed_bucket_is_named(tmp_path: pathlib.Path, units: list[Unit]) -> None:
    with open_driver(str(tmp_path), settings("memory")) as engine:
        made = engine.run(make_step(), units)
        with pytest.raises(OpenwitError, match=r"sort unit 00001-.*this bucket cannot be made"):
            engine.run(sort_step(fail_on_bucket=1), made.next_units("part"), [made])


def test_sums_that_do_not_match_end_in_exit_code_1(
    tmp_path: pathlib.Path, units: list[Unit]
) -> None:
    with open_driver(str(tmp_path), settings("memory")) as engine:
        made = engine.run(make_step(), units)
        with pytest.raises(AccountingError, match="rows in are not") as caught:
            engine.run(sort_step(lose=True), made.next_units("part"), [made])
    assert caught.value.exit_code == 1


def test_a_bucket_that_is_too_large_names_its_heaviest_key(
    tmp_path: pathlib.Path, units: list[Unit]
) -> None:
    with open_driver(str(tmp_path), settings("memory", bucket_bytes=1024)) as engine:
        made = engine.run(make_step(), units)
        with pytest.raises(OpenwitError, match=r"at most 8192 fit: its heaviest key is b'"):
            engine.run(sort_step(), made.next_units("part"), [made])


def test_two_units_of_one_id_are_refused(tmp_path: pathlib.Path, units: list[Unit]) -> None:
    with (
        open_driver(str(tmp_path), settings("memory")) as engine,
        pytest.raises(RefusedError, match="two units have one id"),
    ):
        engine.run(make_step(), [units[0], units[0]])


def test_only_one_stage_may_have_work(tmp_path: pathlib.Path, units: list[Unit]) -> None:
    with (
        open_driver(str(tmp_path), settings("memory"), only="sort") as engine,
        pytest.raises(OpenwitError, match="make: not committed"),
    ):
        engine.run(make_step(), units)


def test_a_second_driver_is_refused_and_told_the_process(tmp_path: pathlib.Path) -> None:
    with (
        open_driver(str(tmp_path), settings("memory")),
        pytest.raises(RefusedError, match=f"process {os.getpid()} is at work here"),
        open_driver(str(tmp_path), settings("memory")),
    ):
        pass


def test_a_killed_worker_ends_the_run_soon_and_the_next_run_goes_on(
    tmp_path: pathlib.Path, units: list[Unit], reference: dict[str, str]
) -> None:
    deadly = make_step(die_once=str(tmp_path / "marker"))
    start = time.monotonic()
    with pytest.raises(OpenwitError, match=r"make: worker process \d+: ended with signal 9"):
        run_both(tmp_path / "root", units, "processes", deadly)
    assert time.monotonic() - start < 10
    run_both(tmp_path / "root", units, make=deadly)
    assert tree(tmp_path / "root") == reference


@pytest.mark.parametrize("mode", ["memory", "processes"])
def test_a_killed_driver_leaves_no_worker_and_the_next_run_gives_the_same_bytes(
    tmp_path: pathlib.Path, units: list[Unit], reference: dict[str, str], mode: str
) -> None:
    script = (
        "import pathlib\n"
        "from tests.pipeline.engine.engine_kernels import COUNTS, make_step, make_units, run_both\n"
        f"root = pathlib.Path({str(tmp_path)!r})\n"
        "units = make_units(root / 'in', COUNTS)\n"
        f"run_both(root / 'root', units, {mode!r}, make_step(seconds=0.5))\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY)  # noqa: S603
    first = tmp_path / "root" / "stages"
    wait_for_a_record(tmp_path / "root")
    workers = children_of(driver.pid)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert bool(workers) == (mode == "processes")
    assert wait_until_gone(workers)
    assert list(first.glob("make-*/unit-*.json"))
    assert not list(first.glob("sort-*/stage.json"))
    run_both(tmp_path / "root", units)
    assert tree(tmp_path / "root") == reference


@pytest.mark.parametrize("mode", ["memory", "processes"])
def test_ctrl_c_ends_the_run_and_its_workers(tmp_path: pathlib.Path, mode: str) -> None:
    script = (
        "import pathlib, sys\n"
        "from tests.pipeline.engine.engine_kernels import COUNTS, make_step, make_units, run_both\n"
        f"root = pathlib.Path({str(tmp_path)!r})\n"
        "units = make_units(root / 'in', COUNTS)\n"
        "try:\n"
        f"    run_both(root / 'root', units, {mode!r}, make_step(seconds=0.5))\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY)  # noqa: S603
    wait_for_a_record(tmp_path / "root")
    workers = children_of(driver.pid)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(10) == 130
    assert wait_until_gone(workers)


def wait_for_a_record(root: pathlib.Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not list(root.glob("stages/make-*/unit-*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)


def children_of(process: int) -> list[int]:
    """All processes that descend from one."""
    parents = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended since
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
    found = [process]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def wait_until_gone(processes: list[int], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(pathlib.Path("/proc", str(process)).exists() for process in processes):
            return True
        time.sleep(0.05)
    return False
