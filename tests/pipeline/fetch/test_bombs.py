"""Bombs of all codings, each in a process of its own: what they take of memory."""

import gzip
import pathlib
import subprocess
import sys

import brotli
import pytest
import zstandard

from pipeline.fetch.settings import FetchSettings
from tests.pipeline.stages.test_fetch_hostile import GZIP, ZEROS, coded
from tests.pipeline.visit.loopback import Answer, raw, serving

ROOT = pathlib.Path(__file__).parents[3]
CLEAR_REFS = pathlib.Path("/proc/self/clear_refs")
BOMBED = """
import pathlib, sys
from pipeline.fetch.settings import FetchSettings
from pipeline.fetch.asking.hosts import body_of
from pipeline.visit.client import Client
from pipeline.visit.fetcher import Request

settings = FetchSettings(contact="https://example.org/", allow_networks=("127.0.0.0/8",))
client = Client(settings)

def ask(url):
    client.submit(Request(key=0, url=url, kind="image", total_seconds=30.0,
                          max_bytes=settings.max_bytes))
    while not (found := client.results(1.0)):
        pass
    drop = found[0].drop or body_of(found[0], settings.max_bytes)
    return getattr(drop, "reason", "")

def status(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) << 10

ask(sys.argv[1] + "warm")
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
before = status("VmRSS:")
reason = ask(sys.argv[1] + sys.argv[2])
print(reason, (status("VmHWM:") - before) / settings.max_bytes)
"""


@pytest.mark.skipif(not CLEAR_REFS.exists(), reason="needs Linux: peaks of memory are not reset")
def test_bombs_take_less_than_twice_the_limit_of_memory() -> None:
    bombs: dict[str, Answer] = {
        "gzip": coded(GZIP, "gzip"),
        "br": coded(brotli.compress(ZEROS, quality=1), "br"),
        "zstd": coded(zstandard.compress(ZEROS), "zstd"),
        "nested": coded(gzip.compress(GZIP), "gzip", "gzip"),
        "wire": raw(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(2 * FetchSettings().max_bytes)),
    }
    with serving() as web:
        web.answers = {f"/{name}": given for name, given in bombs.items()}
        web.answers["/warm"] = coded(gzip.compress(bytes(1 << 16)), "gzip")
        running = {
            name: subprocess.Popen(  # noqa: S603 (words of this file)
                [sys.executable, "-c", BOMBED, web.url("/"), name],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in bombs
        }
        found = {name: process.communicate()[0].split() for name, process in running.items()}
    reasons = {name: reason for name, (reason, _) in found.items()}
    assert reasons == {**dict.fromkeys(bombs, "body_encoding"), "wire": "too_large"}
    grown = {name: float(share) for name, (_, share) in found.items()}
    assert max(grown.values()) < 2, grown
