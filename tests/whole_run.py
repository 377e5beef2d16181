"""Whole runs on the made-up site, through the command itself, and what is compared of them."""

import pathlib
import subprocess
import sys
from collections.abc import Sequence

from tests.toy_site import QUERIES, write_archives

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = """
root = "run"
[input]
kind = "warc"
paths = ["@archives.txt"]
[queries]
file = "queries.txt"
[select]
cap = 30
[fetch]
unit_rows = 4
[shards]
samples_per_shard = 25
"""


def make_job(folder: pathlib.Path) -> pathlib.Path:
    """Write archives, list and configuration, and return the configuration's path."""
    names = write_archives(folder)
    (folder / "archives.txt").write_text("\n".join(names))
    (folder / "queries.txt").write_text("\n".join(QUERIES))
    config = folder / "config.toml"
    config.write_text(CONFIG)
    return config


def command(*words: str | pathlib.Path) -> list[str]:
    package, *rest = map(str, words)
    return [sys.executable, "-m", package, *rest]


def call(*words: str | pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 (words of this file)
        command(*words), cwd=ROOT, capture_output=True, text=True, check=False
    )


def run(config: pathlib.Path, *settings: str) -> subprocess.CompletedProcess[str]:
    words = [word for setting in settings for word in ("--set", setting)]
    return call("pipeline", "run", config, *words)


def run_bytes(folder: pathlib.Path, below: Sequence[str] = ("run",)) -> dict[str, bytes]:
    """Return all files of a run but what may differ between equal runs."""
    root = folder.joinpath(*below)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] != "runs"
    }
