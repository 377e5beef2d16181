"""A unit's files: rows, ledger and blob, written once and committed by the unit's record."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.verdict import DropReason
from manifests.format.table import TableWriter
from pipeline.engine import files
from pipeline.engine.units import FileRecord, Unit, UnitRecord, inputs_of
from pipeline.records import DROPS

LEDGER_EXAMPLES = 100
"""Dropped pairs per unit and reason that keep URL and caption: those with the smallest ids."""


class Blob:
    """Bytes laid end to end in one file whose name ends in 8 hexadecimal digits of its content."""

    def __init__(self, sink: "Sink", file: files.NewFile) -> None:
        """Made by `Sink.open_blob`."""
        self._sink = sink
        self._file = file

    def append(self, data: bytes) -> int:
        """Append and return the offset, in bytes, at which `data` begins."""
        offset = self._file.bytes
        self._file.write(data)
        return offset

    def close(self) -> str:
        """Publish the blob and return its name relative to ROOT."""
        digest = self._file.sha256
        name = f"{self._sink.folder}/part-{self._sink.unit.id}-{digest[:8]}.blob"
        self._file.publish(files.join(self._sink.root, name))
        self._sink.register(
            FileRecord(role="blob", name=name, bytes=self._file.bytes, sha256=digest)
        )
        return name


class Sink:
    """Where a kernel puts what it makes of one unit."""

    def __init__(
        self,
        *,
        root: str,
        folder: str,
        stage: str,
        unit: Unit,
        outputs: Mapping[str, pa.Schema],
        content_names: bool,
        stack: contextlib.ExitStack,
    ) -> None:
        """Made by `open_sink`."""
        self.root = root
        self.folder = folder
        self.stage = stage
        self.unit = unit
        self._outputs = outputs
        self._content_names = content_names
        self._stack = stack
        self._writers: dict[str, tuple[files.NewFile, TableWriter]] = {}
        self._files: list[FileRecord] = []
        self._drops: list[pa.RecordBatch] = []
        self._counted: dict[str, int] = {}
        self._rows_in = 0
        self._notes: dict[str, Any] = {}

    def rows_in(self, count: int) -> None:
        """Count rows read, in the unit of account of the stage."""
        self._rows_in += count

    def write(self, batch: pa.RecordBatch, role: str = "part") -> None:
        """Append rows to the file of a role; batches may be of any size."""
        self._writer(role).write(batch)

    def drop(self, batch: pa.RecordBatch) -> None:
        """Put dropped pairs, with the columns of `pipeline.records.DROPS`, in the ledger."""
        if batch.num_rows:
            self._drops.append(batch)

    def count_drop(self, reason: str, count: int = 1) -> None:
        """Count drops that have no pair id."""
        self._counted[reason] = self._counted.get(reason, 0) + count

    def note(self, name: str, value: Any) -> None:
        """Keep a further JSON value in the unit's record."""
        self._notes[name] = value

    def open_blob(self) -> Blob:
        """Open the unit's blob; close it before the rows that name it are written."""
        folder = files.join(self.root, self.folder)
        return Blob(self, self._stack.enter_context(files.new_file(folder)))

    def register(self, record: FileRecord) -> None:
        """Commit a file that the kernel published itself, below ROOT."""
        self._files.append(record)

    @property
    def errors(self) -> list[str]:
        """The first 3 of the unexpected exceptions among the dropped rows."""
        found: list[str] = []
        for batch in self._drops:
            chosen = batch.filter(pc.equal(batch["reason"], DropReason.INTERNAL_ERROR.value))
            found.extend(str(value) for value in chosen["value"][:3].to_pylist())
        return found[:3]

    def close(self, spec: str) -> UnitRecord:
        """Finish all files and return the record that commits them."""
        for role in self._outputs:
            self._writer(role)
        rows = {role: self._finish(role) for role in sorted(self._writers)}
        drops = self._write_drops()
        return UnitRecord(
            unit=self.unit.id,
            spec=spec,
            inputs=inputs_of(self.unit),
            rows_in=self._rows_in,
            rows_out=rows.get("part", 0),
            drops=drops,
            files=tuple(sorted(self._files, key=lambda file: (file.role, file.name))),
            notes=self._notes,
        )

    def _writer(self, role: str) -> TableWriter:
        if role not in self._writers:
            if role not in self._outputs:
                raise ValueError(
                    f"role {role!r} is not an output of the step: {list(self._outputs)}"
                )
            folder = files.join(self.root, self.folder)
            file = self._stack.enter_context(files.new_file(folder))
            self._writers[role] = (file, TableWriter(file, self._outputs[role]))
        return self._writers[role][1]

    def _finish(self, role: str) -> int:
        file, writer = self._writers[role]
        writer.close()
        tail = f"-{file.sha256[:8]}" if self._content_names else ""
        name = f"{self.folder}/{role}-{self.unit.id}{tail}.parquet"
        file.publish(files.join(self.root, name))
        self.register(
            FileRecord(role=role, name=name, bytes=file.bytes, sha256=file.sha256, rows=writer.rows)
        )
        return writer.rows

    def _write_drops(self) -> dict[str, int]:
        counted = [
            {"stage": self.stage, "reason": reason, "count": count}
            for reason, count in sorted(self._counted.items())
            if count
        ]
        batches = [*self._drops, pa.RecordBatch.from_pylist(counted, schema=DROPS)]
        table = pa.Table.from_batches(batches, schema=DROPS)
        table = _keep_examples(
            table.sort_by(
                [("reason", "ascending"), ("pair_id", "ascending"), ("value", "ascending")]
            )
        )
        folder = files.join(self.root, self.folder)
        file = self._stack.enter_context(files.new_file(folder))
        writer = TableWriter(file, DROPS, dictionary=["stage", "reason"])
        for batch in table.to_batches():
            writer.write(batch)
        writer.close()
        name = f"{self.folder}/drops-{self.unit.id}.parquet"
        file.publish(files.join(self.root, name))
        self.register(
            FileRecord(
                role="drops", name=name, bytes=file.bytes, sha256=file.sha256, rows=writer.rows
            )
        )
        sums = table.group_by("reason").aggregate([("count", "sum")])
        return dict(
            sorted(zip(sums["reason"].to_pylist(), sums["count_sum"].to_pylist(), strict=True))
        )


