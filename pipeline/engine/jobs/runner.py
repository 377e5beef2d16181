"""Runs a job: on Beam's FnApiRunner, pinned, or on the runner that the options name.

Beam's default runner tries a downloaded binary first, so what runs would depend on the network.
"""

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner.fn_runner import (
    ExtendedProvisionInfo,
    FnApiRunner,
)
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from apache_beam.transforms.environments import EmbeddedPythonEnvironment

from manifests.base.errors import OpenwitError
from pipeline.engine.jobs import handlers


def run_job(
    build: Callable[[beam.Pipeline], None],
    *,
    workers: int,
    pool: str = "",
    options: Mapping[str, Any],
) -> None:
    """Build a pipeline and run it to its end.

    Args:
        build: puts the job on an empty pipeline.
        workers: worker processes; 0 runs in this process.
        pool: HOST:PORT of the worker pool that starts them; empty: they are ours.
        options: further Beam options; with a `runner`, the job runs there.

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
            **({} if "runner" in options else {"direct_num_workers": max(1, workers)}),
        },
    )
    runner = None
    if "runner" not in options:
        runner = make_runner(chosen, workers, pool)
        # Beam looks at them a hundred times a job and makes an argument parser for each look: a
        # third of the 0.2 CPU-s of a small one (measured). All looks share one set of values.
        vars(chosen)["view_as"] = functools.cache(chosen.view_as)
    pipeline = beam.Pipeline(runner=runner, options=chosen)
    build(pipeline)
    handlers.forget_deaths()
    with _silent_threads():
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:
            death = handlers.first_death()
            if death:
                raise OpenwitError(death) from None
            if _is_interrupt(error):
                raise KeyboardInterrupt from None
            raise


def make_runner(options: PipelineOptions, workers: int, pool: str = "") -> FnApiRunner:
    """Return the only runner that openwit uses on one machine; workers get the options, too."""
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options(drop_default=True))
    return FnApiRunner(
        default_environment=(
            handlers.Workers(pool) if workers else EmbeddedPythonEnvironment.default()
        ),
        provision_info=ExtendedProvisionInfo(
            beam_provision_api_pb2.ProvisionInfo(
                retrieval_token="unused",  # noqa: S106 (no secret: nothing is staged)
                pipeline_options=encoded,
            )
        ),
    )


def _is_interrupt(error: BaseException | None) -> bool:
    """Tell whether Beam wrapped a Ctrl-C in the middle of a kernel in an error of its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


@contextlib.contextmanager
def _silent_threads() -> Iterator[None]:
    """Keep the tracebacks of Beam's threads, which end with a worker, off the terminal."""
    before = threading.excepthook
    threading.excepthook = lambda failed: logging.getLogger(__name__).debug(
        "thread %s: %s", failed.thread, failed.exc_value
    )
    try:
        yield
    finally:
        threading.excepthook = before
