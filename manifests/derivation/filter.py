"""`filter`: the pairs of which an SQL expression is true, or that a file lists."""

import dataclasses
import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.derivation.choosing.expression import Expression
from manifests.derivation.choosing.idlist import Extra, read_ids
from manifests.derivation.copying.listing import write_list
from manifests.derivation.copying.rewrite import (
    KEPT,
    LEFT_OUT,
    Derivation,
    Verdicts,
    joined_schema,
    rewrite,
)
from manifests.format.join import rows
from manifests.format.manifest import Manifest, load

NOT_LISTED, WHERE = LEFT_OUT + 1, LEFT_OUT + 2
REASONS = ("not_listed", "where")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Test:
    """What a pair must pass."""

    where: Expression | None = None
    ids: pa.Array | None = None
    extra: Extra | None = None
    exclude: bool = False
    """Whether pairs that pass go, and the others stay."""

    def __call__(self, table: pa.Table) -> Verdicts:
        """Give the verdict on each row."""
        verdicts = np.full(len(table), KEPT, np.uint8)
        if self.where is not None:
            shown = self.extra.joined(table) if self.extra is not None else table
            verdicts[~self.where(shown)] = WHERE
        if self.ids is not None:
            is_listed = pc.is_in(table["pair_id"], value_set=self.ids)
            verdicts[~is_listed.to_numpy()] = NOT_LISTED
        if self.exclude:
            # Under `exclude` the reason is the test that was passed.
            reason = WHERE if self.where is not None else NOT_LISTED
            verdicts = np.where(verdicts == KEPT, np.uint8(reason), np.uint8(KEPT))
        return verdicts


@dataclasses.dataclass(frozen=True)
class Filtered:
    """What `filter` did."""

    rows_in: int
    rows_out: int
    not_found: int
    """Listed ids that the dataset has not."""
    dataset: Manifest | None
    """None if only ids were listed."""


def filter_dataset(
    uri: str,
    out: str,
    *,
    where: str | None = None,
    ids: str | None = None,
    extra: str | None = None,
    exclude: bool = False,
    list_only: bool = False,
    quiet: bool = True,
) -> Filtered:
    """Write the pairs that pass as a dataset in `out`, or just their ids to the file `out`.

    Args:
        uri: the dataset.
        out: a folder, absent or empty; with `list_only` a file that is not there yet.
        where: an SQL expression over the columns of a row; null is false.
        ids: a file of pair ids. With `where` too, a pair must pass both.
        extra: a Parquet file, or a folder of them, whose columns `where` may use, joined by
            `pair_id`.
        exclude: keep the pairs that do not pass instead.
        list_only: write ids as text, one a line.
        quiet: whether no progress is shown.

    Raises:
        RefusedError: if the arguments do not fit; nothing is written then.
        OpenwitError: if the dataset is damaged or changes meanwhile.
    """
    source = load(uri)
    test = _test(source, where, ids, extra, exclude=exclude)
    found = 0 if test.ids is None else _count_listed(source, test.ids)
    missing = 0 if test.ids is None else len(test.ids) - found
    if list_only:
        count = write_list(source, out, test)
        return Filtered(source.samples, count, missing, None)
    job = Derivation(
        sources=(source,),
        columns=tuple(name for name in joined_schema([source]).names if where is not None)
        or ("pair_id",),
        choose=test,
        reasons=REASONS,
        accounts=True,
        name=f"{source.name}-filter",
        op="filter",
        params={
            "where": where,
            "ids": _digest(ids) if ids is not None else None,
            "with": _digest(*test.extra.paths) if test.extra else None,
            "exclude": exclude,
        },
    )
    made = rewrite(job, out, quiet=quiet)
    return Filtered(source.samples, made.samples, missing, made)


def _test(
    source: Manifest, where: str | None, ids: str | None, extra: str | None, *, exclude: bool
) -> Test:
    if where is None and ids is None:
        raise RefusedError("--where, --ids: give one of them, or both")
    if extra is not None and where is None:
        raise RefusedError("--with: is used by --where only")
    schema = joined_schema([source])
    more = Extra(extra) if extra is not None else None
    for field in more.schema if more is not None else ():
        if field.name in schema.names:
            raise RefusedError(f"--with {extra}: column {field.name}: the dataset has one already")
        schema = schema.append(field)
    return Test(
        where=Expression(where, schema) if where is not None else None,
        ids=read_ids(ids) if ids is not None else None,
        extra=more,
        exclude=exclude,
    )


def _digest(*paths: str) -> str:
    """Return the digest of a file, or of the digests of several."""
    found = [storage.sha256_of(path) for path in paths]
    if len(found) > 1:
        found = [hashlib.sha256("".join(found).encode()).hexdigest()]
    return f"sha256:{found[0]}"


def _count_listed(source: Manifest, ids: pa.Array) -> int:
    found: set[str] = set()
    for table in rows(source, ["pair_id"]):
        found.update(table.filter(pc.is_in(table["pair_id"], value_set=ids))["pair_id"].to_pylist())
    return len(found)
