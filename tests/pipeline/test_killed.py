"""SIGKILL while the web is asked: what is saved is not asked again, and the result is equal."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pyarrow.parquet as pq
import pytest

from pipeline.crawl.frontier import VISITED
from pipeline.records import FETCHED
from tests.pipeline.stages.test_fetch import picture
from tests.pipeline.visit.loopback import Web, answer, serving

ROOT = pathlib.Path(__file__).parents[2]
WORKERS = 2
SECONDS = 500
"""A run takes a small part of it on a free machine."""
HOSTS = [f"h{number}.example" for number in range(8)]
PER_HOST = 6
POLITE = """
contact = "https://example.org/bot"
allow_networks = ["127.0.0.0/8"]
connect_to = [{places}]
delay_s = 0.0
delay_factor = 0.0
address_connections = 64
max_in_flight = 1
"""
"""One request at a time of one process, so that what may be repeated can be counted."""
FETCH = """
root = "run"
[input]
kind = "urls"
paths = ["list.csv"]
[queries]
file = "queries.txt"
[engine]
mode = "{mode}"
workers = 2
bucket_bytes = 32768
[fetch]
source = "web"
rounds = 1
segment_bytes = 1
"""
CRAWL = """
root = "run"
[queries]
file = "queries.txt"
[engine]
mode = "{mode}"
workers = 2
bucket_bytes = 32768
[crawl]
seeds = [{seeds}]
rounds = {rounds}
[fetch]
segment_s = 0.000001
"""


@dataclasses.dataclass
class Job:
    """A configuration, the command that runs it, and the web that it asks."""

    folder: pathlib.Path
    web: Web
    words: tuple[str, ...]
    result: Callable[[pathlib.Path], object]
    """What must be equal whatever was killed, by ROOT."""

    def start(self, folder: pathlib.Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "pipeline", self.words[0], str(folder / "config.toml")]
        command += self.words[1:]
        return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)  # noqa: S603

    def finish(self, folder: pathlib.Path) -> object:
        with self.start(folder) as process:
            assert process.wait(SECONDS) == 0
        return self.result(folder / "run")

    def asked(self) -> collections.Counter[str]:
        """Return how often each URL was asked for, consent files left out."""
        return collections.Counter(
            f"{each.host}{each.path}"
            for each in self.web.log
            if each.path not in {"/robots.txt", "/.well-known/tdmrep.json"}
        )


def images(root: pathlib.Path) -> object:
    paths = root.glob("stages/fetch-[0-9a-f]*/part-*.parquet")
    rows = [row for path in paths for row in pq.read_table(path, schema=FETCHED).to_pylist()]
    return sorted((row["url"], row["sha256"]) for row in rows)


def pages(root: pathlib.Path) -> object:
    paths = root.glob("stages/crawl-r*/part-*.parquet")
    rows = [row for path in paths for row in pq.read_table(path, schema=VISITED).to_pylist()]
    for row in rows:
        assert (root / row["warc"]).stat().st_size >= row["offset"] + row["length"]
    return sorted((row["url"], row["status"], row["outcome"]) for row in rows)


@contextlib.contextmanager
def job(folder: pathlib.Path, kind: str, mode: str) -> Iterator[Job]:
    """Give a job on a web of its own; in a mode of few processes a crawl has one round only."""
    with serving() as web:
        places = ", ".join(f'"{host}:80:127.0.0.1:{web.port}"' for host in HOSTS)
        (folder / "queries.txt").write_text("red\n")
        polite = POLITE.format(places=places)
        if kind == "fetch":
            names = [f"{host}/{number}.png" for host in HOSTS for number in range(PER_HOST)]
            web.answers = {
                name: answer(picture(number), after=0.01) for number, name in enumerate(names)
            }
            lines = [f"http://{name},a red thing {number}" for number, name in enumerate(names)]
            (folder / "list.csv").write_text("url,caption\n" + "\n".join(lines))
            (folder / "config.toml").write_text(FETCH.format(mode=mode) + polite)
            words = (*("--set", 'engine.mode="memory"'), "--until", "preselect")
            with Job(folder, web, ("run", *words), images).start(folder) as process:
                assert process.wait(SECONDS) == 0
            made = Job(folder, web, ("run", "--until", "fetch"), images)
        else:
            html = ("Content-Type: text/html",)
            links = "".join(f'<a href="{number}">x</a>' for number in range(PER_HOST - 1))
            web.default = answer(b"a page", headers=html, after=0.01)
            web.answers = {"/": answer(links.encode(), headers=html, after=0.01)}
            for path in ("/robots.txt", "/.well-known/tdmrep.json"):
                web.answers[path] = answer(b"", 404)
            rounds = 2 if mode == "processes" else 1
            paths = [""] if rounds == 2 else ["", *map(str, range(PER_HOST - 1))]
            seeds = ", ".join(f'"http://{host}/{path}"' for host in HOSTS for path in paths)
            config = CRAWL.format(seeds=seeds, mode=mode, rounds=rounds)
            (folder / "config.toml").write_text(config + polite)
            made = Job(folder, web, ("crawl",), pages)
        yield made


def kill_at(made: Job, moments: list[int], tmp_path: pathlib.Path) -> None:
    """Run once undisturbed, then once for each moment: killed after so many requests, run again."""
    whole = tmp_path / "whole"
    shutil.copytree(made.folder, whole)
    expected = made.finish(whole)
    once = made.asked()
    assert set(once.values()) == {1}
    assert len(once) == len(HOSTS) * PER_HOST
    for moment in moments:
        made.web.log.clear()
        folder = tmp_path / f"killed-{moment}"
        shutil.copytree(made.folder, folder)
        with made.start(folder) as process:
            end = time.monotonic() + SECONDS
            while len(made.web.log) < moment and process.poll() is None:
                assert time.monotonic() < end
                time.sleep(0.001)
            os.kill(process.pid, signal.SIGKILL)
        assert made.finish(folder) == expected, moment
        asked = made.asked()
        assert set(asked) == set(once), moment
        repeated = [url for url, times in asked.items() if times > 1]
        # A segment is one answer here, and each worker is at one unit.
        assert sum(asked.values()) - len(asked) <= WORKERS, (moment, repeated)


def moments(count: int) -> list[int]:
    """Return so many seeded numbers of requests, consent files counted, in all of a run."""
    total = len(HOSTS) * (PER_HOST + 2)
    return sorted(random.Random(0).sample(range(1, total), count))  # noqa: S311 (no secret)


@pytest.mark.timeout(600)  # each command takes 5 s on a free machine
@pytest.mark.parametrize("kind", ["fetch", "crawl"])
def test_what_was_saved_is_not_asked_again(tmp_path: pathlib.Path, kind: str) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    with job(folder, kind, "memory") as made:
        kill_at(made, moments(1), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["fetch", "crawl"])
def test_it_may_be_killed_at_any_moment(tmp_path: pathlib.Path, kind: str) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    with job(folder, kind, "processes") as made:
        kill_at(made, moments(10), tmp_path)
