"""The same jobs in a worker pool and behind a job service: equal bytes, clear ends."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from manifests.base.errors import OpenwitError, RefusedError
from pipeline.engine.jobs.reach import check_reachable
from pipeline.engine.units import Unit
from tests.pipeline.engine.engine_kernels import REPOSITORY, make_step, run_both, tree

POOL = "apache_beam.runners.worker.worker_pool_main"
JOB_SERVICE = "apache_beam.runners.portability.local_job_service_main"
START_SECONDS = 30
FLINK_PORT = 8081


@contextlib.contextmanager
def service(
    module: str, option: str, folder: pathlib.Path, packages: pathlib.Path = REPOSITORY
) -> Iterator[str]:
    """Run one of Beam's services in another folder, as its users do; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    process = subprocess.Popen(  # noqa: S603 (words of this file)
        [sys.executable, "-P", "-m", module, option, str(port)],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(packages)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + START_SECONDS
        while not answers(port):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.05)
        yield f"localhost:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service(POOL, "--service_port", tmp_path_factory.mktemp("pool")) as address:
        yield address


@pytest.fixture(scope="module")
def job_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service(JOB_SERVICE, "-p", tmp_path_factory.mktemp("service")) as address:
        yield address


def test_a_worker_pool_in_another_folder_gives_the_same_bytes(
    tmp_path: pathlib.Path, units: list[Unit], reference: dict[str, str], pool: str
) -> None:
    run_both(tmp_path, units, "pool", pool=pool)
    assert tree(tmp_path) == reference


def test_a_killed_worker_of_a_pool_ends_the_run_soon_and_the_next_run_goes_on(
    tmp_path: pathlib.Path, units: list[Unit], reference: dict[str, str], pool: str
) -> None:
    deadly = make_step(die_once=str(tmp_path / "marker"))
    start = time.monotonic()
    with pytest.raises(OpenwitError, match=r"make: worker pool localhost:\d+: a worker ended"):
        run_both(tmp_path / "root", units, "pool", pool=pool, make=deadly)
    assert time.monotonic() - start < 20
    run_both(tmp_path / "root", units, "pool", pool=pool, make=deadly)
    assert tree(tmp_path / "root") == reference


@pytest.mark.parametrize("environment", ["LOOPBACK", "EXTERNAL"])
def test_a_job_service_gives_the_same_bytes(
    tmp_path: pathlib.Path,
    units: list[Unit],
    reference: dict[str, str],
    job_service: str,
    pool: str,
    environment: str,
) -> None:
    options = {
        "runner": "PortableRunner",
        "job_endpoint": job_service,
        "environment_type": environment,
        **({"environment_config": pool} if environment == "EXTERNAL" else {}),
    }
    run_both(tmp_path, units, "auto", options=options)
    assert tree(tmp_path) == reference


def test_a_failed_unit_is_named_behind_a_job_service(
    tmp_path: pathlib.Path, units: list[Unit], job_service: str
) -> None:
    options = {
        "runner": "PortableRunner",
        "job_endpoint": job_service,
        "environment_type": "LOOPBACK",
    }
    with pytest.raises(OpenwitError, match="make unit 0000000000000002: RuntimeError: in-2"):
        run_both(tmp_path, units, "auto", options=options, make=make_step(fail_on="in-2"))


def run_on_flink(folder: pathlib.Path, units: list[Unit], **options: str) -> dict[str, str]:
    options = {"runner": "FlinkRunner", **options}
    try:
        check_reachable(str(folder), "", options)
    except RefusedError as error:
        pytest.skip(f"jar not found: {error}")
    run_both(folder, units, "auto", options=options)
    return tree(folder)


@contextlib.contextmanager
def flink_cluster() -> Iterator[str]:
    """Start the cluster of one machine that a release of Flink brings; yield its address."""
    home = pathlib.Path(os.environ.get("FLINK_HOME", "FLINK_HOME (not set)"))
    if not (home / "bin" / "start-cluster.sh").is_file():
        pytest.skip(f"jar not found: {home}: unpack a release of Flink and set FLINK_HOME to it")
    subprocess.run([home / "bin" / "start-cluster.sh"], check=True)  # noqa: S603
    try:
        end = time.monotonic() + START_SECONDS
        while not answers(FLINK_PORT):
            assert time.monotonic() < end
            time.sleep(0.2)
        yield f"localhost:{FLINK_PORT}"
    finally:
        subprocess.run([home / "bin" / "stop-cluster.sh"], check=False)  # noqa: S603


@pytest.mark.slow
def test_flink_inside_its_job_server_gives_the_same_bytes(
    tmp_path: pathlib.Path, units: list[Unit], reference: dict[str, str]
) -> None:
    found = run_on_flink(tmp_path, units, flink_master="[local]", environment_type="LOOPBACK")
    assert found == reference


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_flink_cluster_with_a_worker_pool_gives_the_same_bytes(
    tmp_path: pathlib.Path, units: list[Unit], reference: dict[str, str], pool: str
) -> None:
    external = {"environment_type": "EXTERNAL", "environment_config": pool}
    with flink_cluster() as address:
        assert run_on_flink(tmp_path, units, flink_master=address, **external) == reference
