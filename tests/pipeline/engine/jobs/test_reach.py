"""What is to run the jobs is looked for before any work."""

import pathlib
import socket
import time
from typing import Any

import pytest

from manifests.base.errors import RefusedError
from pipeline.engine.jobs import reach
from pipeline.engine.jobs.reach import check_reachable


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def no_jars(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    monkeypatch.setattr(reach, "JARS", tmp_path)
    return tmp_path


def test_a_pool_that_does_not_answer_is_refused_with_the_command_that_starts_one(
    closed_port: int,
) -> None:
    start = time.monotonic()
    with pytest.raises(RefusedError, match=r"engine.pool: 127.0.0.1:\d+: .*worker_pool_main"):
        check_reachable("/root", f"127.0.0.1:{closed_port}", {})
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("address", ["", "host", "host:", ":80", "host:http", "host:99999"])
def test_an_address_must_be_host_and_port(address: str) -> None:
    options = {"runner": "PortableRunner", "job_endpoint": address}
    with pytest.raises(RefusedError, match=r"--job_endpoint: .*local_job_service_main"):
        check_reachable("/root", "", options)


def test_a_service_that_answers_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        check_reachable("/root", address, {})
        check_reachable("/root", "", {"runner": "PortableRunner", "job_endpoint": address})


@pytest.mark.parametrize(
    ("options", "jar"),
    [
        ({"runner": "FlinkRunner"}, "beam-runners-flink-2.2-job-server-"),
        ({"runner": "FlinkRunner", "flink_version": "1.20"}, "beam-runners-flink-1.20-job-server-"),
        ({"runner": "SparkRunner"}, "beam-runners-spark-3-job-server-"),
        ({"runner": "SparkRunner", "spark_job_server_jar": "/no/my.jar"}, "/no/my.jar"),
    ],
)
def test_a_jar_that_is_not_there_is_named(
    no_jars: pathlib.Path, options: dict[str, Any], jar: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        check_reachable("/root", "", options)
    assert jar in str(caught.value)
    assert "Maven" in str(caught.value)


def test_java_is_looked_for(no_jars: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jar = no_jars / "any.jar"
    jar.touch()
    options = {"runner": "FlinkRunner", "flink_job_server_jar": str(jar)}
    monkeypatch.setenv("PATH", str(no_jars))
    with pytest.raises(RefusedError, match="java: not found"):
        check_reachable("/root", "", options)


def test_a_cluster_that_does_not_answer_is_refused(closed_port: int) -> None:
    flink = {"runner": "FlinkRunner", "flink_master": f"http://127.0.0.1:{closed_port}"}
    with pytest.raises(RefusedError, match=r"--flink_master: .* does not answer"):
        check_reachable("/root", "", flink)
    spark = {"runner": "SparkRunner", "spark_master_url": f"spark://127.0.0.1:{closed_port}"}
    with pytest.raises(RefusedError, match=r"--spark_master_url: .* does not answer"):
        check_reachable("/root", "", spark)


def test_dataflow_needs_a_root_that_its_workers_reach() -> None:
    with pytest.raises(RefusedError, match="root: /root: workers of Dataflow cannot reach it"):
        check_reachable("/root", "", {"runner": "DataflowRunner"})
    check_reachable("gs://bucket/root", "", {"runner": "DataflowRunner"})
