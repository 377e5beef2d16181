import errno
import pathlib

import pytest

from manifests.base.errors import AccountingError, OpenwitError
from pipeline.engine.jobs import attempts
from pipeline.engine.jobs.attempts import Job, failures_error, read_failure
from tests.pipeline.engine.engine_kernels import make_step


@pytest.fixture
def job(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(attempts, "WAITS_SECONDS", (0.0, 0.0))
    return Job(
        step=make_step(),
        spec="0" * 64,
        root=str(tmp_path),
        log=str(tmp_path / "runs" / "1"),
        max_error_rate=0.001,
        bucket_bytes=1 << 20,
        batch_rows=8192,
    )


class Broken:
    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


def test_a_hiccup_of_the_storage_is_retried(job: Job) -> None:
    call = Broken(OSError(errno.EIO, "io"), OSError(errno.ETIMEDOUT, "late"))
    assert job.attempt("u", call)
    assert call.calls == 3


@pytest.mark.parametrize(
    ("error", "calls"),
    [(OSError(errno.ENOSPC, "full"), 1), (ValueError("bad"), 1), (OSError(errno.EIO, "io"), 3)],
)
def test_what_does_not_pass_is_written_down(job: Job, error: Exception, calls: int) -> None:
    call = Broken(*[error] * 9)
    assert not job.attempt("u", call)
    assert call.calls == calls
    failure = read_failure(job.log, "make", "u")
    assert failure is not None
    assert (failure.error, failure.message) == (type(error).__name__, str(error))


def test_a_message_is_flat_and_bounded(job: Job) -> None:
    job.attempt("u", Broken(ValueError("a\n\n b" + "x" * 1000)))
    failure = read_failure(job.log, "make", "u")
    assert failure is not None
    assert failure.message.startswith("a bxx")
    assert len(failure.message) == 500


def test_sums_that_do_not_match_weigh_more_than_other_failures(job: Job) -> None:
    job.attempt("a", Broken(ValueError("bad")))
    job.attempt("b", Broken(AccountingError("sums")))
    found = [read_failure(job.log, "make", unit) for unit in ("a", "b", "c")]
    failures = [failure for failure in found if failure is not None]
    error = failures_error(job.step, failures, 3)
    assert isinstance(error, AccountingError)
    assert "make unit a: ValueError: bad (and 1 more): 1 of 3 units are done" in str(error)
    assert type(failures_error(job.step, failures[:1], 3)) is OpenwitError
