"""The whole path in other places and orders: the same dataset, byte for byte."""

import json
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.pipeline.engine.test_runners import JOB_SERVICE, POOL, service
from tests.test_packaging import build_wheel
from tests.whole_run import call, make_job, run, run_bytes

DATASET = ("run", "dataset")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A worker pool in another folder, that has the built package and not this checkout."""
    folder = tmp_path_factory.mktemp("pool")
    wheel = build_wheel(folder)
    installed = folder / "installed"
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
        *("--disable-pip-version-check", "--target", str(installed), str(wheel)),
    ]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (words of this file)
    with service(POOL, "--service_port", folder, packages=installed) as address:
        yield address


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_pool_with_the_built_package_makes_the_same_bytes(
    finished: pathlib.Path, tmp_path: pathlib.Path, pool: str
) -> None:
    done = run(
        make_job(tmp_path), 'engine.mode="pool"', "engine.workers=2", f'engine.pool="{pool}"'
    )
    assert done.returncode == 0, done.stderr
    assert run_bytes(tmp_path) == run_bytes(finished)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("environment", ["LOOPBACK", "EXTERNAL"])
def test_a_job_service_makes_the_same_bytes(
    finished: pathlib.Path, tmp_path: pathlib.Path, pool: str, environment: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    with service(JOB_SERVICE, "-p", tmp_path / "elsewhere") as address:
        words = [
            *("--", "--runner=PortableRunner", f"--job_endpoint={address}"),
            f"--environment_type={environment}",
            *([f"--environment_config={pool}"] if environment == "EXTERNAL" else []),
        ]
        done = call("pipeline", "run", make_job(tmp_path), *words)
    assert done.returncode == 0, done.stderr
    assert run_bytes(tmp_path) == run_bytes(finished)


@pytest.mark.parametrize("rows", [1, 7])
def test_batches_of_any_size_make_the_same_bytes(
    finished: pathlib.Path, tmp_path: pathlib.Path, rows: int
) -> None:
    done = run(make_job(tmp_path), 'engine.mode="memory"', f"engine.batch_rows={rows}")
    assert done.returncode == 0, done.stderr
    assert run_bytes(tmp_path) == run_bytes(finished)


@pytest.mark.slow
def test_inputs_in_another_order_make_the_same_dataset(
    finished: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    config = make_job(tmp_path)
    names = (tmp_path / "archives.txt").read_text().split()
    (tmp_path / "archives.txt").write_text("\n".join(reversed(names)))
    done = run(config, 'engine.mode="memory"')
    assert done.returncode == 0, done.stderr
    assert run_bytes(tmp_path, DATASET) == run_bytes(finished, DATASET)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_added_archive_redoes_only_its_units_and_ends_as_a_run_from_scratch(
    finished: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    config = make_job(tmp_path)
    names = (tmp_path / "archives.txt").read_text().split()
    (tmp_path / "archives.txt").write_text("\n".join(names[:-1]))
    done = run(config, 'engine.mode="memory"')
    assert done.returncode == 0, done.stderr
    shutil.copytree(tmp_path / "run" / "dataset", tmp_path / "before")
    (tmp_path / "archives.txt").write_text("\n".join(names))
    refused = run(config, 'engine.mode="memory"')
    assert refused.returncode == 2
    assert "holds a dataset of other settings or inputs (inputs)" in refused.stderr
    done = run(config, 'engine.mode="memory"', "shards.replace=true")
    assert done.returncode == 0, done.stderr
    assert run_bytes(tmp_path, DATASET) == run_bytes(finished, DATASET)
    newest = max((tmp_path / "run" / "runs").glob("[0-9]*.json"), key=lambda path: int(path.stem))
    steps = {each["step"]: each for each in json.loads(newest.read_text())["steps"]}
    assert (steps["extract"]["reused"], steps["extract"]["units"]) == (2, 3)
    told = call("manifests", "diff", tmp_path / "before", tmp_path / "run" / "dataset", "--json")
    assert told.returncode == 1, told.stderr
    explained = json.loads(told.stdout)
    assert explained["samples"] == [60, 90]
    assert explained["pairs"]["added"] - explained["pairs"]["removed"] == 30
    assert not explained["config"]
