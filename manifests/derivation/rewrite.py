"""Chosen rows to a new dataset: members copied byte for byte, fresh keys, same order."""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from manifests.base import storage
from manifests.base.errors import OpenwitError, RefusedError
from manifests.format.manifest import Manifest, commit, load, tool_record
from manifests.format.reader import ShardReader
from manifests.format.records import ListedFile, ShardRecord
from manifests.format.schema import OFFSET_COLUMNS, QUERIES, SAMPLES
from manifests.format.table import TableWriter
from manifests.format.writer import Layout, Samples, ShardWriter

WINDOW_BYTES = 32 << 20
"""Image bytes that are held at once."""

Choose = Callable[[pa.Table], NDArray[np.bool_]]
"""Says of the rows of a shard, given the columns that were asked for, which are kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derivation:
    """What is made of which dataset, and what its manifest will say about that."""

    source: Manifest
    columns: tuple[str, ...]
    """What `choose` is shown."""
    choose: Choose
    name: str
    """Name of the new dataset."""
    op: str
    """`split`, `sample`, `filter` or `merge`."""
    params: Mapping[str, Any]


def rewrite(
    job: Derivation, out: str, *, progress: Callable[[int], None] = lambda rows: None
) -> Manifest:
    """Write a new dataset in the folder `out` and commit it.

    Args:
        job: what to write.
        out: folder or URI, absent or empty.
        progress: told the number of rows of the source that were looked at.

    Raises:
        RefusedError: if the source is not in pair-id order.
        OpenwitError: if a sample is not as recorded, or the source changes meanwhile.
    """
    source = job.source
    if source.order != "pair_id":
        raise RefusedError(
            f"{source.root}: order {source.order}: only pair_id can be rewritten yet"
        )
    kept: collections.Counter[int] = collections.Counter()
    selected: collections.Counter[int] = collections.Counter()

    def windows() -> Iterator[Samples]:
        for window in _windows(job, progress):
            for counts, column in ((kept, "query_ids"), (selected, "selected_by")):
                found = pc.value_counts(pc.list_flatten(window.rows[column]))
                counts.update({pair["values"]: pair["counts"] for pair in found.to_pylist()})
            yield window

    shards = []
    layout = _layout(source) if source.shards else Layout()
    for number, samples in _by_shard(windows(), source.samples_per_shard):
        shards.append(ShardWriter(number, out, samples, layout=layout).write())
    files = [_copy(file, source, out) for file in source.listed("inputs")]
    files += [_recount(file, source, out, kept, selected) for file in source.listed("queries")]
    manifest = _describe(job, out, files, shards)
    if (now := load(source.root).digest) != source.digest:
        raise OpenwitError(
            f"{source.root}: digest {now}, it was {source.digest}: it changed meanwhile; "
            f"remove {out} and run again"
        )
    commit(out, manifest)
    return manifest


def _describe(
    job: Derivation, out: str, files: list[ListedFile], shards: list[ShardRecord]
) -> Manifest:
    source = job.source
    parent = {
        "digest": source.digest,
        "name": source.name,
        "version": source.version,
        "op": job.op,
        "params": dict(job.params),
    }
    return dataclasses.replace(
        source,
        root=out,
        revision=0,
        name=job.name,
        spec=None,
        tool=tool_record(),
        funnel=None,
        parents=(*source.parents, parent),
        files=tuple(sorted(files, key=lambda file: file.path)),
        shards=tuple(shards),
    )


def _layout(source: Manifest) -> Layout:
    """Return the layout of the source, its columns from the first shard: all have the same."""
    with storage.open_read(source.reader(source.shards[0]).parquet_path) as file:
        found = pq.ParquetFile(file).schema_arrow
    # Our own fields where they are equal: Parquet renames the items of lists, which would show.
    fields = [
        SAMPLES.field(field.name)
        if field.name in SAMPLES.names and SAMPLES.field(field.name).type.equals(field.type)
        else field
        for field in found
    ]
    return Layout(samples_per_shard=source.samples_per_shard, schema=pa.schema(fields))


def _windows(job: Derivation, progress: Callable[[int], None]) -> Iterator[Samples]:
    """Yield the chosen samples of all shards, in order, in bounded windows."""
    looked = 0
    for shard in job.source.shards:
        reader = job.source.reader(shard)
        chosen = np.flatnonzero(job.choose(reader.table(job.columns)))
        if len(chosen):
            yield from _copied(reader, reader.table().take(pa.array(chosen)))
        looked += shard.samples
        progress(looked)


def _copied(reader: ShardReader, rows: pa.Table) -> Iterator[Samples]:
    """Yield samples with their members, which are read together, each image checked."""
    sizes = rows["image_bytes"].to_numpy().astype(np.int64)
    start = 0
    while start < len(rows):
        held = np.cumsum(sizes[start:])
        count = max(1, int(np.searchsorted(held, WINDOW_BYTES, "right")))
        batch = rows.slice(start, count).combine_chunks().to_batches()[0]
        images, texts, jsons = _members(reader, batch)
        given = [name for name in batch.schema.names if name not in ("key", *OFFSET_COLUMNS)]
        yield Samples(batch.select(given), images, texts, jsons)
        start += count


def _members(
    reader: ShardReader, batch: pa.RecordBatch
) -> tuple[list[bytes], list[bytes], list[bytes | None]]:
    ranges: list[tuple[int, int]] = []
    for kind in ("image", "text", "json"):
        offsets = batch[f"{kind}_offset"].fill_null(0).to_pylist()
        ranges += zip(offsets, batch[f"{kind}_bytes"].fill_null(0).to_pylist(), strict=True)
    found = reader.read_ranges(ranges)
    count = batch.num_rows
    images, texts, jsons = found[:count], found[count : 2 * count], found[2 * count :]
    for image, digest, key in zip(
        images, batch["sha256"].to_pylist(), batch["key"].to_pylist(), strict=True
    ):
        actual = hashlib.sha256(image).hexdigest()
        if actual != digest:
            raise OpenwitError(
                f"{reader.tar_path}: sample {key}: sha256 {actual}, its row says {digest}: "
                "run openwit-manifest verify --deep"
            )
    has_json = batch["json_offset"].is_valid().to_pylist()
    return images, texts, [data if has else None for data, has in zip(jsons, has_json, strict=True)]


def _by_shard(
    windows: Iterator[Samples], per_shard: int
) -> Iterator[tuple[int, Iterator[Samples]]]:
    """Group windows by the shard they go to; consume a group before asking for the next."""

    def cut() -> Iterator[tuple[int, Samples]]:
        done = 0
        for window in windows:
            start = 0
            while start < window.rows.num_rows:
                count = min(window.rows.num_rows - start, per_shard - done % per_shard)
                stop = start + count
                part = Samples(
                    window.rows.slice(start, count),
                    window.images[start:stop],
                    window.texts and window.texts[start:stop],
                    window.jsons and window.jsons[start:stop],
                )
                yield done // per_shard, part
                done, start = done + count, stop

    for number, group in itertools.groupby(cut(), key=lambda pair: pair[0]):
        yield number, (part for _, part in group)


def _copy(file: ListedFile, source: Manifest, out: str) -> ListedFile:
    """Copy a table as it is."""
    with storage.open_read(source.path(file.path)) as opened, storage.new_file(out) as target:
        while block := opened.read(storage.BLOCK_BYTES):
            target.write(block)
        if target.sha256 != file.sha256:
            raise OpenwitError(
                f"{source.path(file.path)}: sha256 {target.sha256}, the manifest says "
                f"{file.sha256}: run openwit-manifest verify"
            )
        target.publish(storage.join(out, file.path))
    return file


def _recount(
    file: ListedFile,
    source: Manifest,
    out: str,
    kept: Mapping[int, int],
    selected: Mapping[int, int],
) -> ListedFile:
    """Write `queries.parquet` with the counts of the new dataset."""
    with storage.open_read(source.path(file.path)) as opened:
        table = pq.read_table(opened)
    for name, counts in (("kept", kept), ("selected", selected)):
        column = np.zeros(len(table), np.int64)
        column[list(counts)] = list(counts.values())
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(index), pa.array(column))
    table = table.select(QUERIES.names).cast(QUERIES)
    with storage.new_file(out) as target:
        writer = TableWriter(target, QUERIES)
        for batch in table.to_batches():
            writer.write(batch)
        writer.close()
        entry = dataclasses.replace(
            file, bytes=target.bytes, sha256=target.sha256, rows=writer.rows
        )
        target.publish(storage.join(out, file.path))
    return entry
