"""Selected rows to the files of their shards: columns renamed, images read and checked."""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.base.errors import OpenwitError
from manifests.base.storage import read_file_ranges
from manifests.format.ids import hex_text
from manifests.format.naming import shard_name
from manifests.format.records import ShardRecord
from manifests.format.writer import Layout, Samples, ShardWriter
from pipeline.dataset.ranks import Ranks
from pipeline.dataset.selected import read_selected
from pipeline.engine import files
from pipeline.engine.parts import Sink
from pipeline.engine.steps import Packet
from pipeline.engine.units import FileRecord, Unit

DATASET = "dataset"
"""The dataset's folder below ROOT."""
HEX_COLUMNS = ("pair_id", "sha256", "original_sha256", "cluster_id")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriteShard:
    """The kernel whose buckets are the shards."""

    root: str
    layout: Layout
    ranks: Ranks
    inputs: tuple[str, ...]
    """Logical names of the input files, in the order of `inputs.parquet`."""
    window_bytes: int
    read_concurrency: int
    gap_bytes: int

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Send each row to its shard, or to all that it may be in."""
        for batch in read_selected(unit):
            first, last = self.ranks.shard_range(batch["pair_id"])
            yield Packet("row", first, batch)
            for further in range(1, int((last - first).max(initial=0)) + 1):
                more = np.flatnonzero(first + further <= last)
                yield Packet("row", first[more] + further, batch.take(pa.array(more)))

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Write the shard's files below ROOT/dataset and commit them as the unit's."""
        table = tables["row"]
        sent, kept = self.ranks.sent(bucket), self.ranks.kept(bucket)
        if len(table) != len(sent):
            raise OpenwitError(
                f"shard {bucket}: {len(table)} rows arrived, {len(sent)} were counted: "
                "the runner lost or repeated rows; run the same command again"
            )
        rows = table.slice(kept.start - sent.start, len(kept)).combine_chunks()
        sink.note("hash_versions", sorted(rows["hash_version"].unique().to_pylist()))
        sink.note("shard", None)
        if not len(rows):
            return
        # The unit's names hold what the manifest will call the spec of these shards.
        spec = f"{sink.folder[-12:]}-{sink.unit.id[-8:]}"
        layout = dataclasses.replace(self.layout, spec=spec)
        record = ShardWriter(
            bucket,
            files.join(self.root, DATASET),
            self._windows(rows.to_batches()[0], layout),
            layout=layout,
            open_new=files.new_file,
        ).write()
        sink.note("shard", record.to_json())
        for file in _file_records(record, spec):
            sink.register(file)

    def _windows(self, rows: pa.RecordBatch, layout: Layout) -> Iterator[Samples]:
        ends = np.cumsum(rows["blob_bytes"].to_numpy().astype(np.int64))
        start = 0
        with ThreadPoolExecutor(self.read_concurrency) as pool:
            while start < rows.num_rows:
                before = int(ends[start - 1]) if start else 0
                stop = int(np.searchsorted(ends, before + self.window_bytes, "right"))
                window = rows.slice(start, max(stop, start + 1) - start)
                images = read_images(self.root, window, self.gap_bytes, pool)
                yield Samples(sample_columns(window, self.inputs, layout), images)
                start += window.num_rows


def _file_records(record: ShardRecord, spec: str) -> Iterator[FileRecord]:
    own = record.file_bytes(spec)
    path = shard_name(record.id, "json")
    for role, name, size, sha256 in (
        ("tar", record.tar.path, record.tar.bytes, record.tar.sha256),
        ("parquet", record.parquet.path, record.parquet.bytes, record.parquet.sha256),
        ("record", path, len(own), hashlib.sha256(own).hexdigest()),
    ):
        yield FileRecord(
            role=role, name=f"{DATASET}/{name}", bytes=size, sha256=sha256, rows=record.samples
        )


def read_images(
    root: str, rows: pa.RecordBatch, gap_bytes: int, pool: ThreadPoolExecutor
) -> list[bytes]:
    """Return the image of each row, read from its blob and compared with its sha256.

    Args:
        root: ROOT; the column `blob` is relative to it.
        rows: the columns `blob`, `blob_offset`, `blob_bytes`, `sha256`.
        gap_bytes: images of one blob that are closer than this are read at once.
        pool: reads several blobs at once.

    Raises:
        OpenwitError, OSError: if a blob is missing, short or wrong, also at the second try.
    """
    by_blob: dict[str, list[int]] = {}
    for index, blob in enumerate(rows["blob"].to_pylist()):
        by_blob.setdefault(blob, []).append(index)
    ranges = list(zip(rows["blob_offset"].to_pylist(), rows["blob_bytes"].to_pylist(), strict=True))
    digests = rows["sha256"].to_pylist()

    def read(blob: str) -> list[bytes]:
        path = files.join(root, blob)
        wanted = [(*ranges[index], digests[index]) for index in by_blob[blob]]
        try:
            return _read_checked(path, wanted, gap_bytes)
        except (OSError, OpenwitError):
            return _read_checked(path, wanted, gap_bytes)

    images = [b""] * rows.num_rows
    for blob, found in zip(by_blob, pool.map(read, by_blob), strict=True):
        for index, image in zip(by_blob[blob], found, strict=True):
            images[index] = image
    return images


def _read_checked(
    path: str, wanted: Sequence[tuple[int, int, bytes]], gap_bytes: int
) -> list[bytes]:
    with files.open_read(path) as file:
        ranges = [(offset, size) for offset, size, _ in wanted]
        images = read_file_ranges(file, ranges, gap_bytes=gap_bytes)
    for image, (offset, size, digest) in zip(images, wanted, strict=True):
        found = hashlib.sha256(image).hexdigest()
        if len(image) != size or found != digest.hex():
            raise OpenwitError(
                f"{path}: offset {offset}: sha256 {found} of {len(image)} bytes, expected "
                f"{digest.hex()} of {size}: the blob is damaged; run again with --force fetch"
            )
    return images


def sample_columns(rows: pa.RecordBatch, inputs: Sequence[str], layout: Layout) -> pa.RecordBatch:
    """Return selected rows under the names of the dataset, without key and offsets.

    Args:
        rows: the columns of `pipeline.records.SELECTED`.
        inputs: the logical names of the input files, in the order of `inputs.parquet`.
        layout: says which columns the dataset has.

    Raises:
        OpenwitError: if a row names a file that is not an input.
    """
    names = pa.array(inputs, pa.string())
    columns = {name: rows[name] for name in rows.schema.names}
    columns |= {name: hex_text(rows[name]) for name in HEX_COLUMNS}
    columns |= {
        "caption": rows["text"],
        "caption_source": rows["text_source"],
        "query_ids": rows["matched_query_ids"],
        "page_input": pc.index_in(rows["source_file"], value_set=names),
        "page_record": rows["source_offset"],
        "image_input": pc.index_in(rows["image_file"], value_set=names),
    }
    for column, source in (("page_input", "source_file"), ("image_input", "image_file")):
        unknown = pc.and_(columns[column].is_null(), rows[source].is_valid())
        if pc.any(unknown).as_py():
            name = rows[source].filter(unknown)[0].as_py()
            raise OpenwitError(f"{source} {name!r}: not one of the {len(inputs)} inputs of the run")
    schema = layout.given_schema
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
