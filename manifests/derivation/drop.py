"""`drop`: take pairs out of a dataset in place, and leave tombstones that name no URL or text."""

import collections
import dataclasses
import datetime
import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.base import storage
from manifests.base.errors import OpenwitError
from manifests.base.lock import locked
from manifests.derivation.choosing.plan import Plan, named_examples
from manifests.derivation.choosing.selectors import Selector
from manifests.derivation.copying.members import SOURCE, windows
from manifests.derivation.copying.rewrite import joined_schema
from manifests.derivation.copying.tables import read_list, replaced, write_list
from manifests.derivation.gc import strays
from manifests.format.join import SHARD
from manifests.format.ledger import write_ledger
from manifests.format.manifest import Manifest, commit, load
from manifests.format.naming import LOCK_NAME, revision_mark
from manifests.format.records import ListedFile, Reason, ShardRecord
from manifests.format.schema import LEDGER, QUERIES, TOMBSTONES
from manifests.format.writer import Layout, Samples, ShardWriter


def apply_drop(
    plan: Plan, *, reason: Reason, date: datetime.date, request: str | None = None
) -> Manifest:
    """Take out what was planned; keys of what stays do not change.

    Shards are written under new names, then the root, then the old files go: a crash leaves the old
    dataset or the new one. Nothing to take out: nothing is written but leftovers go.

    Raises:
        RefusedError: if another process changes the dataset.
        OpenwitError: if it changed since it was planned, or an image is not as recorded.
    """
    source = plan.source
    with locked(source.root, LOCK_NAME):
        _check_same(source)
        made = _write(plan, reason, date, request) if plan.shards or plan.examples else source
        if made is not source:
            _check_same(source)
            commit(source.root, made)
        for stray in strays(made):
            storage.remove(made.path(stray.path))
    return made


def _check_same(source: Manifest) -> None:
    now = load(source.root)
    if (now.digest, now.revision) != (source.digest, source.revision):
        raise OpenwitError(
            f"{source.root}: digest {now.digest}, it was {source.digest}: it changed meanwhile; "
            "run again"
        )


def _write(plan: Plan, reason: Reason, date: datetime.date, request: str | None) -> Manifest:
    source, revision = plan.source, plan.source.revision + 1
    layout = Layout(
        spec=source.spec,
        samples_per_shard=source.samples_per_shard,
        schema=joined_schema([source]),
    )
    gone = {name: collections.Counter[int]() for name in ("query_ids", "selected_by")}
    shards: list[ShardRecord] = []
    for number, shard in enumerate(source.shards):
        if number not in plan.shards:
            shards.append(shard)
            continue
        table = source.reader(shard).table()
        stays = pa.array(plan.shards[number])
        for name, counter in gone.items():
            lists = table.filter(pc.invert(stays))[name].to_pylist()
            counter.update(itertools.chain.from_iterable(lists))
        left = table.filter(stays)
        if len(left):
            samples = _samples(plan, number, left, layout)
            writer = ShardWriter(shard.id, source.root, samples, layout=layout, revision=revision)
            shards.append(dataclasses.replace(writer.write(), extra=shard.extra))
    files = [file for file in source.files if file.role not in ("queries", "ledger", "tombstones")]
    files += [_queries(source, file, revision, gone) for file in source.listed("queries")]
    files += [_scrubbed(plan, file, revision) for file in source.listed("ledger")]
    files += _drop_rows(plan, reason, revision)
    files.append(_tombstones(plan, reason, date, request, revision))
    params = {"rows": len(plan.rows), "reason": reason, "request": request}
    parent = {"digest": source.digest, "name": source.name, "version": source.version}
    return dataclasses.replace(
        source,
        revision=revision,
        funnel=_funnel(source, len(plan.rows), reason),
        parents=(*source.parents, parent | {"op": "drop", "params": params}),
        files=tuple(sorted(files, key=lambda file: file.path)),
        shards=tuple(shards),
    )


