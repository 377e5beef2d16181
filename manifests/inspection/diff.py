"""`diff`: which pairs two datasets have in common, and what of them is not equal."""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.format.ids import are_first, are_in, id_array
from manifests.format.join import SHARD, blocks, rows
from manifests.format.manifest import Manifest
from manifests.format.schema import OFFSET_COLUMNS
from manifests.format.table import TableWriter

CHANGES = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("change", pa.string(), nullable=False),
        pa.field("columns", pa.list_(pa.string()), nullable=False),
    ]
)
"""One row per pair that is not equal; change: added, removed, changed or moved."""
_PLACE = ("key", SHARD, *OFFSET_COLUMNS)
"""Columns that say where a sample is, not what it is."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """What two datasets have in common."""

    digests: tuple[str, str]
    shards: tuple[int, int]
    samples: tuple[int, int]
    config: dict[str, tuple[Any, Any]]
    """Settings, as dotted names, whose values differ."""
    libraries: dict[str, tuple[Any, Any]]
    pairs: Mapping[str, int]
    """added, removed, changed, moved, equal."""
    columns: Mapping[str, int]
    """Changed pairs by column."""

    @property
    def encoding_only(self) -> bool:
        """Whether all rows are equal and the bytes of the shards are not."""
        same = sum(self.pairs.values()) == self.pairs["equal"]
        return same and self.digests[0] != self.digests[1]

    @property
    def is_empty(self) -> bool:
        """Whether the samples, the settings and the libraries are the same."""
        return self.digests[0] == self.digests[1] and not self.config and not self.libraries

    def to_json(self) -> dict[str, Any]:
        """Return the difference as JSON values."""
        return {
            "kind": "openwit-diff",
            "ok": self.is_empty,
            "encoding_only": self.encoding_only,
        } | dataclasses.asdict(self)


def diff(
    left: Manifest, right: Manifest, *, columns: Sequence[str] | None = None, out: str | None = None
) -> Difference:
    """Compare two datasets; equal digests end it, else rows are joined in the order of their ids.

    Args:
        left: the old one.
        right: the new one.
        columns: compare these alone; by default all that both have, where samples are left out.
        out: a Parquet file to write with a row for each pair that is not equal.

    Raises:
        RefusedError: if a column is in neither dataset.
        OpenwitError: if a shard cannot be read.
    """
    known = [{str(column["name"]) for column in side.schema} for side in (left, right)]
    for name in columns or ():
        if name not in known[0] & known[1]:
            raise RefusedError(f"--columns {name}: not a column of both datasets")
    shared = sorted(set(columns or known[0] & known[1]) - set(_PLACE) | {"pair_id"})
    counts: collections.Counter[str] = collections.Counter()
    by_column: collections.Counter[str] = collections.Counter()
    changes = _changes(left, right, shared) if left.digest != right.digest else iter(())
    with _writer(out) as write:
        for batch in changes:
            counts[batch["change"][0].as_py()] += batch.num_rows  # one change a batch
            by_column.update(pc.list_flatten(batch["columns"]).to_pylist())
            write(batch)
    both = left.samples - counts["removed"]
    equal = both - counts["changed"] - counts["moved"]
    return Difference(
        (left.digest, right.digest),
        (len(left.shards), len(right.shards)),
        (left.samples, right.samples),
        _unequal(_flat(left.config), _flat(right.config)),
        _unequal(left.tool.get("libraries", {}), right.tool.get("libraries", {})),
        {name: counts[name] for name in ("added", "removed", "changed", "moved")}
        | {"equal": equal},
        dict(sorted(by_column.items())),
    )


@contextlib.contextmanager
def _writer(out: str | None) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Give what writes changes to a file, if there is one."""
    if out is None:
        yield lambda batch: None
        return
    with storage.new_file(out.rpartition("/")[0] or ".") as file:
        writer = TableWriter(file, CHANGES, dictionary=("change",))
        yield writer.write
        writer.close()
        file.publish(out)


