"""The `[engine]` table, and the Beam options that follow `--`."""

import contextlib
import dataclasses
import difflib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from manifests.base.console import quiet_logs
from manifests.base.errors import RefusedError

MEMINFO = pathlib.Path("/proc/meminfo")
WORKER_BYTES = 1 << 30
"""Free memory that each further worker process asks for when `workers` is 0."""
RUNNERS = ("PortableRunner", "FlinkRunner", "SparkRunner", "DataflowRunner")
"""What `--runner` may name; on one machine `mode` chooses, and others lose rows (measured)."""
PINNED = {
    "direct_num_workers": "workers",
    "direct_running_mode": "mode",
    "save_main_session": "mode",
    "streaming": "mode",
}
"""Beam options that openwit sets itself, and the `[engine]` key that stands for each."""
OF_RUNNERS = frozenset({"environment_type", "environment_config", "job_endpoint"})
"""Beam options that only go with `--runner`."""


MAX_BATCH_ROWS = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How jobs run; only `bucket_bytes` can change a byte of what they make."""

    mode: Literal["auto", "memory", "processes", "pool"] = "auto"
    """In this process, in worker processes, in those of a worker pool of Beam's that runs already,
    or `auto`: one of the first two, whichever the work is worth."""
    workers: int = 0
    """Worker processes; 0 = one per core, fewer when memory is short."""
    pool: str = ""
    """HOST:PORT of the worker pool."""
    bucket_bytes: int = 64 << 20
    """Target payload of one shuffle bucket; provisional."""
    batch_rows: int = 8192
    """Rows that are read and judged at once; provisional. Wide rows take less memory in fewer."""
    max_error_rate: float = 0.001
    """Share of a unit's rows that may end in an unexpected exception; 10 rows always may."""
    on_unit_failure: Literal["fail", "skip"] = "fail"
    """`skip` commits a map step without its failed units and lists them in its `stage.json`."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if bool(self.pool) != (self.mode == "pool"):
            raise ValueError(
                f"pool must be HOST:PORT with mode 'pool' and empty with others, got {self.pool!r}"
            )
        if self.workers < 0:
            raise ValueError(f"workers must be at least 0, got {self.workers!r}")
        if self.bucket_bytes < 1 << 10:
            raise ValueError(f"bucket_bytes must be at least 1024, got {self.bucket_bytes!r}")
        if not 1 <= self.batch_rows <= MAX_BATCH_ROWS:
            raise ValueError(f"batch_rows must be 1 to {MAX_BATCH_ROWS}, got {self.batch_rows!r}")
        if not 0 <= self.max_error_rate <= 1:
            raise ValueError(f"max_error_rate must be 0 to 1, got {self.max_error_rate!r}")


def worker_count(settings: EngineSettings) -> int:
    """Return the number of worker processes that `workers` stands for on this machine."""
    if settings.workers:
        return settings.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, available_bytes() // WORKER_BYTES))


def available_bytes() -> int:
    """Return the memory that is free without swapping; a guess where the system does not say."""
    with contextlib.suppress(OSError), MEMINFO.open(encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 8 << 30


def parse_beam_options(arguments: Sequence[str]) -> Mapping[str, Any]:
    """Return what follows `--` as Beam options; a setup file gets its whole path.

    Raises:
        RefusedError: if one is unknown to Beam, or openwit sets it itself.
    """
    if not arguments:
        return {}
    with quiet_logs():  # of cloud libraries that are not installed
        from apache_beam.options.pipeline_options import PipelineOptions

    known = PipelineOptions([]).get_all_options()
    names = [_checked_name(word, known) for word in arguments]
    lone = sorted(OF_RUNNERS.intersection(names)) if "runner" not in names else ()
    if lone:
        raise RefusedError(f"--{lone[0]}: goes with --runner={'|'.join(RUNNERS)} only")
    try:
        options = dict(PipelineOptions(list(arguments)).get_all_options(drop_default=True))
    except SystemExit:  # Beam's argparse has said why on stderr
        raise RefusedError(f"-- {' '.join(arguments)}: Beam does not take these values") from None
    runner = options.get("runner")
    if runner and runner not in RUNNERS:
        raise RefusedError(
            f"--runner={runner}: not one that openwit runs on: use one of {', '.join(RUNNERS)}, or "
            "none: on this machine --set engine.mode=... chooses"
        )
    if options.get("setup_file"):
        options["setup_file"] = str(pathlib.Path(options["setup_file"]).absolute())
    return options


def _checked_name(word: str, known: Mapping[str, Any]) -> str:
    """Return the name in `--name=value`."""
    name = word.removeprefix("--").partition("=")[0]
    if not word.startswith("--"):
        raise RefusedError(f"-- {word}: not an option: write --name=value")
    if name in PINNED:
        raise RefusedError(f"--{name}: openwit sets it: use --set engine.{PINNED[name]}=...")
    if name.startswith("s3_"):  # only Beam would know, and neither driver nor manifests
        raise RefusedError(
            f"--{name}: not taken: set AWS_ENDPOINT_URL and the other AWS_ variables where the run "
            "is driven from and where its workers are"
        )
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean --{near[0]}?" if near else "see Beam's PipelineOptions"
        raise RefusedError(f"--{name}: not a Beam option: {hint}")
    return name
