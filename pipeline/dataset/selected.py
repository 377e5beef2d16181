"""The rows of the dataset: those of each part of `dedup` that `balance` kept."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from manifests.base.errors import OpenwitError
from pipeline.engine.parts import read_batches
from pipeline.engine.units import Unit
from pipeline.records import DEDUPED, SELECTED, SELECTION


def read_selected(unit: Unit, columns: Sequence[str] = SELECTED.names) -> Iterator[pa.RecordBatch]:
    """Yield the selected rows of a unit in order.

    Args:
        unit: a part of `dedup` in the role `part`, what `balance` kept of it in the role `more`.
        columns: those of `SELECTED` to read, `pair_id` among them.

    Raises:
        OpenwitError: if a kept pair is not in the part.
    """
    wide = [name for name in columns if name in DEDUPED.names]
    schema = pa.schema([SELECTED.field(name) for name in columns])
    kept = [pa.Table.from_batches([batch]) for batch in _read(unit, "more")]
    rest = pa.concat_tables([SELECTION.empty_table(), *kept]).combine_chunks()
    for batch in _read(unit, "part", wide):
        # Both are in one order, so what is kept of a batch comes next.
        wanted = rest["pair_id"].slice(0, batch.num_rows)
        rows = batch.filter(pc.is_in(batch["pair_id"], value_set=wanted))
        added = rest.slice(0, rows.num_rows).combine_chunks()
        if added["pair_id"].combine_chunks() != rows["pair_id"]:
            break
        rest = rest.slice(rows.num_rows)
        arrays = {name: added[name].combine_chunks() for name in added.column_names}
        arrays |= dict(zip(rows.schema.names, rows.columns, strict=True))
        yield pa.RecordBatch.from_arrays([arrays[name] for name in columns], schema=schema)
    if rest.num_rows:
        raise OpenwitError(
            f"balance unit {unit.id}: {rest.num_rows} pairs that it keeps are not next in the part "
            "they were kept of: do it again with --force balance"
        )


def _read(unit: Unit, role: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    for source in unit.sources:
        if source.role == role:
            yield from read_batches(source.path, columns)