def _changes(left: Manifest, right: Manifest, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield what is not equal, in the order of the ids, grouped by change within a block."""
    wanted = [*columns, "key"]
    for old, new in blocks([rows(left, wanted), rows(right, wanted)]):
        old_ids, new_ids = (_ids(table) for table in (old, new))
        if np.array_equal(old_ids, new_ids):
            yield from _compared(old_ids, old, new, columns)
            continue
        old_is_there, new_is_there = are_in(old_ids, new_ids), are_in(new_ids, old_ids)
        yield from _batch("removed", old_ids[~old_is_there])
        yield from _batch("added", new_ids[~new_is_there])
        # Of an id that is there twice, as in foreign datasets, the first rows are compared.
        old_is_there &= are_first(old_ids)
        new_is_there &= are_first(new_ids)
        if old_is_there.any():
            both = (old.filter(pa.array(old_is_there)), new.filter(pa.array(new_is_there)))
            yield from _compared(old_ids[old_is_there], *both, columns)


def _ids(table: pa.Table) -> NDArray[np.bytes_]:
    return id_array(table["pair_id"]) if len(table) else np.array([], "S32")


def _compared(
    ids: NDArray[np.bytes_], old: pa.Table, new: pa.Table, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield changed and moved pairs of rows that stand side by side."""
    unequal = {name: _differs(old[name], new[name]) for name in columns}
    changed = np.any(list(unequal.values()), axis=0)
    names = [
        [name for name in columns if unequal[name][at]] for at in np.flatnonzero(changed).tolist()
    ]
    yield from _batch("changed", ids[changed], names)
    yield from _batch("moved", ids[_differs(old["key"], new["key"]) & ~changed])


def _differs(old: pa.ChunkedArray, new: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return where two columns differ; null equals null, NaN equals NaN."""
    if old.equals(new):
        return np.zeros(len(old), np.bool_)
    if pa.types.is_nested(old.type) or old.type != new.type:
        pairs = zip(old.to_pylist(), new.to_pylist(), strict=True)
        return np.array([left != right for left, right in pairs], np.bool_)
    same = pc.equal(old, new).fill_null(False)
    same = pc.or_(same, pc.and_(old.is_null(nan_is_null=True), new.is_null(nan_is_null=True)))
    return ~same.to_numpy().astype(np.bool_)


def _batch(
    change: str, ids: NDArray[np.bytes_], names: Sequence[Sequence[str]] | None = None
) -> Iterator[pa.RecordBatch]:
    if len(ids):
        columns = [
            [each.decode() for each in ids.tolist()],
            [change] * len(ids),
            names or [[]] * len(ids),
        ]
        arrays = [pa.array(values, field.type)
                  for values, field in zip(columns, CHANGES, strict=True)]  # fmt: skip
        yield pa.RecordBatch.from_arrays(arrays, schema=CHANGES)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {} if value is None else {name: value}
    return {
        inner: found
        for key, item in value.items()
        for inner, found in _flat(item, f"{name}.{key}".lstrip(".")).items()
    }


def _unequal(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (left.get(name), right.get(name))
        for name in sorted({*left, *right})
        if left.get(name) != right.get(name)
    }


def diff_lines(found: Difference) -> Iterator[str]:
    """Yield a difference as lines for people."""
    if found.digests[0] == found.digests[1]:
        yield f"digest: equal: {found.digests[0]}"
    else:
        yield f"digest: {found.digests[0]} -> {found.digests[1]}"
        yield f"shards: {found.shards[0]} -> {found.shards[1]}"
        yield f"samples: {found.samples[0]} -> {found.samples[1]}"
        yield "pairs: " + ", ".join(f"{name} {count}" for name, count in found.pairs.items())
    for name, count in found.columns.items():
        yield f"  changed in {name}: {count}"
    if found.encoding_only:
        yield "encoding only: all rows are equal, the bytes of the shards are not"
    for title, values in (("config", found.config), ("libraries", found.libraries)):
        for name, (left, right) in values.items():
            yield f"{title} {name}: {left} -> {right}"
