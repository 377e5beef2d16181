"""The pinned runner: Beam's FnApiRunner, in this process or with worker processes of ours.

Beam's default runner tries a downloaded binary first, and its own subprocess workers leave the
driver waiting for ever when one is killed (measured on 2.77.0), so the workers are started here.
"""

import contextlib
import json
import logging
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_provision_api_pb2, endpoints_pb2
from apache_beam.runners.portability.fn_api_runner.fn_runner import (
    ExtendedProvisionInfo,
    FnApiRunner,
)
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    GrpcWorkerHandler,
    WorkerHandler,
)
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from apache_beam.transforms.environments import (
    EmbeddedPythonEnvironment,
    Environment,
    python_sdk_capabilities,
)
from google.protobuf import json_format, text_format

from manifests.base.errors import OpenwitError

WORKER_URN = "openwit:env:worker_process:v1"
STOP_SECONDS = 10
"""How long a worker may take to end after its last bundle."""
_LIVE: "list[_ProcessHandler]" = []
_DEATHS: list[str] = []


def run_job(
    build: Callable[[beam.Pipeline], None], *, workers: int, options: Mapping[str, Any]
) -> None:
    """Build a pipeline and run it to its end.

    Args:
        build: puts the job on an empty pipeline.
        workers: worker processes; 0 runs in this process.
        options: further Beam options.

    Raises:
        OpenwitError: if a worker process ended too early.
    """
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # the driver says what went wrong
    chosen = PipelineOptions(
        flags=[],
        **{
            "save_main_session": False,
            "default_sdk_harness_log_level": "WARNING",
            **options,
            "direct_num_workers": max(1, workers),
        },
    )
    pipeline = beam.Pipeline(runner=make_runner(chosen, workers), options=chosen)
    build(pipeline)
    _DEATHS.clear()
    with _silent_threads():
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:
            if _DEATHS:
                raise OpenwitError(_DEATHS[0]) from None
            if _is_interrupt(error):
                raise KeyboardInterrupt from None
            raise


def make_runner(options: PipelineOptions, workers: int) -> FnApiRunner:
    """Return the only runner that openwit uses on one machine; workers get the options, too."""
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options(drop_default=True))
    return FnApiRunner(
        default_environment=_WorkerProcess() if workers else EmbeddedPythonEnvironment.default(),
        provision_info=ExtendedProvisionInfo(
            beam_provision_api_pb2.ProvisionInfo(
                retrieval_token="unused",  # noqa: S106 (no secret: nothing is staged)
                pipeline_options=encoded,
            )
        ),
    )


class _WorkerProcess(Environment):
    """Where a pipeline's functions run: in processes that `_ProcessHandler` starts."""

    def __init__(self) -> None:
        super().__init__(capabilities=python_sdk_capabilities())

    def to_runner_api_parameter(self, _context: object) -> tuple[str, bytes]:
        return WORKER_URN, b""


@WorkerHandler.register_environment(WORKER_URN, bytes)
class _ProcessHandler(GrpcWorkerHandler):
    """One worker process; when it dies, the whole run ends, and so do the other workers."""

    def __init__(self, _payload: bytes, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._process: subprocess.Popen[bytes]
        self._closing = threading.Event()

    def start_worker(self) -> None:
        control = endpoints_pb2.ApiServiceDescriptor(url=self.control_address)
        options = self.provision_info.provision_info.pipeline_options
        environment = {
            **os.environ,
            "WORKER_ID": self.worker_id,
            "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(control),
            "PIPELINE_OPTIONS": json.dumps(json_format.MessageToDict(options)),
            "PYTHONPATH": os.pathsep.join(path or str(pathlib.Path.cwd()) for path in sys.path),
        }
        # A session of its own: Ctrl-C reaches the driver alone, which then ends its workers.
        self._process = subprocess.Popen(  # noqa: S603 (our own command)
            [sys.executable, "-P", "-m", "pipeline.engine.jobs.worker", str(os.getpid())],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        _LIVE.append(self)
        threading.Thread(target=self._watch, daemon=True).start()

    def stop_worker(self) -> None:
        _LIVE.remove(self)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()

    def close(self) -> None:
        self._closing.set()
        if sys.exc_info()[0] is None:
            super().close()
            return
        self.kill()  # the run ends in an error: what the worker does is not wanted any more
        for close in (self.control_conn.close, self.data_conn.close, self.stop_worker):
            with contextlib.suppress(Exception):  # the streams to a dead worker are torn
                close()

    def kill(self) -> None:
        """End the process at once; nothing it has committed is lost."""
        self._process.kill()

    def _watch(self) -> None:
        code = self._process.wait()
        if self._closing.is_set():
            return
        _DEATHS.append(
            f"worker process {self._process.pid}: ended with {_say(code)} in the middle of its "
            "work: finished units are kept; give it more memory or fewer engine.workers, and run "
            "the same command to go on"
        )
        for handler in _LIVE:
            handler.kill()
        while not self._closing.wait(0.2):  # again and again: more requests may be sent to it
            self.control_conn.abort(OpenwitError(_DEATHS[0]))


def _is_interrupt(error: BaseException | None) -> bool:
    """Tell whether Beam wrapped a Ctrl-C in the middle of a kernel in an error of its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _say(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


@contextlib.contextmanager
def _silent_threads() -> Iterator[None]:
    """Keep the tracebacks of Beam's reader threads, which end with a worker, off the terminal."""
    before = threading.excepthook
    threading.excepthook = lambda failed: logging.getLogger(__name__).debug(
        "thread %s: %s", failed.thread, failed.exc_value
    )
    try:
        yield
    finally:
        threading.excepthook = before
