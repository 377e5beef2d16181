"""Parquet bytes that depend on rows, schema and the pyarrow version alone."""

import contextlib
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 16_384
ZSTD_LEVEL = 3


class _Outlet:
    """Passes bytes on while it is open.

    A `ParquetWriter` that is left behind by an error writes a footer when it is collected; its file
    is gone by then, so those bytes go nowhere.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._is_open = False
        self._bytes = 0

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False

    @property
    def closed(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = len(data)
        if self._is_open:
            self._file.write(data)
        self._bytes += size
        return size

    def tell(self) -> int:
        return self._bytes

    def flush(self) -> None:
        """Nothing is held here."""

    def close(self) -> None:
        """Whoever opened the file closes it."""


class TableWriter:
    """Write batches of any size as row groups of a fixed size: batch cuts change no byte."""

    def __init__(
        self,
        file: Any,
        schema: pa.Schema,
        *,
        row_group_rows: int = ROW_GROUP_ROWS,
        zstd_level: int = ZSTD_LEVEL,
        dictionary: Sequence[str] = (),
    ) -> None:
        """Open a writer on an empty binary file object; `dictionary` names columns."""
        if row_group_rows < 1:
            raise ValueError(f"row_group_rows must be at least 1, got {row_group_rows}")
        self.rows = 0
        self._schema = schema
        self._limit = row_group_rows
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._outlet = _Outlet(file)
        with self._outlet.opened():
            self._writer = pq.ParquetWriter(
                self._outlet,
                schema,
                version="2.6",
                data_page_version="1.0",
                compression="zstd",
                compression_level=zstd_level,
                use_dictionary=list(dictionary),
                write_statistics=True,
                write_page_index=True,
                store_schema=True,
            )

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; the batch must have the writer's schema.

        Raises:
            ValueError: if the columns or their types differ, naming both.
        """
        if not batch.schema.equals(self._schema, check_metadata=False):
            raise ValueError(f"rows have the schema {batch.schema}, the file has {self._schema}")
        self.rows += batch.num_rows
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        if self._pending_rows >= self._limit:
            with self._outlet.opened():
                self._flush(final=False)

    def close(self) -> None:
        """Write what is left and the footer; a file without rows is valid."""
        with self._outlet.opened():
            self._flush(final=True)
            self._writer.close()

    def _flush(self, *, final: bool) -> None:
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending, schema=self._schema).combine_chunks()
        start = 0
        while table.num_rows - start >= self._limit:
            self._writer.write_table(table.slice(start, self._limit), row_group_size=self._limit)
            start += self._limit
        rest = table.slice(start)
        if final and rest.num_rows:
            self._writer.write_table(rest, row_group_size=self._limit)
            rest = rest.slice(rest.num_rows)
        self._pending = rest.to_batches() if rest.num_rows else []
        self._pending_rows = rest.num_rows


def write_table(
    path: str | pathlib.Path,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    **settings: Any,
) -> int:
    """Write one file of batches and return its rows."""
    with pathlib.Path(path).open("wb") as file:
        writer = TableWriter(file, schema, **settings)
        for batch in batches:
            writer.write(batch)
        writer.close()
    return writer.rows
