"""`split`: every pair to exactly one part, by a keyed hash of what must not be torn apart."""

import bisect
import dataclasses
import hashlib
import itertools
import math
import pathlib
import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests.base import storage
from manifests.base.console import Progress
from manifests.base.errors import RefusedError
from manifests.derivation.rewrite import Derivation, rewrite
from manifests.format.manifest import Manifest, load
from manifests.format.records import By

COLUMN: dict[By, str] = {"host": "url", "page_host": "page_url"}
"""The column that a way to split reads, where it has another name."""
PERSON = b"openwit.m.split"

# One class after the other, none repeated: linear in the text.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_SHARE = re.compile(r"[01]|[01]?\.[0-9]{1,30}")
_HOST = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#]*)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Part:
    """A part and its share of the hash range, an exact decimal."""

    name: str
    share: str
    """As it was written: no rounding."""


def parse_part(text: str) -> Part:
    """Read `NAME=SHARE`, for example `test=0.25`.

    Raises:
        RefusedError: if the name is no safe folder name or the share is not from 0 to 1.
    """
    name, equals, number = text.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise RefusedError(f"--part {text}: write NAME=SHARE, the name of letters, digits, . _ -")
    if not _SHARE.fullmatch(number) or not 0 < Fraction(number) <= 1:
        raise RefusedError(f"--part {text}: {number!r} is not a decimal above 0 and at most 1")
    return Part(name, number)


def keyed_uniform(seed: int, data: bytes, person: bytes = PERSON) -> int:
    """Return u(seed, person, data): 64 bits, uniform, the same on every machine."""
    digest = hashlib.blake2b(seed.to_bytes(8, "little") + data, digest_size=8, person=person)
    return int.from_bytes(digest.digest(), "little")


def bounds(parts: Sequence[Part]) -> list[int]:
    """Return the end of each part in the hash range: floor(cumulative share x 2^64).

    Raises:
        RefusedError: if names repeat or the shares do not sum to exactly 1.
    """
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise RefusedError(f"--part {', '.join(names)}: a name occurs twice")
    sums = list(itertools.accumulate(Fraction(part.share) for part in parts))
    if not sums or sums[-1] != 1:
        told = " + ".join(part.share for part in parts) or "no part"
        raise RefusedError(f"--part: the shares do not sum to exactly 1: {told}")
    return [math.floor(total * 2**64) for total in sums]


def split(
    uri: str,
    out: str,
    parts: Sequence[Part],
    *,
    seed: int = 0,
    by: By = "pair_id",
    quiet: bool = True,
) -> dict[str, Manifest]:
    """Write each part as a dataset in `out/NAME`.

    Args:
        uri: the dataset.
        out: a folder, absent or empty, outside the dataset.
        parts: their shares sum to 1.
        seed: another seed, another split.
        by: pairs with an equal value of this land in one part; a pair without one goes by its id.
        quiet: whether no progress is shown.

    Raises:
        RefusedError: if the arguments do not fit; nothing is written then.
        OpenwitError: if the dataset is damaged or changes meanwhile.
    """
    ends = bounds(parts)
    if not 0 <= seed < 2**64:
        raise RefusedError(f"--seed: {seed}: must be from 0 to 2^64 - 1")
    source = load(uri)
    check_out(source, out)
    made = {}
    shown = None if quiet else Progress("split", source.samples * len(parts))
    for number, part in enumerate(parts):
        job = Derivation(
            source=source,
            columns=("pair_id",) if by == "pair_id" else ("pair_id", COLUMN.get(by, by)),
            choose=_Chooser(seed, by, ends, number),
            name=f"{source.name}-{part.name}",
            op="split",
            params={
                "part": part.name,
                "parts": {each.name: each.share for each in parts},
                "seed": seed,
                "by": by,
            },
        )
        before = source.samples * number
        update = (lambda rows, n=before: shown.update(n + rows, n + rows)) if shown else _ignore
        made[part.name] = rewrite(job, storage.join(out, part.name), progress=update)
    if shown:
        shown.close()
    return made


def _ignore(rows: int) -> None:
    """Show nothing."""


@dataclasses.dataclass(frozen=True)
class _Chooser:
    """Says which rows go to one part."""

    seed: int
    by: By
    ends: Sequence[int]
    part: int

    def __call__(self, rows: pa.Table) -> NDArray[np.bool_]:
        ids = rows["pair_id"].to_pylist()
        values = rows[COLUMN.get(self.by, self.by)].to_pylist()
        return np.array(
            [self._part_of(identity, value) == self.part
             for identity, value in zip(ids, values, strict=True)],
            np.bool_,
        )  # fmt: skip

    def _part_of(self, identity: str, value: str | None) -> int:
        if self.by in ("host", "page_host"):
            value = host_of(value)
        data = bytes.fromhex(identity) if self.by == "pair_id" or not value else value.encode()
        return bisect.bisect_right(self.ends, keyed_uniform(self.seed, data))


def host_of(url: str | None) -> str | None:
    """Return the host of a URL in its canonical form, without user info and port; else None.

    >>> host_of("http://me@example.com:8080/a.jpg")
    'example.com'
    """
    found = _HOST.match(url or "")
    if not found:
        return None
    host = found[1].rpartition("@")[2]
    if host.startswith("["):  # IPv6
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower() or None


def check_out(source: Manifest, out: str) -> None:
    """Refuse an output folder that holds something or lies inside the source.

    Raises:
        RefusedError: naming it.
    """
    if not storage.is_empty(out):
        raise RefusedError(f"--out {out}: is not empty: name a new folder")
    if storage.is_local(source.root) and storage.is_local(out):
        inside = pathlib.Path(out).resolve()
        if inside.is_relative_to(pathlib.Path(source.root).resolve()):
            raise RefusedError(f"--out {out}: lies inside the dataset {source.root}")
