"""Do one unit and commit it: what Beam's workers call, and what a plain loop calls in tests. No Beam here."""

from collections.abc import Mapping

import pyarrow as pa

from manifests.base.errors import AccountingError
from pipeline.engine import files
from pipeline.engine.parts import open_sink
from pipeline.engine.stage_dir import folder_of, record_path
from pipeline.engine.steps import MapStep, ShuffleStep
from pipeline.engine.units import Unit, UnitRecord, canonical_json


def run_unit(step: MapStep, spec: str, unit: Unit, root: str) -> UnitRecord:
    """Run a map step's kernel on one unit, check its sums and write its record."""
    folder = folder_of(step.name, spec)
    with open_sink(
        root=root,
        folder=folder,
        stage=step.stage,
        unit=unit,
        outputs=step.outputs,
        content_names=step.content_names,
    ) as sink:
        step.kernel.run(unit, sink)
        return _commit(step, sink.close(spec), root, folder)


def reduce_bucket(
    step: ShuffleStep, spec: str, bucket: int, unit: Unit, tables: Mapping[str, pa.Table], root: str
) -> UnitRecord:
    """Run a shuffle step's reducer on one bucket, check its sums and write its record.

    Args:
        bucket: the number of the bucket.
        unit: its unit: the id with the generation, no sources.
        tables: the bucket's rows by tag, in any order; tags without rows may be absent.
    """
    ordered = {
        tag: tables.get(tag, schema.empty_table()).sort_by(
            [(key, "ascending") for key in step.sort_keys[tag]]
        )
        for tag, schema in step.schemas.items()
    }
    folder = folder_of(step.name, spec)
    with open_sink(
        root=root,
        folder=folder,
        stage=step.stage,
        unit=unit,
        outputs=step.outputs,
        content_names=step.content_names,
    ) as sink:
        sink.note("received", {tag: table.num_rows for tag, table in ordered.items()})
        step.kernel.reduce(bucket, ordered, sink)
        return _commit(step, sink.close(spec), root, folder)


def _commit(step: MapStep | ShuffleStep, record: UnitRecord, root: str, folder: str) -> UnitRecord:
    dropped = sum(record.drops.values())
    if step.accounts and record.rows_in != record.rows_out + dropped:
        raise AccountingError(
            f"{step.name} unit {record.unit}: {record.rows_in} rows in are not {record.rows_out} "
            f"out plus {dropped} dropped {dict(record.drops)}: this is a fault of openwit, report it"
        )
    files.write_atomic(record_path(root, folder, record.unit), canonical_json(record.to_json()))
    return record
