"""`gc`: files in a dataset's folder that its manifest does not list."""

import contextlib
import dataclasses
import pathlib
import re
import time
from collections.abc import Callable
from typing import Literal

from manifests.base import storage
from manifests.base.lock import locked
from manifests.format.manifest import Manifest
from manifests.format.naming import EXPORT_NAMES, LOCK_NAME, ROOT_NAME

Kind = Literal["temporary", "superseded", "other"]
# Names that only openwit gives; bounded counts: linear in the text.
_OURS = re.compile(
    r"shards/[0-9]{8}(-r[0-9]{1,9})?\.(tar|parquet|json)"
    r"|(queries|inputs|tombstones)(-r[0-9]{1,9})?\.parquet"
    r"|ledger/[A-Za-z0-9._-]{1,80}\.parquet"
    r"|\.openwit-unfinished"
)
_HOURS = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclasses.dataclass(frozen=True)
class Stray:
    """A file that no manifest lists."""

    path: str
    kind: Kind
    bytes: int
    is_young: bool
    """Whether it may be one that is being written."""


def parse_age(text: str) -> float:
    """Read an age such as `24h` as seconds.

    Raises:
        ValueError: if it is not a whole number and one of s, m, h, d.
    """
    found = _HOURS.fullmatch(text)
    if not found:
        raise ValueError(f"must be a number and s, m, h or d, as in 24h, got {text!r}")
    return float(found[1]) * _SECONDS[found[2]]


def strays(
    manifest: Manifest,
    *,
    older_than_seconds: float = 0,
    everything: bool = False,
    clock: Callable[[], float] = time.time,
) -> list[Stray]:
    """Return the files of the folder that are not the dataset's, in the order of their names.

    Args:
        manifest: the dataset.
        older_than_seconds: younger files may be being written; on a local disk alone is this known.
        everything: also files that openwit did not name.
        clock: seconds since the epoch; it decides about ages only.
    """
    listed = {file.path for file in manifest.files} | {ROOT_NAME, LOCK_NAME, *EXPORT_NAMES}
    for shard in manifest.shards:
        listed |= {shard.tar.path, shard.parquet.path, shard.record_path}
    found = []
    for path, size in storage.list_files(manifest.root).items():
        kind = _kind(path)
        if path not in listed and (everything or kind != "other"):
            young = _age(manifest.path(path), clock) < older_than_seconds
            found.append(Stray(path, kind, size, young))
    return found


def collect(manifest: Manifest, found: list[Stray]) -> list[Stray]:
    """Delete openwit's own strays that are not young and return them; takes the lock."""
    gone = [stray for stray in found if not stray.is_young and stray.kind != "other"]
    with locked(manifest.root, LOCK_NAME):
        for stray in gone:
            storage.remove(manifest.path(stray.path))
    return gone


def _kind(path: str) -> Kind:
    if ".tmp-" in path.rpartition("/")[2]:
        return "temporary"
    return "superseded" if _OURS.fullmatch(path) else "other"


def _age(path: str, clock: Callable[[], float]) -> float:
    age = float("inf")
    if storage.is_local(path):
        with contextlib.suppress(OSError):
            age = clock() - pathlib.Path(path).lstat().st_mtime
    return age
