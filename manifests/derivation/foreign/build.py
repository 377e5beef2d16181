"""Sidecars and a root for tars that others wrote: img2dataset, DataComp, plain WebDataset."""

import collections
import dataclasses
import tempfile
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from manifests.base import storage
from manifests.base.console import progress
from manifests.base.errors import RefusedError
from manifests.derivation.build import Built, blank_manifest, listed_file, new_root
from manifests.derivation.copying.rewrite import Derivation, rewrite
from manifests.derivation.foreign.listing import Listing, read_listing
from manifests.derivation.foreign.samples import Layout, Skipped, read_sample
from manifests.derivation.foreign.tars import scan
from manifests.format.ledger import write_ledger
from manifests.format.manifest import commit
from manifests.format.naming import format_key, path_problem
from manifests.format.records import ListedFile, ShardRecord, StoredFile
from manifests.format.schema import DICTIONARY, LEDGER, SAMPLES, describe
from manifests.format.table import TableWriter
from manifests.format.writer import Layout as OwnLayout

_EXTRA = [pa.field("foreign_key", pa.string()), pa.field("uid", pa.string())]
SCHEMA = pa.schema([*(field for field in SAMPLES if not field.name.startswith("dedup_")), *_EXTRA])
"""Columns of the sidecars: ours, the tar's own key, and the uid if the dataset has one."""


@dataclasses.dataclass
class _Tally:
    """What was left out, over all tars."""

    drops: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    failed: list[str] = dataclasses.field(default_factory=list)
    """Paths of Parquet files with failed rows."""
    listed: int = 0
    truncated: list[str] = dataclasses.field(default_factory=list)
    exts: set[str] = dataclasses.field(default_factory=set)


def from_foreign(
    folder: str,
    layout: Layout,
    *,
    out: str | None = None,
    caption: str = "",
    name: str = "foreign",
    quiet: bool = True,
) -> Built:
    """Write `openwit/<stem>.parquet` and `.json` for each tar, then the root.

    Args:
        folder: what holds the tars, at any depth.
        layout: who wrote them.
        out: a new folder for a dataset in our own layout; by default the root goes beside the tars.
        caption: `txt` or `json:FIELD`; empty: the text member, else the JSON's caption.
        name: of the dataset.
        quiet: whether no progress is shown.

    Raises:
        RefusedError: if a tar is compressed, two have one name, or no sample is found; with `out`
            also if an image is no `.jpg`, or `out` holds something else.
    """
    if caption not in ("", "txt") and not caption.startswith("json:"):
        raise RefusedError(f"--caption {caption}: write txt or json:FIELD")
    root = new_root(folder)
    if out is None:
        return _build(root, root, layout, caption, name, quiet)
    with tempfile.TemporaryDirectory(prefix="openwit-build-") as work:
        built = _build(root, work, layout, caption, name, quiet)
        per_shard = OwnLayout().samples_per_shard
        source = dataclasses.replace(built.manifest, tars=root, samples_per_shard=per_shard)
        params = {"from": layout, "caption": caption}
        job = Derivation(sources=(source,), accounts=True, carries=True, name=name, op="build",
                         params=params)  # fmt: skip
        made = rewrite(job, out, quiet=quiet)
    drops = (made.funnel or [{}])[-1].get("drops", {})
    return Built(made, drops, built.truncated)


def _build(root: str, target: str, layout: Layout, caption: str, name: str, quiet: bool) -> Built:
    """Read the tars below `root` and write what is ours below `target`."""
    for name in ("openwit", "ledger"):
        storage.refuse_link(target, name)
    files = storage.list_files(root)
    tars = [path for path in files if path.endswith(".tar") and not path.startswith("openwit/")]
    _check_names(tars)
    scans = {path: scan(storage.join(root, path)) for path in tars}
    per_shard = max((len(found.samples) for found in scans.values()), default=1) or 1
    tally = _Tally()
    shards: list[ShardRecord] = []
    tables: list[ListedFile] = []
    with progress(f"build {layout}", len(tars), bar=False if quiet else None) as shown:
        for done, path in enumerate(tars, start=1):
            stem = path.removesuffix(".tar")
            listing = None
            beside = f"{stem}.parquet"
            if layout != "webdataset" and beside in files:
                listing = read_listing(storage.join(root, beside))
                tally.failed.append(beside)
                tally.listed += listing.count
            if scans[path].is_truncated:
                tally.truncated.append(path)
            rows = list(_rows(root, path, scans[path].samples, caption, listing, tally))
            if rows:
                first = len(shards) * per_shard
                keyed = [row | {"key": format_key(first + at)} for at, row in enumerate(rows)]
                shards.append(_write(root, target, path, len(shards), keyed))
            tables += [listed_file(root, each, "foreign", files[each])
                       for each in (beside, f"{stem}_stats.json") if each in files]  # fmt: skip
            shown.update(done, sum(shard.samples for shard in shards))
    if not shards:
        raise RefusedError(f"{root}: no tar has a sample: {dict(_reasons(tally)) or 'no tars'}")
    return _commit(root, target, name, layout, shards, tables, per_shard, tally)


