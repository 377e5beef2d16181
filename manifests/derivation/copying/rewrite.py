"""Chosen rows to a new dataset: members copied byte for byte, fresh keys, in pair-id order."""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from manifests.base import storage
from manifests.base.console import Progress, progress
from manifests.base.errors import OpenwitError, RefusedError
from manifests.derivation.copying.members import SOURCE, windows
from manifests.derivation.copying.resume import finish, finished_shard, prepare_out
from manifests.derivation.copying.tables import (
    Lists,
    join_lists,
    read_list,
    write_list,
    write_lists,
)
from manifests.format.join import SHARD, blocks, rows
from manifests.format.ledger import write_ledger
from manifests.format.manifest import Manifest, commit, load, tool_record
from manifests.format.records import ShardRecord
from manifests.format.schema import LEDGER, SAMPLES, describe
from manifests.format.writer import Layout, ShardWriter

KEPT, DUPLICATE, LEFT_OUT = range(3)
"""Verdicts on a row. From `LEFT_OUT` + 1 on they stand for `Derivation.reasons`; a row that is
`LEFT_OUT` is no drop: it is in another part, or was not drawn."""

Verdicts = NDArray[np.uint8]
Choose = Callable[[pa.Table], Verdicts]


def keep_all(table: pa.Table) -> Verdicts:
    """Keep every row."""
    return np.full(len(table), KEPT, np.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derivation:
    """What is made of which datasets, and what the manifest will say about that."""

    sources: tuple[Manifest, ...]
    """Of one id in several of them the first one's row is kept."""
    choose: Choose = keep_all
    """Gives a verdict on each row, shown at least `columns`."""
    columns: tuple[str, ...] = ("pair_id",)
    duplicate: str = "duplicate_pair_id"
    """Reason of rows whose id is in an earlier row."""
    reasons: tuple[str, ...] = ()
    accounts: bool = False
    """Whether the new dataset has a funnel: rows in, rows out, drops by reason."""
    carries: bool = False
    """Whether ledger and funnel of the one source go on: it is just a step to this dataset."""
    union_queries: bool = False
    """Whether lists of queries differ and are made one."""
    name: str
    """Name of the new dataset."""
    op: str
    params: Mapping[str, Any]

    @property
    def samples(self) -> int:
        """Rows of all sources."""
        return sum(source.samples for source in self.sources)


def rewrite(job: Derivation, out: str, *, quiet: bool = True) -> Manifest:
    """Write a new dataset in the folder `out` and commit it.

    A run that was interrupted goes on behind the shards that are complete.

    Args:
        job: what to write.
        out: folder or URI, absent or empty, or left behind by the same derivation.
        quiet: whether no progress is shown.

    Raises:
        RefusedError: if the folder holds something else, or images may not be JPEG.
        OpenwitError: if a sample is not as recorded, or a source changes meanwhile.
    """
    first = job.sources[0]
    if any(source.image_ext != first.image_ext or source.image_ext == "mixed"
           for source in job.sources):  # fmt: skip
        raise RefusedError(f"{first.root}: image_ext mixed: only datasets of .jpg can be rewritten")
    if prepare_out(out, job.sources, job.op, job.params):
        finish(out)
        return load(out)
    lists = join_lists(job.sources, sort_queries=job.union_queries)
    layout = Layout(samples_per_shard=first.samples_per_shard, schema=joined_schema(job.sources))
    counts = {name: collections.Counter[int]() for name in ("query_ids", "selected_by")}
    shards: list[ShardRecord] = []
    with progress(job.op, job.samples, bar=False if quiet else None) as shown:
        for number, table in enumerate(_shard_rows(job, lists, layout, shown)):
            for column, counter in counts.items():
                found = pc.value_counts(pc.list_flatten(table[column].combine_chunks()))
                counter.update({pair["values"]: pair["counts"] for pair in found.to_pylist()})
            done = finished_shard(out, number, table["pair_id"])
            samples = windows(job.sources, table, layout)
            shards.append(done or ShardWriter(number, out, samples, layout=layout).write())
    files = write_lists(out, lists, counts["query_ids"], counts["selected_by"])
    drops = _count_drops(job)
    if drops:
        name = job.duplicate if job.carries else job.op
        files += write_ledger(out, job.op, lambda: _dropped(job), name=name)
    if job.carries:
        files += [write_list(out, file.path, file.role, read_list(first, file, LEDGER))
                  for file in first.listed("ledger")]  # fmt: skip
    for source in job.sources:
        if (now := load(source.root).digest) != source.digest:
            raise OpenwitError(
                f"{source.root}: digest {now}, it was {source.digest}: it changed meanwhile; "
                f"remove {out} and run again"
            )
    manifest = dataclasses.replace(
        _describe(job, out, layout),
        files=tuple(sorted(files, key=lambda file: file.path)),
        shards=tuple(shards),
    )
    if job.accounts:
        funnel = _funnel(job, manifest.samples, drops)
        manifest = dataclasses.replace(manifest, funnel=funnel)
    commit(out, manifest)
    finish(out)
    return manifest


def _funnel(job: Derivation, rows_out: int, drops: dict[str, int]) -> list[dict[str, Any]]:
    line = {"stage": job.op, "rows_in": job.samples, "rows_out": rows_out}
    before: list[Any] = list(job.sources[0].funnel or ()) if job.carries else []
    if before:
        last = before.pop()
        line |= {"rows_in": last["rows_in"]}
        drops = dict(sorted((last["drops"] | drops).items()))
    return [*before, line | {"drops": drops, "failed_units": 0}]


def _describe(job: Derivation, out: str, layout: Layout) -> Manifest:
    first = job.sources[0]
    parents = [parent for source in job.sources for parent in source.parents]
    parents += [
        {
            "digest": source.digest,
            "name": source.name,
            "version": source.version,
            "op": job.op,
            "params": dict(job.params),
        }
        for source in job.sources
    ]
    different = [parent for n, parent in enumerate(parents) if parent not in parents[:n]]
    licenses = {source.license for source in job.sources}
    configs = [source.config for source in job.sources]
    return dataclasses.replace(
        first,
        root=out,
        tars="",
        revision=0,
        name=job.name,
        license=first.license if len(licenses) == 1 else None,
        config=first.config if all(config == configs[0] for config in configs) else None,
        spec=None,
        tool=tool_record(),
        schema=describe(layout.schema) if job.samples else first.schema,
        order="pair_id",
        query_list=_query_list(job),
        funnel=None,
        parents=tuple(different),
    )


def _query_list(job: Derivation) -> Mapping[str, Any] | None:
    """Return what is said of the list; its cap is promised only while no other rows came in."""
    listed = job.sources[0].query_list
    if job.union_queries:
        return None
    return dict(listed) | {"cap": None} if listed is not None and job.accounts else listed


def joined_schema(sources: Sequence[Manifest]) -> pa.Schema:
    """Return the columns of all sources, in the order of their first place."""
    fields: dict[str, pa.Field] = {}
    for source in sources:
        if not source.shards:
            continue
        with storage.open_read(source.reader(source.shards[0]).parquet_path) as file:
            found = pq.ParquetFile(file).schema_arrow
        for field in found:
            # Our own field where it is equal: Parquet renames the items of lists.
            ours = SAMPLES.field(field.name) if field.name in SAMPLES.names else field
            same = ours.type.equals(field.type)
            fields.setdefault(field.name, ours if same else field)
    return pa.schema(list(fields.values())) if fields else SAMPLES


def judged(job: Derivation, columns: Sequence[str] | None) -> Iterator[tuple[pa.Table, Verdicts]]:
    """Yield all rows in pair-id order with the verdict on each."""
    streams = [rows(source, columns) for source in job.sources]
    for block in blocks(streams):
        tables = [
            table.append_column(SOURCE, pa.array(np.full(len(table), number, np.int32)))
            for number, table in enumerate(block)
            if len(table)
        ]
        table = pa.concat_tables(tables, promote_options="default").combine_chunks()
        if len(tables) > 1:
            table = table.sort_by([("pair_id", "ascending"), (SOURCE, "ascending")])
        ids = table["pair_id"].to_numpy()
        repeated = np.concatenate([[False], ids[1:] == ids[:-1]])
        yield table, np.where(repeated, np.uint8(DUPLICATE), job.choose(table))


def _shard_rows(
    job: Derivation, lists: Lists, layout: Layout, shown: Progress
) -> Iterator[pa.Table]:
    """Yield the kept rows of each new shard."""
    size, looked = layout.samples_per_shard, 0
    held: list[pa.Table] = []
    for table, verdicts in judged(job, None):
        looked += len(table)
        shown.update(looked, looked)
        held.append(_conformed(table.filter(pa.array(verdicts == KEPT)), lists, layout))
        while sum(map(len, held)) >= size:
            whole = pa.concat_tables(held)
            yield whole.slice(0, size)
            held = [whole.slice(size)]
    if any(map(len, held)):
        yield pa.concat_tables(held)


def _conformed(table: pa.Table, lists: Lists, layout: Layout) -> pa.Table:
    """Return rows with the columns of the new dataset, their numbers those of its lists."""
    columns = [
        table[field.name] if field.name in table.schema.names else pa.nulls(len(table), field.type)
        for field in layout.schema
    ]
    places = [table[SHARD], table[SOURCE]]
    sources = table[SOURCE].to_numpy()
    whole = pa.table([*columns, *places], names=[*layout.schema.names, SHARD, SOURCE])
    # Not field by field: a field's nullability would go.
    whole = whole.cast(layout.schema.append(whole.schema.field(SHARD)).append(
        whole.schema.field(SOURCE)))  # fmt: skip
    parts = [
        lists.renumbered(whole.slice(start, stop - start), int(sources[start]))
        for start, stop in _runs(sources)
    ]
    return pa.concat_tables(parts) if parts else whole


def _runs(values: NDArray[np.int32]) -> Iterator[tuple[int, int]]:
    """Yield start and end of each run of equal values."""
    edges = np.flatnonzero(np.diff(values)) + 1
    bounds = [0, *edges.tolist(), len(values)] if len(values) else [0]
    yield from itertools.pairwise(bounds)


def _dropped(job: Derivation) -> Iterator[pa.RecordBatch]:
    """Yield the dropped rows as `write_ledger` wants them; nothing is held between two passes."""
    reasons = np.array(["", job.duplicate, "", *job.reasons])
    schema = LEDGER.set(0, pa.field("pair_id", pa.binary(16)))
    columns = list(dict.fromkeys([*job.columns, "pair_id", "url", "caption"]))
    for table, verdicts in judged(job, columns):
        is_drop = (verdicts != KEPT) & (verdicts != LEFT_OUT)
        part = table.filter(pa.array(is_drop))
        if len(part):
            ids = [bytes.fromhex(text) for text in part["pair_id"].to_pylist()]
            columns_of = {
                "pair_id": pa.array(ids, pa.binary(16)),
                "stage": pa.array([job.op] * len(part)),
                "reason": pa.array(reasons[verdicts[is_drop]].tolist(), pa.string()),
                "value": pa.nulls(len(part), pa.string()),
                "count": pa.array(np.ones(len(part), np.int64)),
                "url": part["url"],
                "caption": part["caption"],
            }
            yield from pa.table(columns_of, schema=schema).to_batches()


def _count_drops(job: Derivation) -> dict[str, int]:
    """Return the drops by reason, from a look at the columns that decide."""
    counts: collections.Counter[str] = collections.Counter()
    reasons = ["", job.duplicate, "", *job.reasons]
    for _, verdicts in judged(job, list(dict.fromkeys([*job.columns, "pair_id"]))):
        for code, number in zip(*np.unique(verdicts, return_counts=True), strict=True):
            counts[reasons[code]] += int(number)
    counts.pop("", None)
    return dict(sorted(counts.items()))
