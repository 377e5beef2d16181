"""Rows of one or several datasets in the order of their pair ids, a bounded number at a time."""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.format.manifest import Manifest

SHARD = "_shard"
"""Column of a row's shard: the position in `Manifest.shards`."""
BUCKET_ROWS = 50_000
MAX_BUCKETS = 256
"""Files that are open at once while a dataset is sorted."""


def rows(manifest: Manifest, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of a dataset in ascending order of `pair_id`, with the column `SHARD`.

    A dataset in pair-id order gives its shards one by one. Others are sorted first, on disk.

    Args:
        manifest: the dataset.
        columns: which, `pair_id` among them; all by default.

    Raises:
        OpenwitError: if a shard cannot be read.
    """
    if manifest.order == "pair_id":
        yield from _as_found(manifest, columns)
        return
    count = min(MAX_BUCKETS, -(-manifest.samples // BUCKET_ROWS))
    with tempfile.TemporaryDirectory(prefix="openwit-sort-") as folder:
        for path in _scatter(manifest, columns, pathlib.Path(folder), count):
            with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
                yield reader.read_all().sort_by(
                    [("pair_id", "ascending"), (SHARD, "ascending"), ("key", "ascending")]
                )


def _as_found(manifest: Manifest, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    for number, shard in enumerate(manifest.shards):
        table = manifest.reader(shard).table(columns)
        yield table.append_column(SHARD, pa.array(np.full(len(table), number, np.int32)))


def _scatter(
    manifest: Manifest, columns: Sequence[str] | None, folder: pathlib.Path, count: int
) -> list[pathlib.Path]:
    """Write each row to the file of its range of ids; return the files that have rows, in order."""
    wanted = columns if columns is None else list(dict.fromkeys([*columns, "key"]))
    paths = [folder / f"{number:03d}.arrow" for number in range(count)]
    with contextlib.ExitStack() as stack:
        writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        for table in _as_found(manifest, wanted):
            heads = np.array([int(text[:8], 16) for text in table["pair_id"].to_pylist()])
            buckets = heads * count >> 32
            for bucket in np.unique(buckets).tolist():
                if bucket not in writers:
                    file = stack.enter_context(pa.OSFile(str(paths[bucket]), "wb"))
                    writer = pa.ipc.new_stream(file, table.schema)
                    writers[bucket] = stack.enter_context(writer)
                writers[bucket].write_table(table.filter(pa.array(buckets == bucket)))
    return [path for path in paths if path.exists()]


def blocks(sources: Sequence[Iterator[pa.Table]]) -> Iterator[list[pa.Table]]:
    """Cut sorted tables at common ids: yield one table for each source, some without rows.

    Every id of a block is below every id of the next one; at most one table of each source is held.
    """
    held: list[pa.Table | None] = [None] * len(sources)
    empty: list[pa.Table | None] = [None] * len(sources)
    while True:
        for number, source in enumerate(sources):
            table = held[number]
            while table is None or not len(table):
                table = next(source, None)
                if table is None:
                    break
                empty[number] = table.slice(0, 0)
            held[number] = table
        last = [table["pair_id"][-1].as_py() for table in held if table is not None]
        if not last:
            return
        limit, block = min(last), []
        for number, table in enumerate(held):
            if table is None:
                block.append(empty[number])
                continue
            count = pc.sum(pc.less_equal(table["pair_id"], limit)).as_py()
            block.append(table.slice(0, count))
            held[number] = table.slice(count)
        yield [pa.table({}) if table is None else table for table in block]
