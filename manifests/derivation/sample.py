"""`sample`: a part of the pairs, drawn by a keyed hash of their ids; smaller draws are subsets."""

import dataclasses
import math
import re
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests.base.errors import RefusedError
from manifests.derivation.copying.listing import write_list
from manifests.derivation.copying.rewrite import KEPT, LEFT_OUT, Derivation, Verdicts, rewrite
from manifests.format.ids import id_array, keyed_uniforms
from manifests.format.join import rows
from manifests.format.manifest import Manifest, load

PERSON = b"openwit.m.sample"
BUCKET_BITS = 16
# Bounded counts: linear in the text.
_FRACTION = re.compile(r"[01]|[01]?\.[0-9]{1,30}")


@dataclasses.dataclass(frozen=True)
class Draw:
    """Keeps the pairs whose hash and id, together, are below a limit."""

    seed: int
    limit: int
    """Hashes below it are kept."""
    last_id: str = ""
    """Of the pairs whose hash is the limit, ids up to this one are kept too."""

    def __call__(self, table: pa.Table) -> Verdicts:
        """Give the verdict on each row."""
        if self.limit == 2**64:
            return np.full(len(table), KEPT, np.uint8)
        ids, limit = id_array(table["pair_id"]), np.uint64(self.limit)
        drawn = keyed_uniforms(self.seed, ids, PERSON)
        is_kept = (drawn < limit) | ((drawn == limit) & (ids <= self.last_id.encode()))
        return np.where(is_kept, np.uint8(KEPT), np.uint8(LEFT_OUT))


def check_seed(seed: int) -> None:
    """Refuse a seed that has not 64 bits.

    Raises:
        RefusedError: naming it.
    """
    if not 0 <= seed < 2**64:
        raise RefusedError(f"--seed: {seed}: must be from 0 to 2^64 - 1")


def draw(
    source: Manifest, *, fraction: str | None = None, count: int | None = None, seed: int = 0
) -> Draw:
    """Return what decides about each pair.

    Args:
        source: the dataset.
        fraction: a decimal above 0, at most 1: the share of the hash range.
        count: how many pairs; all of them if there are fewer.
        seed: another seed, another draw.

    Raises:
        RefusedError: if not exactly one of `fraction` and `count` is given, or it is out of range.
    """
    check_seed(seed)
    if (fraction is None) == (count is None):
        raise RefusedError("--fraction, --n: give one of them")
    if fraction is not None:
        if not _FRACTION.fullmatch(fraction) or not 0 < Fraction(fraction) <= 1:
            raise RefusedError(f"--fraction {fraction}: must be a decimal above 0 and at most 1")
        return Draw(seed, math.floor(Fraction(fraction) * 2**64))
    if count is None or count < 1:
        raise RefusedError(f"--n {count}: must be at least 1")
    return _smallest(source, count, seed)


def _smallest(source: Manifest, count: int, seed: int) -> Draw:
    """Find the limit in two passes: which bucket of hashes holds it, then which pair of that."""
    shift = 64 - BUCKET_BITS
    sizes: NDArray[np.int64] = np.zeros(2**BUCKET_BITS, np.int64)
    for ids in _ids(source):
        buckets = keyed_uniforms(seed, ids, PERSON) >> np.uint64(shift)
        sizes += np.bincount(buckets.astype(np.int64), minlength=len(sizes))
    ends = np.cumsum(sizes)
    if count >= ends[-1]:
        return Draw(seed, 2**64)
    bucket = int(np.searchsorted(ends, count))
    inside = sorted(
        (uniform, identity.decode())
        for ids in _ids(source)
        for uniform, identity in zip(
            keyed_uniforms(seed, ids, PERSON).tolist(), ids.tolist(), strict=True
        )
        if uniform >> shift == bucket
    )
    return Draw(seed, *inside[count - int(ends[bucket] - sizes[bucket]) - 1])


def _ids(source: Manifest) -> Iterator[NDArray[np.bytes_]]:
    """Yield the different ids, ascending."""
    last = b""
    for table in rows(source, ["pair_id"]):
        ids = id_array(table["pair_id"])
        if len(ids):
            yield ids[np.concatenate([ids[:1] != last, ids[1:] != ids[:-1]])]
            last = ids[-1]


def sample(
    uri: str,
    out: str,
    *,
    fraction: str | None = None,
    count: int | None = None,
    seed: int = 0,
    list_only: bool = False,
    quiet: bool = True,
) -> tuple[int, Manifest | None]:
    """Write the drawn pairs as a dataset in `out`, or just their ids to the file `out`.

    Returns:
        How many pairs, and the dataset.

    Raises:
        RefusedError: if the arguments do not fit; nothing is written then.
        OpenwitError: if the dataset is damaged or changes meanwhile.
    """
    source = load(uri)
    choose = draw(source, fraction=fraction, count=count, seed=seed)
    if list_only:
        return write_list(source, out, choose, ["pair_id"]), None
    job = Derivation(
        sources=(source,),
        choose=choose,
        name=f"{source.name}-sample",
        op="sample",
        params={"fraction": fraction, "n": count, "seed": seed},
    )
    made = rewrite(job, out, quiet=quiet)
    return made.samples, made