def _check_names(tars: list[str]) -> None:
    names = collections.Counter(path.rpartition("/")[2] for path in tars)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise RefusedError(f"{', '.join(twice[:5])}: two tars have this name: rename one")
    for path in tars:
        problem = path_problem(path)
        if problem:
            raise RefusedError(f"{path}: the path {problem}: rename it")


def _rows(
    root: str,
    path: str,
    samples: list[Any],
    caption: str,
    listing: Listing | None,
    tally: _Tally,
) -> Iterator[dict[str, Any]]:
    with storage.open_read(storage.join(root, path)) as file:
        for found in samples:
            listed = listing.rows.get(found.key.rpartition("/")[2], {}) if listing else {}
            read = read_sample(file, found, caption, listed)
            if found.repeated:
                read = Skipped("duplicate_member", found.key)
            if isinstance(read, Skipped):
                tally.drops.append(
                    {"pair_id": None, "stage": "build", "reason": read.reason,
                     "value": f"{path}:{read.key}"[:200], "count": 1, "url": read.url,
                     "caption": read.caption}
                )  # fmt: skip
                continue
            tally.exts.add(found.image_ext or "")
            yield read


def _write(
    root: str, target: str, path: str, number: int, rows: list[dict[str, Any]]
) -> ShardRecord:
    stem = path.rpartition("/")[2].removesuffix(".tar")
    name = f"openwit/{stem}.parquet"
    with storage.new_file(storage.join(target, "openwit")) as file:
        writer = TableWriter(file, SCHEMA, dictionary=DICTIONARY)
        writer.write(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
        writer.close()
        entry = StoredFile(name, file.bytes, file.sha256)
        file.publish(storage.join(target, name))
    tar = storage.join(root, path)
    ids = [row["pair_id"] for row in rows]
    record = ShardRecord(
        id=number,
        samples=len(rows),
        key_first=rows[0]["key"],
        key_last=rows[-1]["key"],
        pair_id_min=min(ids),
        pair_id_max=max(ids),
        tar=StoredFile(path, storage.size_bytes(tar) or 0, storage.sha256_of(tar)),
        parquet=entry,
    )
    storage.write_atomic(storage.join(target, record.record_path), record.file_bytes(None))
    return record


def _reasons(tally: _Tally) -> collections.Counter[str]:
    return collections.Counter(drop["reason"] for drop in tally.drops)


def _commit(
    root: str,
    target: str,
    name: str,
    layout: Layout,
    shards: list[ShardRecord],
    tables: list[ListedFile],
    per_shard: int,
    tally: _Tally,
) -> Built:
    def failures() -> Iterator[pa.RecordBatch]:
        for path in tally.failed:
            failed = read_listing(storage.join(root, path)).failed
            if failed:
                yield pa.RecordBatch.from_pylist(failed, schema=_DROPS)

    funnel = []
    for batch in failures():
        funnel += batch["reason"].to_pylist()
    statuses = collections.Counter(funnel)
    if statuses:
        tables += write_ledger(target, "img2dataset", failures)
    reasons = _reasons(tally)
    if tally.drops:
        batch = pa.RecordBatch.from_pylist(tally.drops, schema=_DROPS)
        tables += write_ledger(target, "build", lambda: [batch])
    kept = sum(shard.samples for shard in shards)
    lines = [_line("build", kept, reasons)]
    if tally.failed:
        lines.insert(0, _line("img2dataset", lines[0]["rows_in"], statuses))
    tables.sort(key=lambda file: file.path)
    manifest = dataclasses.replace(
        blank_manifest(target, name, describe(SCHEMA), shards, files=tuple(tables),
                       per_shard=per_shard),
        order="as_found",
        image_ext="jpg" if tally.exts == {"jpg"} else "mixed",
        funnel=lines,
        parents=({"digest": None, "name": layout, "version": "", "op": "build",
                  "params": {"from": layout}},),
    )  # fmt: skip
    commit(target, manifest)
    return Built(manifest, dict(sorted(reasons.items())), tuple(tally.truncated))


_DROPS = LEDGER.set(0, pa.field("pair_id", pa.binary(16)))


def _line(stage: str, rows_out: int, drops: collections.Counter[str]) -> dict[str, Any]:
    return {
        "stage": stage,
        "rows_in": rows_out + drops.total(),
        "rows_out": rows_out,
        "drops": dict(sorted(drops.items())),
        "failed_units": 0,
    }
