"""Worker processes of Beam's FnApiRunner: started by us, or by a worker pool that runs already.

Beam's own handlers leave the driver waiting for ever when a worker is killed (measured on 2.77.0),
and a pool's processes alive after the job.
"""

import contextlib
import json
import os
import sys
import threading
from typing import Any

from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    endpoints_pb2,
)
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    GrpcWorkerHandler,
    WorkerHandler,
)
from apache_beam.runners.worker.channel_factory import GRPCChannelFactory
from apache_beam.transforms.environments import Environment, python_sdk_capabilities
from google.protobuf import json_format, text_format

from manifests.base.errors import OpenwitError
from pipeline.engine.jobs.fork_server import Worker, python_path, running_server

PROCESS_URN = "openwit:env:worker_process:v1"
POOL_URN = "openwit:env:worker_pool:v1"
STOP_SECONDS = 10
"""How long a worker may take to end after its last bundle."""
START_SECONDS = 10
"""How long a pool may take to say that it starts a worker."""
LOOK_SECONDS = 0.2
"""How often a worker's connection is looked at, and requests to a dead one are given up."""
_LIVE: "list[_Handler]" = []
_DEATHS: list[str] = []


class Workers(Environment):
    """Where a pipeline's functions run: in processes of ours, or of the pool at HOST:PORT."""

    def __init__(self, pool: str = "") -> None:
        super().__init__(capabilities=python_sdk_capabilities())
        self._pool = pool

    def to_runner_api_parameter(self, _context: object) -> tuple[str, bytes]:
        """Return what Beam's graph says of this place."""
        return (POOL_URN if self._pool else PROCESS_URN), self._pool.encode()


def forget_deaths() -> None:
    """Begin a job: no worker of it has died."""
    _DEATHS.clear()


def first_death() -> str | None:
    """Say which worker of this job ended too early, if one has."""
    return _DEATHS[0] if _DEATHS else None


class _Handler(GrpcWorkerHandler):
    """One worker; when it dies, the whole run ends, and so do the other workers."""

    def __init__(self, _payload: bytes, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._closing = threading.Event()

    def stop_worker(self) -> None:
        _LIVE.remove(self)
        self.end()

    def close(self) -> None:
        self._closing.set()
        if sys.exc_info()[0] is None:
            super().close()
            return
        self.kill()  # the run ends in an error: what the worker does is not wanted any more
        for close in (self.control_conn.close, self.data_conn.close, self.stop_worker):
            with contextlib.suppress(Exception):  # the streams to a dead worker are torn
                close()

    def end(self) -> None:
        """Wait until the process has ended, as it does after its last bundle."""

    def kill(self) -> None:
        """End the process at once; nothing it has committed is lost."""

    def die(self, said: str) -> None:
        """End the run because this worker has ended."""
        if self._closing.is_set():
            return
        _DEATHS.append(
            f"{said} in the middle of its work: finished units are kept; give it more memory or "
            "fewer engine.workers, and run the same command to go on"
        )
        for handler in tuple(_LIVE):
            handler.kill()
        while not self._closing.wait(
            LOOK_SECONDS
        ):  # again and again: more requests may be sent to it
            with contextlib.suppress(RuntimeError):  # one was sent in this very moment
                self.control_conn.abort(OpenwitError(_DEATHS[0]))


@WorkerHandler.register_environment(PROCESS_URN, bytes)
class _ProcessHandler(_Handler):
    """A worker process of this process's fork server."""

    _worker: Worker

    def start_worker(self) -> None:
        control = endpoints_pb2.ApiServiceDescriptor(url=self.control_address)
        options = self.provision_info.provision_info.pipeline_options
        self._worker = running_server().fork(
            {
                **os.environ,
                "WORKER_ID": self.worker_id,
                "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(control),
                "PIPELINE_OPTIONS": json.dumps(json_format.MessageToDict(options)),
                "PYTHONPATH": python_path(),
            }
        )
        _LIVE.append(self)
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self) -> None:
        if self._worker.wait(STOP_SECONDS) is None:
            self.kill()
            self._worker.wait()

    def kill(self) -> None:
        self._worker.kill()

    def _watch(self) -> None:
        code = self._worker.wait() or 0
        said = f"signal {-code}" if code < 0 else f"exit code {code}"
        self.die(f"worker process {self._worker.pid}: ended with {said}")


@WorkerHandler.register_environment(POOL_URN, bytes)
class _PoolHandler(_Handler):
    """A worker that a pool has started for us; only its connection shows whether it lives."""

    def __init__(self, payload: bytes, *arguments: Any) -> None:
        self._address = payload.decode()
        super().__init__(payload, *arguments)
        channel = GRPCChannelFactory.insecure_channel(self._address)
        self._pool = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)

    def host_from_worker(self) -> str:
        """Return the name under which a worker of the pool reaches this process."""
        import socket

        host = self._address.rpartition(":")[0]
        return "localhost" if host in ("localhost", "127.0.0.1") else socket.getfqdn()

    def start_worker(self) -> None:
        control = endpoints_pb2.ApiServiceDescriptor(url=self.control_address)
        request = beam_fn_api_pb2.StartWorkerRequest(
            worker_id=self.worker_id,
            control_endpoint=control,
            artifact_endpoint=control,
            provision_endpoint=control,
            logging_endpoint=self.logging_api_service_descriptor(),
        )
        answer = self._pool.StartWorker(request, timeout=START_SECONDS)
        if answer.error:
            raise OpenwitError(f"worker pool {self._address}: {answer.error.strip()}")
        _LIVE.append(self)
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self) -> None:
        request = beam_fn_api_pb2.StopWorkerRequest(worker_id=self.worker_id)
        with contextlib.suppress(Exception):  # the pool itself may be gone
            self._pool.StopWorker(request, timeout=STOP_SECONDS)

    def kill(self) -> None:
        self.end()

    def _watch(self) -> None:
        reader = self.control_conn._read_thread
        while reader.ident is None or reader.is_alive():  # not begun yet, or still connected
            if self._closing.wait(LOOK_SECONDS):
                return
        self.die(f"worker pool {self._address}: a worker ended")
