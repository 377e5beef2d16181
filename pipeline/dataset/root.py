"""The commit of a dataset: tables beside the shards, then the manifest that makes it exist."""

import dataclasses
import json
import re

from manifests.base.errors import OpenwitError, RefusedError
from manifests.format.manifest import Manifest, commit, parse_manifest, tool_record
from manifests.format.naming import ROOT_NAME, shard_name
from manifests.format.records import ShardRecord, compact_json
from manifests.format.schema import describe
from manifests.format.writer import Layout
from pipeline.dataset.samples import DATASET
from pipeline.dataset.tables import (
    Origin,
    funnel,
    list_rows,
    write_inputs,
    write_ledgers,
    write_queries,
)
from pipeline.engine import files
from pipeline.engine.stage_dir import StageRecord, stage_path

# The characters of SPDX licence expressions, `LicenseRef-...` included: linear in the text.
_LICENSE = re.compile(r"[A-Za-z0-9.+() -]{1,200}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """What the manifest says of the collection (`[dataset]`)."""

    name: str = "openwit"
    """Short name of the collection."""
    version: str = "1"
    """Of the collection, in any form."""
    description: str = ""
    """What the collection holds."""
    license: str = ""
    """SPDX expression or `LicenseRef-...` of the collection; empty: not stated."""
    url: str = ""
    """Home page."""
    creator: str = ""
    """Who made the collection."""
    citation: str = ""
    """How to cite it."""

    def __post_init__(self) -> None:
        for name in ("name", "version"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} must be a text, got {getattr(self, name)!r}")
        if self.license and not _LICENSE.fullmatch(self.license):
            raise ValueError(f"license must be an SPDX expression, got {self.license!r}")


def make_way(root: str, folder: str, spec: str, *, replace: bool) -> None:
    """Make sure that shards of `spec` may be written below ROOT/dataset.

    Args:
        root: ROOT.
        folder: the directory of the step that will write them, relative to ROOT.
        spec: what the manifest will name.
        replace: whether a dataset of another spec is removed.

    Raises:
        RefusedError: if there is one and it may not be removed.
    """
    existing = _existing(root, replace=replace)
    if existing is not None and existing.spec == spec:
        return
    if existing is not None and not replace:
        raise RefusedError(
            f"{existing.root}: spec {existing.spec}, this run makes {spec}: it holds a dataset of "
            "other settings or inputs; choose another root, or set shards.replace = true"
        )
    if existing is not None:
        _remove(existing)
    # Without its manifest the shards on disk may be another spec's: the engine shall look at each.
    files.remove(stage_path(root, folder))


def commit_dataset(
    written: StageRecord,
    *,
    spec: str,
    dataset: DatasetSettings,
    origin: Origin,
    layout: Layout,
    examples: int,
) -> Manifest:
    """Check the shards, write the tables and then the manifest; a dataset that says the same stays.

    Raises:
        OpenwitError: if a shard on disk is not the one that was committed.
    """
    root = files.join(written.root, DATASET)
    shards = _shards(written)
    manifest = _describe(root, spec, dataset, origin, layout, shards, _hash_version(written))
    existing = _existing(written.root, replace=False)
    if existing is not None:
        if existing.revision or _says_the_same(existing, manifest):
            return existing
        files.remove(files.join(root, ROOT_NAME))
    _check_files(manifest)
    tables = [
        write_queries(root, origin),
        write_inputs(root, origin),
        *write_ledgers(root, origin, examples),
    ]
    for name in {file.path for file in (existing.files if existing else ())} - {
        file.path for file in tables
    }:
        files.remove(files.join(root, name))
    manifest = dataclasses.replace(manifest, files=tuple(tables))
    commit(root, manifest, write=files.write_atomic)
    return manifest


def _existing(root: str, *, replace: bool) -> Manifest | None:
    """Return the dataset that is there; one that cannot be read is removed if that is allowed."""
    folder = files.join(root, DATASET)
    path = files.join(folder, ROOT_NAME)
    if files.size_bytes(path) is None:
        return None
    try:
        return parse_manifest(files.read_bytes(path), folder)
    except RefusedError as error:
        if not replace:
            raise RefusedError(
                f"{error}\n{path}: cannot be read: remove it, or set shards.replace = true"
            ) from None
    files.remove(path)
    return None


def _remove(manifest: Manifest) -> None:
    """Remove a dataset: the manifest first, so that no reader meets half of one."""
    names = [ROOT_NAME, *(file.path for file in manifest.files)]
    for shard in manifest.shards:
        names += [shard.tar.path, shard.parquet.path, shard_name(shard.id, "json")]
    for name in names:
        files.remove(manifest.path(name))


def _shards(written: StageRecord) -> tuple[ShardRecord, ...]:
    """Return the shards of the committed units, ids ascending."""
    shards = [
        ShardRecord.from_json(unit.notes["shard"])
        for unit in written.units
        if unit.notes["shard"] is not None
    ]
    return tuple(sorted(shards, key=lambda shard: shard.id))


def _check_files(manifest: Manifest) -> None:
    """Look at each file of the shards: another run may have written below the same ROOT."""
    for shard in manifest.shards:
        expected = shard.file_bytes(manifest.spec)
        record = manifest.path(shard_name(shard.id, "json"))
        sizes = [(manifest.path(file.path), file.bytes) for file in (shard.tar, shard.parquet)]
        for path, size in [*sizes, (record, len(expected))]:
            found = files.size_bytes(path)
            if found != size:
                raise OpenwitError(
                    f"{path}: {found} bytes, its record says {size}: run again with --force shards"
                )
        if files.read_bytes(record) != expected:
            raise OpenwitError(f"{record}: is of another dataset: run again with --force shards")


def _hash_version(written: StageRecord) -> str | None:
    versions = {name for unit in written.units for name in unit.notes["hash_versions"]}
    return ",".join(sorted(versions)) or None


def _describe(
    root: str,
    spec: str,
    dataset: DatasetSettings,
    origin: Origin,
    layout: Layout,
    shards: tuple[ShardRecord, ...],
    hash_version: str | None,
) -> Manifest:
    rows = sum(shard.samples for shard in shards)
    last = {"stage": "shards", "rows_in": rows, "rows_out": rows, "drops": {}, "failed_units": 0}
    return Manifest(
        root=root,
        name=dataset.name,
        version=dataset.version,
        description=dataset.description,
        license=dataset.license or None,
        url=dataset.url,
        creator=dataset.creator,
        citation=dataset.citation,
        spec=spec,
        tool=tool_record(),
        schema=describe(layout.schema),
        config=json.loads(compact_json(origin.config)),
        samples_per_shard=layout.samples_per_shard,
        hash={"version": hash_version, "basis": "original"} if hash_version else None,
        query_list={
            "sha256": origin.list_sha256,
            "digest": origin.list_digest,
            "rows": list_rows(origin),
            "cap": origin.cap,
        },
        funnel=[*funnel(origin.history), last],
        files=(),
        shards=shards,
    )


def _says_the_same(existing: Manifest, manifest: Manifest) -> bool:
    """Compare all but the tables, and the tool that once made the shards."""
    same = dataclasses.replace(existing, files=(), tool=manifest.tool, extra={})
    on_disk = all(
        files.size_bytes(existing.path(file.path)) == file.bytes for file in existing.files
    )
    return on_disk and same.to_json() == manifest.to_json()
