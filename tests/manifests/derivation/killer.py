"""Runs a command in children that are killed (SIGKILL) at chosen moments; prints what was left.

`python killer.py COMMAND WORK` with the datasets `WORK/a` and `WORK/b`, and foreign tars in
`WORK/foreign`. A moment is a write, a sync, a rename or a removal: the child dies just before it.
"""

import datetime
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import sys
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from manifests.base import storage
from manifests.base.errors import OpenwitError
from manifests.derivation.choosing.plan import plan_drop
from manifests.derivation.choosing.selectors import Matcher, parse
from manifests.derivation.drop import apply_drop
from manifests.derivation.filter import filter_dataset
from manifests.derivation.foreign.build import from_foreign
from manifests.derivation.merge import merge
from manifests.derivation.sample import sample
from manifests.derivation.split import Part, split
from manifests.format import load

MOMENTS = 9
IN_PLACE = ("drop", "build")


def drop(work: str, out: str) -> None:
    plan = plan_drop(out, Matcher([parse("domain", "host1.example")]))
    apply_drop(plan, reason="optout", date=datetime.date(2026, 1, 2))


def build(work: str, out: str) -> None:
    if storage.size_bytes(f"{out}/manifest.json") is None:
        from_foreign(out, "webdataset")


COMMANDS: dict[str, Callable[[str, str], Any]] = {
    "sample": lambda work, out: sample(f"{work}/a", out, fraction="0.6"),
    "filter": lambda work, out: filter_dataset(f"{work}/a", out, where="duplicates = 0"),
    "split": lambda work, out: split(f"{work}/a", out, [Part("x", "0.3"), Part("y", "0.7")]),
    "merge": lambda work, out: merge([f"{work}/a", f"{work}/b"], out, on_duplicate="first"),
    "build-out": lambda work, out: from_foreign(f"{work}/foreign", "webdataset", out=out),
    "build": build,
    "drop": drop,
}


class Moments:
    """Counts what changes the disk; kills this process just before number `fatal`."""

    def __init__(self, fatal: int) -> None:
        self.count = 0
        self._fatal = fatal
        self._wrap(storage._DigestedFile, "write")
        self._wrap(os, "fsync")
        self._wrap(pathlib.Path, "replace")
        self._wrap(pathlib.Path, "unlink")

    def _wrap(self, owner: Any, name: str) -> None:
        plain = getattr(owner, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self._fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*arguments, **options)

        setattr(owner, name, counted)


def run(command: str, work: str, out: str, fatal: int) -> tuple[bool, int]:
    """Run in a child; whether it was killed, and how many moments it had."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        moments = Moments(fatal)
        try:
            COMMANDS[command](work, out)
        except OpenwitError as error:
            os.write(writes, f"error: {error}".encode())
            os._exit(1)
        os.write(writes, str(moments.count).encode())
        os._exit(0)
    os.close(writes)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reads, "rb") as pipe:
        told = pipe.read().decode()
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) == signal.SIGKILL, 0
    if status:
        raise RuntimeError(f"{command}, killed at moment {fatal}: {told}")
    return False, int(told)


def tree(out: str) -> dict[str, str]:
    """Digest of each file but those that were being written."""
    found = {}
    for path in sorted(pathlib.Path(out).rglob("*")):
        if path.is_file() and ".tmp-" not in path.name:
            found[str(path.relative_to(out))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def state(out: str) -> str:
    """What a reader finds: nothing yet, or a dataset all of whose files are as recorded."""
    roots = sorted(pathlib.Path(out).rglob("manifest.json"))
    told = []
    for root in roots:
        manifest = load(str(root.parent))
        findings = [each for shard in manifest.shards
                    for each in manifest.reader(shard).check("sha256")]  # fmt: skip
        findings += [file for file in manifest.files  # type: ignore[misc]
                     if storage.sha256_of(manifest.path(file.path)) != file.sha256]  # fmt: skip
        told.append(f"revision {manifest.revision}" if not findings else "damaged")
    return ", ".join(told) or "nothing"


def fresh(command: str, work: str, name: str) -> str:
    out = f"{work}/{name}"
    shutil.rmtree(out, ignore_errors=True)
    if command in IN_PLACE:
        shutil.copytree(f"{work}/{'a' if command == 'drop' else 'foreign'}", out)
    return out


def main(command: str, work: str) -> None:
    pa.set_cpu_count(1)
    whole = fresh(command, work, "whole")
    _, moments = run(command, work, whole, 0)
    expected = tree(whole)
    chosen = random.Random(command).sample(range(1, moments + 1), MOMENTS - 4)  # noqa: S311
    results = []
    for moment in sorted({*chosen, 1, moments - 2, moments - 1, moments}):
        out = fresh(command, work, "out")
        killed, _ = run(command, work, out, moment)
        left = state(out)
        run(command, work, out, 0)
        results.append({"killed": killed, "left": left, "same": tree(out) == expected})
    print(json.dumps(results))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