def _keep_examples(table: pa.Table) -> pa.Table:
    """Blank URL and caption but for each reason's first rows; `table` is sorted by reason, id."""
    reasons = table["reason"].combine_chunks()
    keep = pa.array([], pa.bool_())
    for run in pc.value_counts(reasons).to_pylist() if len(reasons) else []:
        head = min(run["counts"], LEDGER_EXAMPLES)
        flags = pa.array([True] * head + [False] * (run["counts"] - head), pa.bool_())
        keep = pa.concat_arrays([keep, flags])
    for column in ("url", "caption"):
        index = table.schema.get_field_index(column)
        values = pc.if_else(keep, table[column], pa.scalar(None, pa.string()))
        table = table.set_column(index, table.schema.field(index), values)
    return table


@contextlib.contextmanager
def open_sink(
    *,
    root: str,
    folder: str,
    stage: str,
    unit: Unit,
    outputs: Mapping[str, pa.Schema],
    content_names: bool = False,
) -> Iterator[Sink]:
    """Give a sink whose unfinished files are removed when the block ends."""
    with contextlib.ExitStack() as stack:
        yield Sink(
            root=root,
            folder=folder,
            stage=stage,
            unit=unit,
            outputs=outputs,
            content_names=content_names,
            stack=stack,
        )


def drop_rows(stage: str, rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Return ledger rows from dicts of pair_id, reason, and optional value, count, url, caption."""
    filled = [{"stage": stage, "count": 1, **row} for row in rows]
    return pa.RecordBatch.from_pylist(filled, schema=DROPS)


_BATCH_ROWS = [8192]


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """Return a table as one batch, also if it has no rows."""
    batches = table.combine_chunks().to_batches()
    if not batches:
        return pa.RecordBatch.from_pylist([], schema=table.schema)
    return batches[0]


def read_in_batches_of(rows: int) -> None:
    """Let `read_batches` yield so many rows at once in this process, unless told otherwise."""
    _BATCH_ROWS[0] = rows


def read_batches(
    path: str, columns: list[str] | None = None, batch_rows: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield a Parquet file's rows in order, in bounded batches; nothing may depend on their size.

    By one thread: workers are processes, and each thread keeps freed memory of its own.
    """
    with files.open_read(path) as file:
        yield from pq.ParquetFile(file).iter_batches(
            batch_rows or _BATCH_ROWS[0], columns=columns, use_threads=False
        )
