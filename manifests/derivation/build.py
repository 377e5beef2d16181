"""`build`: a manifest for shards that have none, of openwit or of others; no tar is changed."""

import collections
import dataclasses
import json
import re
from collections.abc import Mapping

import pyarrow.parquet as pq

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.format.manifest import Manifest, commit, tool_record
from manifests.format.naming import MAX_SAMPLES, ROOT_NAME
from manifests.format.records import SHARD_FIELDS, SHARD_KIND, ListedFile, ShardRecord
from manifests.format.rules import usable_shards
from manifests.format.schema import describe

MAX_RECORD_BYTES = 1 << 20
_RECORD = re.compile(r"shards/[0-9]{8}(-r[0-9]{1,9})?\.json")


@dataclasses.dataclass(frozen=True)
class Built:
    """What `build` found."""

    manifest: Manifest
    skipped: Mapping[str, int]
    """Samples that are left out, by reason."""
    truncated: tuple[str, ...] = ()
    """Tars that end too early."""


def new_root(folder: str) -> str:
    """Return a folder that has files and no manifest yet.

    Raises:
        RefusedError: if it has one, or nothing.
    """
    root = folder.rstrip("/") or folder
    if storage.size_bytes(storage.join(root, ROOT_NAME)) is not None:
        raise RefusedError(f"{root}: has a {ROOT_NAME}: remove it first")
    if storage.is_empty(root):
        raise RefusedError(f"{root}: is empty, or no folder: name the folder that holds the shards")
    return root


def from_records(folder: str, *, name: str = "openwit") -> Built:
    """Rebuild a lost root from the shards' own records; their funnel and settings are gone.

    Raises:
        RefusedError: if there is no record, one is malformed, or two are of one shard.
    """
    root = new_root(folder)
    names = [path for path in storage.list_files(root) if _RECORD.fullmatch(path)]
    found = [_record(root, path) for path in names]
    if not found:
        raise RefusedError(f"{root}: has no shards/00000000.json or another record of a shard")
    specs = sorted({str(spec) for _, spec in found})
    if len(specs) > 1:
        raise RefusedError(f"{root}: records of several specs: {', '.join(specs)}: remove others")
    shards = sorted((shard for shard, _ in found), key=lambda shard: shard.id)
    for number, count in collections.Counter(shard.id for shard in shards).items():
        if count > 1:
            raise RefusedError(f"{root}: shard {number} has {count} records: remove the old ones")
    with storage.open_read(storage.join(root, shards[0].parquet.path)) as file:
        schema = describe(pq.ParquetFile(file).schema_arrow)
    manifest = blank_manifest(
        root, name, schema, shards, files=_tables(root), per_shard=_per_shard(shards)
    )
    manifest = dataclasses.replace(manifest, spec=found[0][1], extra={"recovered": True})
    commit(root, manifest)
    return Built(manifest, {})


def _record(root: str, path: str) -> tuple[ShardRecord, str | None]:
    try:
        with storage.open_read(storage.join(root, path)) as file:
            value = json.loads(file.read(MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise RefusedError(f"{path}: not a shard's record: {error}") from None
    if not isinstance(value, dict) or value.get("kind") != SHARD_KIND:
        raise RefusedError(f"{path}: not a shard's record: remove it")
    given = {key: value[key] for key in value if key not in ("kind", "schema_version", "spec")}
    if not usable_shards({"shards": [given]}):
        fields = ", ".join(SHARD_FIELDS)
        raise RefusedError(f"{path}: a malformed record: it must have {fields}")
    spec = value.get("spec")
    return ShardRecord.from_json(given), spec if isinstance(spec, str) else None


def _per_shard(shards: list[ShardRecord]) -> int:
    """Return the samples per shard that the keys tell, or a number that fits."""
    fits = max(shard.samples for shard in shards)
    told = [int(shard.key_first) // shard.id for shard in shards if shard.id]
    return max(fits, min(told, default=10_000))


def _tables(root: str) -> tuple[ListedFile, ...]:
    files = []
    for path, size in storage.list_files(root).items():
        stem = re.match(r"(queries|inputs|tombstones|ledger)(-r[0-9]+)?[./]", path)
        if stem and path.endswith(".parquet"):
            files.append(listed_file(root, path, stem[1], size))
    return tuple(files)


def listed_file(root: str, path: str, role: str, size: int) -> ListedFile:
    """Return what a manifest lists of a file that is there."""
    full = storage.join(root, path)
    rows = 0
    if path.endswith(".parquet"):
        with storage.open_read(full) as file:
            rows = pq.ParquetFile(file).metadata.num_rows
    return ListedFile(path=path, role=role, bytes=size, sha256=storage.sha256_of(full), rows=rows)


def blank_manifest(
    root: str,
    name: str,
    schema: list[dict[str, object]],
    shards: list[ShardRecord],
    *,
    files: tuple[ListedFile, ...],
    per_shard: int,
) -> Manifest:
    """Return a manifest that says nothing of how the samples were chosen."""
    if len(shards) * per_shard > MAX_SAMPLES:
        raise RefusedError(
            f"{root}: {len(shards)} shards of up to {per_shard} samples: keys have 9 digits"
        )
    return Manifest(
        root=root,
        name=name,
        version="1",
        description="",
        license=None,
        spec=None,
        tool=tool_record(),
        schema=schema,
        config=None,
        samples_per_shard=per_shard,
        hash=None,
        query_list=None,
        funnel=None,
        files=files,
        shards=tuple(shards),
    )
