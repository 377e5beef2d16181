"""The ledger of a dataset: one row per dropped pair, a few of each reason with URL and caption."""

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from manifests.base.storage import OpenNew, join, new_file
from manifests.format.ids import hex_text
from manifests.format.records import ListedFile
from manifests.format.schema import LEDGER
from manifests.format.table import TableWriter

FILE_ROWS = 1_000_000
"""Rows of one ledger file."""

Drops = Callable[[], Iterable[pa.RecordBatch]]
"""Gives a stage's dropped rows, as often as asked, in one order: the columns of `LEDGER`, the pair
id as 16 bytes."""


def write_ledger(
    root: str,
    stage: str,
    drops: Drops,
    *,
    name: str = "",
    examples: int = 100,
    file_rows: int = FILE_ROWS,
    open_new: OpenNew = new_file,
) -> list[ListedFile]:
    """Write one stage's ledger below the dataset folder `root` and return its files.

    Args:
        root: folder or URI of the dataset.
        stage: whose drops they are; part of the file names.
        name: of the files; default: the stage's.
        drops: read twice, in bounded batches.
        examples: how many pairs of each reason keep URL and caption: those with the smallest ids.
        file_rows: rows of one file.
        open_new: opens files, by default through fsspec.
    """
    kept = _example_ids(drops(), examples)
    files = []
    for number, batches in enumerate(_cut(drops(), file_rows)):
        path = f"ledger/{name or stage}-{number:05d}.parquet"
        with open_new(join(root, "ledger")) as file:
            writer = TableWriter(file, LEDGER, dictionary=("stage", "reason"))
            for batch in batches:
                writer.write(_ledger_rows(batch, kept))
            writer.close()
            entry = ListedFile(
                path=path, role="ledger", bytes=file.bytes, sha256=file.sha256, rows=writer.rows
            )
            file.publish(join(root, path))
        files.append(entry)
    return files


def _example_ids(batches: Iterable[pa.RecordBatch], examples: int) -> dict[str, pa.Array]:
    """Return for each reason the smallest ids that have a URL, at most `examples` of them."""
    kept: dict[str, pa.Array] = {}
    for batch in batches:
        shown = batch.filter(pc.and_(batch["url"].is_valid(), batch["pair_id"].is_valid()))
        for reason in shown["reason"].unique().to_pylist():
            ids = shown.filter(pc.equal(shown["reason"], reason))["pair_id"]
            if reason in kept:
                ids = pa.concat_arrays([kept[reason], ids])
            ids = ids.unique()
            kept[reason] = ids.take(pc.sort_indices(ids).slice(0, examples))
    return kept


def _cut(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[list[pa.RecordBatch]]:
    """Yield lists of batches with exactly `rows` rows each, the last with fewer."""
    pending: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        rest = batch
        while held + rest.num_rows >= rows:
            taken = rows - held
            yield [*pending, rest.slice(0, taken)]
            pending, held, rest = [], 0, rest.slice(taken)
        if rest.num_rows:
            pending.append(rest)
            held += rest.num_rows
    if pending:
        yield pending


def _ledger_rows(batch: pa.RecordBatch, kept: dict[str, pa.Array]) -> pa.RecordBatch:
    shown = pa.array([False] * batch.num_rows, pa.bool_())
    for reason in batch["reason"].unique().to_pylist():
        if reason in kept:
            named = pc.is_in(batch["pair_id"], value_set=kept[reason])
            shown = pc.or_(shown, pc.and_(named, pc.equal(batch["reason"], reason)))
    nothing = pa.scalar(None, pa.string())
    columns = {
        "pair_id": hex_text(batch["pair_id"]),
        "url": pc.if_else(shown, batch["url"], nothing),
        "caption": pc.if_else(shown, batch["caption"], nothing),
    }
    return pa.RecordBatch.from_arrays(
        [columns.get(field.name, batch[field.name]) for field in LEDGER], schema=LEDGER
    )
