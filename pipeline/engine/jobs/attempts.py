"""One attempt at a unit: storage hiccups are retried, a failure becomes a file below ROOT/runs."""

import dataclasses
import errno
import json
import logging
import time
from collections.abc import Callable

from manifests.base.errors import AccountingError, OpenwitError
from manifests.base.install import check_install
from manifests.base.version import __version__
from pipeline.engine import files
from pipeline.engine.parts import read_in_batches_of
from pipeline.engine.stage_dir import folder_of
from pipeline.engine.steps import MapStep, ShuffleStep
from pipeline.engine.units import canonical_json

HICCUPS = frozenset({errno.EIO, errno.ETIMEDOUT, errno.ECONNRESET})
WAITS_SECONDS = (0.5, 2.0, 8.0)
MESSAGE_CHARACTERS = 500

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """All that a worker needs to know of a step; it travels inside the DoFns."""

    step: MapStep | ShuffleStep
    spec: str
    root: str
    log: str
    """Folder of this run below ROOT/runs, for failures."""
    max_error_rate: float
    bucket_bytes: int
    batch_rows: int
    spills: bool = False
    """Whether a shuffle's rows wait in files of the step's directory, not in the runner."""
    version: str = __version__
    """That of the driver."""

    def prepare_worker(self) -> None:
        """Refuse to work with another openwit than the driver's, or one that is shadowed.

        From then on the process reads in batches of the driver's size.

        Raises:
            OpenwitError: naming both versions, or the package.
        """
        if self.version != __version__:
            raise OpenwitError(
                f"worker: has openwit {__version__}, the driver {self.version}: install one "
                "version in both environments"
            )
        check_install()
        read_in_batches_of(self.batch_rows)

    @property
    def folder(self) -> str:
        """The step's directory, relative to ROOT."""
        return folder_of(self.step.name, self.spec)

    def attempt(self, unit_id: str, call: Callable[[], object]) -> bool:
        """Do a unit's work; tell whether it succeeded. A failure is written down, never raised."""
        try:
            _with_retries(call)
        except Exception as error:  # whatever a kernel raises fails its unit only
            _LOG.debug("%s unit %s failed", self.step.name, unit_id, exc_info=True)
            failure = Failure(
                unit=unit_id,
                error=type(error).__name__,
                message=" ".join(str(error).split())[:MESSAGE_CHARACTERS],
                sums=isinstance(error, AccountingError),
            )
            files.write_atomic(
                failure_path(self.log, self.step.name, unit_id),
                canonical_json(dataclasses.asdict(failure)),
            )
            return False
        return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a unit failed, as the driver reports it."""

    unit: str
    error: str
    message: str
    sums: bool
    """Whether sums did not match."""


def failure_path(log: str, step: str, unit_id: str) -> str:
    """Return where a unit's failure is written."""
    return files.join(log, f"failed-{step}-{unit_id}.json")


def read_failure(log: str, step: str, unit_id: str) -> Failure | None:
    """Return a unit's failure in this run, or None."""
    path = failure_path(log, step, unit_id)
    return None if files.size_bytes(path) is None else Failure(**json.loads(files.read_bytes(path)))


def packed_path(log: str, step: str, unit_id: str) -> str:
    """Return where it is written how many bytes of blocks a unit packed for a shuffle."""
    return files.join(log, f"packed-{step}-{unit_id}.json")


def read_packed(log: str, step: str, unit_id: str) -> int:
    """Return the bytes that a unit packed in this run."""
    path = packed_path(log, step, unit_id)
    return 0 if files.size_bytes(path) is None else int(json.loads(files.read_bytes(path)))


def failures_error(
    step: MapStep | ShuffleStep, failures: list[Failure], units: int
) -> OpenwitError:
    """Return the one error that stands for a step's failed units."""
    first = failures[0]
    kind = AccountingError if any(failure.sums for failure in failures) else OpenwitError
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return kind(
        f"{step.name} unit {first.unit}: {first.error}: {first.message}{more}: "
        f"{units - len(failures)} of {units} units are done; mend the cause and run the same "
        "command to go on"
    )


def _with_retries(call: Callable[[], object]) -> None:
    for wait in WAITS_SECONDS:
        try:
            call()
        except OSError as error:
            if error.errno not in HICCUPS:
                raise
            time.sleep(wait)
        else:
            return
    call()
