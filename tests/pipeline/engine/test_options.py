import os
import pathlib

import pytest

from manifests.base.errors import RefusedError
from pipeline.engine import options
from pipeline.engine.options import EngineSettings, parse_beam_options, worker_count


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": -1},
        {"bucket_bytes": 1},
        {"max_error_rate": float("nan")},
        {"pool": "localhost:5"},
        {"pool": "", "mode": "pool"},
    ],
)
def test_a_setting_out_of_range_is_refused(wrong: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EngineSettings(**wrong)  # type: ignore[arg-type]


def test_workers_are_those_asked_for_else_one_a_core_as_far_as_memory_reaches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert worker_count(EngineSettings(workers=7)) == 7
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(options, "available_bytes", lambda: 64 << 30)
    assert worker_count(EngineSettings()) == 8
    monkeypatch.setattr(options, "available_bytes", lambda: 3 << 30)
    assert worker_count(EngineSettings()) == 3
    monkeypatch.setattr(options, "available_bytes", lambda: 100 << 20)
    assert worker_count(EngineSettings()) == 1


def test_the_system_says_how_much_memory_is_free() -> None:
    assert 1 << 20 < options.available_bytes() < 1 << 50


def test_beam_options_are_passed_on() -> None:
    assert parse_beam_options([]) == {}
    assert parse_beam_options(["--max_cache_memory_usage_mb=10"]) == {
        "max_cache_memory_usage_mb": 10
    }


def test_a_runner_and_what_goes_with_it_are_passed_on() -> None:
    words = ["--runner=PortableRunner", "--job_endpoint=localhost:1", "--setup_file=setup.py"]
    assert parse_beam_options(words) == {
        "runner": "PortableRunner",
        "job_endpoint": "localhost:1",
        "setup_file": str(pathlib.Path.cwd() / "setup.py"),
    }


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--runner=DaskRunner", "--runner=DaskRunner: not one that openwit runs on: use one of Po"),
        ("--runner=DirectRunner", "none: on this machine --set engine.mode=... chooses"),
        ("--job_endpoint=localhost:1", "--job_endpoint: goes with --runner=PortableRunner|"),
        ("--direct_num_workers=3", "--direct_num_workers: openwit sets it: .* engine.workers="),
        ("--max_cache_memory_usage=1", "did you mean --max_cache_memory_usage_mb"),
        ("--qqq=1", "--qqq: not a Beam option: see"),
        ("3", "-- 3: not an option: write --name=value"),
        ("--max_cache_memory_usage_mb=many", "Beam does not take these values"),
    ],
)
def test_unknown_or_pinned_beam_options_are_refused(argument: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        parse_beam_options([argument])


def test_options_that_only_beams_s3_would_hear_of_are_refused() -> None:
    with pytest.raises(RefusedError, match="--s3_endpoint_url: not taken: set AWS_ENDPOINT_URL"):
        parse_beam_options(["--s3_endpoint_url=http://localhost:9000"])
