"""`split`: every pair to exactly one part, by a keyed hash of what must not be torn apart."""

import bisect
import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pyarrow as pa

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.derivation.copying.resume import check_outside, finish
from manifests.derivation.copying.rewrite import KEPT, LEFT_OUT, Derivation, Verdicts, rewrite
from manifests.derivation.sample import check_seed
from manifests.format.ids import host_of, keyed_uniform
from manifests.format.manifest import Manifest, load
from manifests.format.naming import ROOT_NAME
from manifests.format.records import By

COLUMN: dict[By, str] = {"host": "url", "page_host": "page_url"}
"""The column that a way to split reads, where it has another name."""
PERSON = b"openwit.m.split"

# One class after the other, none repeated: linear in the text.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_SHARE = re.compile(r"[01]|[01]?\.[0-9]{1,30}")


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
    check_seed(seed)
    source = load(uri)
    _check_out(source, out, parts)
    made = {}
    for number, part in enumerate(parts):
        job = Derivation(
            sources=(source,),
            columns=tuple(dict.fromkeys(("pair_id", COLUMN.get(by, by)))),
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
        folder = storage.join(out, part.name)
        made[part.name] = _existing(folder, job) or rewrite(job, folder, quiet=quiet)
    return made


def _existing(folder: str, job: Derivation) -> Manifest | None:
    """Return a part that an earlier, interrupted run of the same split completed."""
    if storage.size_bytes(storage.join(folder, ROOT_NAME)) is None:
        return None
    found = load(folder)
    told = found.parents[-1] if found.parents else {}
    if (told.get("digest"), told.get("params")) != (job.sources[0].digest, dict(job.params)):
        raise RefusedError(f"--out {folder}: holds another dataset: name a new folder")
    finish(folder)
    return found


def _check_out(source: Manifest, out: str, parts: Sequence[Part]) -> None:
    """Refuse an output folder that holds anything but parts."""
    check_outside([source], out)
    names = {name.partition("/")[0] for name in storage.list_files(out)}
    if not names <= {part.name for part in parts}:
        raise RefusedError(f"--out {out}: is not empty: name a new folder")


@dataclasses.dataclass(frozen=True)
class _Chooser:
    """Says which rows go to one part."""

    seed: int
    by: By
    ends: Sequence[int]
    part: int

    def __call__(self, rows: pa.Table) -> Verdicts:
        ids = rows["pair_id"].to_pylist()
        values = rows[COLUMN.get(self.by, self.by)].to_pylist()
        mine = [
            self._part_of(identity, value) == self.part
            for identity, value in zip(ids, values, strict=True)
        ]
        return np.where(np.array(mine, np.bool_), np.uint8(KEPT), np.uint8(LEFT_OUT))

    def _part_of(self, identity: str, value: str | None) -> int:
        if self.by in ("host", "page_host"):
            value = host_of(value)
        data = bytes.fromhex(identity) if self.by == "pair_id" or not value else value.encode()
        return bisect.bisect_right(self.ends, keyed_uniform(self.seed, data, PERSON))
