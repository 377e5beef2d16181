"""The whole path through the commands themselves: archives to a dataset, bytes compared."""

import gc
import io
import json
import os
import pathlib
import signal
import subprocess
import tarfile
import time

import duckdb
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from tests.whole_run import ROOT, call, command, make_job, run, run_bytes

DEADLINE_SECONDS = 50


def sql(query: str) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(query).fetchall()


@pytest.mark.timeout(240)  # each step starts its own workers, two CPU-seconds apiece
def test_two_worker_processes_make_the_same_bytes(
    finished: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    done = run(make_job(tmp_path), 'engine.mode="processes"', "engine.workers=2")
    assert done.returncode == 0, done.stderr
    assert run_bytes(tmp_path) == run_bytes(finished)


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    finished: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    config = make_job(tmp_path)
    words = command("pipeline", "run", config, "--set", 'engine.mode="memory"')
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL) as process:  # noqa: S603
        end = time.monotonic() + DEADLINE_SECONDS
        while not list(tmp_path.glob("run/stages/fetch-[0-9a-f]*/unit-*.json")):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    assert not list(tmp_path.glob("run/stages/fetch-[0-9a-f]*/stage.json"))
    done = run(config, 'engine.mode="memory"')
    assert done.returncode == 0, done.stderr
    assert run_bytes(tmp_path) == run_bytes(finished)


def test_a_second_run_redoes_nothing(finished: pathlib.Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "run").rglob("*.parquet")}
    done = run(finished / "config.toml")
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    runs = sorted((finished / "run" / "runs").glob("[0-9]*.json"))
    steps = json.loads(runs[-1].read_text())["steps"]
    assert all(step["reused"] == step["units"] for step in steps)


def test_every_candidate_is_in_the_dataset_or_in_the_ledger(finished: pathlib.Path) -> None:
    dataset = finished / "run" / "dataset"
    funnel = json.loads((dataset / "manifest.json").read_text())["funnel"]
    assert all(each["rows_in"] == each["rows_out"] + sum(each["drops"].values()) for each in funnel)
    assert [each["rows_out"] for each in funnel[:-1]] == [each["rows_in"] for each in funnel[1:]]
    fetch = next(each for each in funnel if each["stage"] == "fetch")
    assert fetch["drops"] == {
        "aspect_ratio": 1,
        "not_in_archive": 1,
        "optout_page": 1,
        "too_small": 1,
        "truncated_image": 1,
    }
    dropped = sql(
        f"select url, caption, stage, reason from '{dataset}/ledger/*.parquet' where url is not null"  # noqa: S608, E501
    )
    assert ("http://toy.example/img/no.png", "a red no", "fetch", "optout_page") in dropped
    kept = sql(f"select pair_id from '{dataset}/shards/*.parquet'")  # noqa: S608
    lost = sql(
        f"select pair_id from '{dataset}/ledger/*.parquet' where pair_id is not null"  # noqa: S608
    )
    assert len(kept) + len(lost) == 96  # 90 pictures and six that are special
    assert len({*kept, *lost}) == 96


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_others_read_the_shards_as_they_are(finished: pathlib.Path) -> None:
    dataset = finished / "run" / "dataset"
    tars = sorted((dataset / "shards").glob("*.tar"))
    rows = [row for tar in tars for row in pq.read_table(tar.with_suffix(".parquet")).to_pylist()]
    assert len(tars) > 1
    with tarfile.open(tars[0]) as tar:
        names = tar.getnames()
    assert names[:3] == ["000000000.jpg", "000000000.txt", "000000000.json"]
    samples = list(webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False))
    gc.collect()  # it leaves its files to the collector
    assert [sample["__key__"] for sample in samples] == [row["key"] for row in rows]
    assert [sample["txt"].decode() for sample in samples] == [row["caption"] for row in rows]
    sizes = [Image.open(io.BytesIO(sample["jpg"])).size for sample in samples]
    assert sizes == [(row["width"], row["height"]) for row in rows]
    (counted,) = sql(f"select count(*) from '{dataset}/shards/*.parquet'")  # noqa: S608
    assert counted == (len(rows),)


def test_the_dataset_is_as_its_manifest_says(finished: pathlib.Path) -> None:
    for level in ("--fast", "--sha256", "--deep"):
        done = call("manifests", "verify", finished / "run" / "dataset", level)
        assert done.returncode == 0, done.stdout
    shown = call("manifests", "show", finished / "run" / "dataset", "--json")
    counted = call("manifests", "stats", finished / "run" / "dataset", "--json")
    assert json.loads(shown.stdout)["totals"]["samples"] == json.loads(counted.stdout)["pairs"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["select.capp=3"], "config.toml [select] capp: not a setting: did you mean cap?"),
        (["select.cap=0"], "cap must be at least 1, got 0"),
        (['input.paths=["absent.warc.gz"]'], "1 of 1 files are missing"),
        (['input.paths=["queries.txt"]'], "not WARC archives"),
        (['queries.file="absent.txt"'], "no such file: check [queries]"),
    ],
)
def test_a_wrong_configuration_is_one_message_before_any_work(
    tmp_path: pathlib.Path, settings: list[str], said: str
) -> None:
    done = run(make_job(tmp_path), *settings)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "stages").exists()
