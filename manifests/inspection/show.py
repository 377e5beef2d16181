"""`show`: a dataset in short, or single samples by key, id, URL or image."""

import dataclasses
import datetime
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.format.manifest import Manifest
from manifests.format.naming import parse_key
from manifests.format.records import ShardRecord

READ_ROWS = 65_536


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which samples to show; the first that is set counts."""

    key: str | None = None
    pair_id: str | None = None
    url: str | None = None
    image: str | None = None
    """Path of an image file, found by the sha256 of its bytes."""
    shard: int | None = None
    limit: int = 20
    """Most rows that are shown."""

    @property
    def anything(self) -> bool:
        """Whether samples are asked for, not the summary."""
        return any(
            value is not None
            for value in (self.key, self.pair_id, self.url, self.image, self.shard)
        )


@dataclasses.dataclass(frozen=True)
class Shown:
    """What was found."""

    samples: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    """Rows of dropped pairs, looked up when there is no sample."""
    tombstones: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """Rows of withdrawn pairs, likewise."""

    def to_json(self) -> dict[str, Any]:
        """Return the rows as JSON values."""
        return {
            "kind": "openwit-show",
            "ok": bool(self.samples),
            "samples": self.samples,
            "ledger": self.ledger,
            "tombstones": self.tombstones,
        }


def summary(manifest: Manifest) -> dict[str, Any]:
    """Return a dataset in short, as JSON values."""
    value = manifest.to_json()
    left_out = ("shards", "schema", "kind", "schema_version", "files")
    return {"kind": "openwit-show", "ok": True} | {
        name: value[name] for name in value if name not in left_out
    }


def find(manifest: Manifest, wanted: Wanted) -> Shown:
    """Look samples up; if there is none, look in the ledger.

    Raises:
        RefusedError: if a key, id, shard or image file is malformed or not there.
        OpenwitError: if a file of the dataset cannot be read.
    """
    if wanted.shard is not None:
        return Shown(_of_shard(manifest, wanted.shard, wanted.limit), [])
    conditions = _conditions(wanted)
    samples = _search(manifest, _shards(manifest, wanted), conditions, wanted.limit)
    if samples:
        return Shown(samples, [])
    graves = [pair for pair in conditions if pair[0] in ("pair_id", "original_sha256")]
    known = [pair for pair in conditions if pair[0] in ("pair_id", "url")]
    return Shown(
        [],
        _search_tables(manifest, "ledger", known, wanted.limit),
        _search_tables(manifest, "tombstones", graves, wanted.limit),
    )


def _of_shard(manifest: Manifest, number: int, limit: int) -> list[dict[str, Any]]:
    shard = next((shard for shard in manifest.shards if shard.id == number), None)
    if shard is None:
        raise RefusedError(
            f"--shard {number}: not in the dataset: it has {len(manifest.shards)} shards"
        )
    return _plain(manifest.reader(shard).table().slice(0, limit))


def _conditions(wanted: Wanted) -> list[tuple[str, str]]:
    """Return (column, value) pairs of which one must hold."""
    if wanted.key is not None:
        try:
            parse_key(wanted.key)
        except ValueError as error:
            raise RefusedError(f"--key: {error}") from None
        return [("key", wanted.key)]
    if wanted.pair_id is not None:
        identity = wanted.pair_id.lower()
        if len(identity) != 32 or not set(identity) <= set("0123456789abcdef"):
            raise RefusedError(f"--pair-id {wanted.pair_id}: must be 32 hexadecimal digits")
        return [("pair_id", identity)]
    if wanted.url is not None:
        return [("url", wanted.url)]
    try:
        with storage.open_read(wanted.image or "") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise RefusedError(f"--image {wanted.image}: cannot be read: {error.strerror}") from None
    return [("sha256", digest), ("original_sha256", digest)]


def _shards(manifest: Manifest, wanted: Wanted) -> Iterator[ShardRecord]:
    """Yield the shards that may hold what is wanted."""
    for shard in manifest.shards:
        if wanted.key is not None and not shard.key_first <= wanted.key <= shard.key_last:
            continue
        identity = wanted.pair_id.lower() if wanted.pair_id and wanted.key is None else None
        if identity is None or shard.pair_id_min <= identity <= shard.pair_id_max:
            yield shard


def _search(
    manifest: Manifest,
    shards: Iterator[ShardRecord],
    conditions: Sequence[tuple[str, str]],
    limit: int,
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for shard in shards:
        reader = manifest.reader(shard)
        mask = _holds(reader.table([column for column, _ in conditions]), conditions)
        if pc.any(mask).as_py():
            found += _plain(reader.table().filter(mask))
        if len(found) >= limit:
            break
    return found[:limit]


def _search_tables(
    manifest: Manifest, role: str, known: Sequence[tuple[str, str]], limit: int
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for file in manifest.listed(role) if known else []:
        with storage.open_read(manifest.path(file.path)) as opened:
            for batch in pq.ParquetFile(opened).iter_batches(READ_ROWS):
                table = pa.table(batch)
                found += _plain(table.filter(_holds(table, known)))
                if len(found) >= limit:
                    return found[:limit]
    return found


def _holds(table: pa.Table, conditions: Sequence[tuple[str, str]]) -> pa.ChunkedArray:
    mask = pc.equal(table[conditions[0][0]], conditions[0][1])
    for column, value in conditions[1:]:
        mask = pc.or_kleene(mask, pc.equal(table[column], value))
    return mask.fill_null(False)


def _plain(table: pa.Table) -> list[dict[str, Any]]:
    return [{name: _json_value(value) for name, value in row.items()} for row in table.to_pylist()]


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def summary_lines(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield a summary as lines for people; texts are not yet made printable."""
    totals = value["totals"]
    counts = f"{totals['samples']} samples, {totals['shards']} shards"
    yield f"{value['name']} {value['version']}: {counts}"
    for name in (
        "description",
        "license",
        "url",
        "creator",
        "digest",
        "spec",
        "query_list",
        "hash",
    ):
        if value.get(name):
            yield f"  {name}: {_short(value[name])}"
    size = totals["tar_bytes"] + totals["parquet_bytes"]
    yield f"  bytes: {size} ({totals['tar_bytes']} in tars)"
    for parent in value["parents"]:
        yield f"  parent: {parent['op']} of {parent['name']} {parent['digest']}"
    for stage in value["funnel"] or []:
        drops = ", ".join(f"{reason} {count}" for reason, count in stage["drops"].items())
        yield f"  {stage['stage']}: {stage['rows_in']} in, {stage['rows_out']} out" + (
            f"; dropped {drops}" if drops else ""
        )


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return str(value)


def row_lines(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row as lines for people; what is null or empty is left out."""
    yield str(row.get("key") or row.get("pair_id") or "-")
    for name, value in row.items():
        if value not in (None, [], "") and name != "key":
            yield f"  {name}: {value}"
