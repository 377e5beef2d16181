"""What must be there before a job is sent away: a service that answers, a jar, Java, a shared ROOT.

Beam itself waits in silence for a service that does not answer, and downloads jars unasked.
"""

import contextlib
import importlib.metadata
import pathlib
import shutil
import socket
import urllib.parse
from collections.abc import Mapping
from typing import Any

from manifests.base.errors import RefusedError
from pipeline.engine import files

ANSWER_SECONDS = 4.0
JARS = pathlib.Path("~/.apache_beam/cache/jars")
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]", "")
POOL_HELP = "start one: python -m apache_beam.runners.worker.worker_pool_main --service_port PORT"


def check_reachable(root: str, pool: str, options: Mapping[str, Any]) -> None:
    """Refuse to begin if what is to run the jobs is not there, within seconds.

    Args:
        root: ROOT, which all workers must reach.
        pool: HOST:PORT of a worker pool; empty for none.
        options: Beam options, among them the `runner` if it is not on this machine.

    Raises:
        RefusedError: naming what does not answer or is missing, and the way out.
    """
    if pool:
        _check_address("engine.pool", pool, POOL_HELP)
    runner = options.get("runner")
    if options.get("environment_type") == "EXTERNAL":
        _check_address("--environment_config", options.get("environment_config") or "", POOL_HELP)
    if runner == "PortableRunner":
        port = "python -m apache_beam.runners.portability.local_job_service_main -p PORT"
        _check_address("--job_endpoint", options.get("job_endpoint") or "", f"start one: {port}")
    elif runner == "FlinkRunner":
        version = options.get("flink_version") or _default_flink_version()
        _check_master("--flink_master", options.get("flink_master") or "[auto]", options)
        _check_jar("flink_job_server_jar", options, f"flink-{version}")
    elif runner == "SparkRunner":
        _check_master("--spark_master_url", options.get("spark_master_url") or "local", options)
        _check_jar("spark_job_server_jar", options, "spark-3")
    elif runner == "DataflowRunner" and files.is_local(root):
        raise RefusedError(
            f"root: {root}: workers of Dataflow cannot reach it: use a URI such as gs://..."
        )


def _check_master(option: str, value: str, options: Mapping[str, Any]) -> None:
    """Check a master that is a server; `[local]`, `[auto]` and `local[4]` are none."""
    address = urllib.parse.urlsplit(value).netloc or value
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return
    _check_address(option, address, "start the cluster, or correct the address")
    if options.get("environment_type") == "LOOPBACK" and host not in LOCAL_HOSTS:
        raise RefusedError(
            f"--environment_type=LOOPBACK: {host} does not reach workers in this process: use "
            "EXTERNAL with a worker pool on each of its machines"
        )


def _check_address(name: str, address: str, way_out: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise RefusedError(f"{name}: {address!r}: must be HOST:PORT: {way_out}")
    try:
        with contextlib.closing(
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS)
        ):
            return
    except (OSError, OverflowError) as error:
        raise RefusedError(f"{name}: {address}: does not answer ({error}): {way_out}") from None


def _check_jar(option: str, options: Mapping[str, Any], runner: str) -> None:
    """Check the jar of a runner's job server, and Java to run it."""
    name = f"beam-runners-{runner}-job-server-{importlib.metadata.version('apache-beam')}.jar"
    given = options.get(option)
    jar = pathlib.Path(given) if given else JARS.expanduser() / name
    if not jar.is_file() and not urllib.parse.urlsplit(str(given or "")).scheme:
        raise RefusedError(
            f"--{option}: {jar}: no such file: get {name} from Maven (group org.apache.beam) and "
            f"put it there, or name it by --{option}"
        )
    if shutil.which("java") is None:
        raise RefusedError("java: not found: install Java 17, which the job server needs")


def _default_flink_version() -> str:
    from apache_beam.options.pipeline_options import FlinkRunnerOptions

    return str(FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS[-1])