def _samples(plan: Plan, number: int, left: pa.Table, layout: Layout) -> Iterator[Samples]:
    """Yield what stays of a shard, its keys and members as they are, some alternates gone."""
    kept = [
        [each for each in alternates if plan.matcher.named(each) is None]
        for alternates in left["alternates"].to_pylist()
    ]
    place = left.schema.get_field_index("alternates")
    field = left.schema.field(place)
    left = left.set_column(place, field, pa.array(kept, field.type)).cast(layout.schema)
    left = left.append_column(SHARD, pa.array(np.full(len(left), number, np.int32)))
    left = left.append_column(SOURCE, pa.array(np.zeros(len(left), np.int32)))
    start = 0
    for samples in windows([plan.source], left, layout):
        keys = left["key"].slice(start, samples.rows.num_rows).to_pylist()
        start += len(keys)
        yield dataclasses.replace(samples, keys=keys)


def _queries(
    source: Manifest,
    file: ListedFile,
    revision: int,
    gone: dict[str, collections.Counter[int]],
) -> ListedFile:
    table = read_list(source, file, QUERIES)
    for name, column in (("kept", "query_ids"), ("selected", "selected_by")):
        counts = table[name].to_numpy().copy()
        for query, count in gone[column].items():
            counts[query] -= count
        table = replaced(table, name, counts)
    return write_list(source.root, _renamed(file.path, revision), "queries", table)


def _renamed(path: str, revision: int) -> str:
    stem = path.removesuffix(".parquet")
    base, mark, number = stem.rpartition("-r")
    if mark and number.isdigit():
        stem = base
    return f"{stem}{revision_mark(revision)}.parquet"


def _scrubbed(plan: Plan, file: ListedFile, revision: int) -> ListedFile:
    """Return a ledger file whose examples name nothing that goes; itself if they do not."""
    table = read_list(plan.source, file, LEDGER)
    hidden = named_examples(plan, table)
    if not pc.any(hidden).as_py():
        return file
    nothing = pa.scalar(None, pa.string())
    for name in ("url", "caption"):
        place = LEDGER.get_field_index(name)
        column = pc.if_else(hidden, nothing, table[name])
        table = table.set_column(place, LEDGER.field(place), column)
    return write_list(plan.source.root, _renamed(file.path, revision), "ledger", table)


def _drop_rows(plan: Plan, reason: Reason, revision: int) -> list[ListedFile]:
    """Write a ledger row for each pair that goes, without URL and caption."""
    if not plan.rows:
        return []
    schema = LEDGER.set(0, pa.field("pair_id", pa.binary(16)))
    rows = [
        {
            "pair_id": bytes.fromhex(identity),
            "stage": "drop",
            "reason": reason,
            "value": selector.kind,
            "count": 1,
        }
        for identity, (selector, _) in sorted(plan.rows.items())
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    name = f"drop{revision_mark(revision)}"
    return write_ledger(plan.source.root, "drop", lambda: [batch], name=name)


def _tombstones(
    plan: Plan, reason: Reason, date: datetime.date, request: str | None, revision: int
) -> ListedFile:
    def row(selector: Selector, identity: str | None, image: str | None) -> dict[str, Any]:
        is_domain = selector.kind == "domain"
        return {
            "pair_id": identity,
            "selector": f"domain:{selector.value}" if is_domain else selector.kind,
            "selector_sha256": hashlib.sha256(selector.value.encode()).hexdigest(),
            "original_sha256": image,
            "reason": reason,
            "request": request,
            "date": date,
        }

    rows = [row(selector, identity, image)
            for identity, (selector, image) in sorted(plan.rows.items())]  # fmt: skip
    rows += [row(each, None, None) for each in plan.matcher.selectors if each.kind == "domain"]
    table = pa.Table.from_pylist(rows, schema=TOMBSTONES)
    before = [read_list(plan.source, file, TOMBSTONES)
              for file in plan.source.listed("tombstones")]  # fmt: skip
    name = f"tombstones{revision_mark(revision)}.parquet"
    return write_list(plan.source.root, name, "tombstones", pa.concat_tables([*before, table]))


def _funnel(source: Manifest, rows: int, reason: Reason) -> list[dict[str, Any]] | None:
    """Return the funnel with a line for all takedowns."""
    if source.funnel is None:
        return None
    lines = [dict(line) for line in source.funnel]
    if not lines or lines[-1]["stage"] != "drop":
        count = source.samples
        line = {"stage": "drop", "rows_in": count, "rows_out": count, "drops": {}}
        lines.append(line | {"failed_units": 0})
    last = lines[-1]
    drops = collections.Counter(last["drops"]) + collections.Counter({reason: rows})
    lines[-1] = last | {"rows_out": last["rows_out"] - rows, "drops": dict(sorted(drops.items()))}
    return lines
