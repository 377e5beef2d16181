"""URL lists: Parquet, CSV, TSV and JSONL, told apart by their bytes, read row by row."""

import codecs
import csv
import dataclasses
import functools
import gzip
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from isal import igzip

from manifests.base.errors import ConfigError
from pipeline.readers.members import GZIP_MAGIC
from pipeline.readers.reasons import Fault
from pipeline.readers.resync import InflateError

Cells = Mapping[str, object]  # by the keys of `ALIASES`
ALIASES: Mapping[str, tuple[str, ...]] = {
    "url": ("url", "URL", "image_url"),
    "text": ("caption", "TEXT", "text", "alt"),
    "page_url": ("page_url",),
    "license": ("license", "LICENSE"),
    "width": ("width", "WIDTH"),
    "height": ("height", "HEIGHT"),
    "sha256": ("sha256",),
    "md5": ("md5",),
}
"""Columns that are read, and the names they go by; two are one too many for url and text only."""
_DIGEST_BYTES = {"sha256": 32, "md5": 16}
_PARQUET_MAGIC = b"PAR1"
_PARQUET_ERRORS = (pa.ArrowException, OSError, UnicodeError)
_BATCH_ROWS = 4_096
_HEXADECIMAL = re.compile("[0-9A-Fa-f]+")
_PX = re.compile(r"\s*(\d{1,9})(?!\d)", re.ASCII)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ListRow:
    """One row of a list, nothing judged."""

    number: int
    """Among the rows of the file, bad ones counted, from 0."""
    url: str
    text: str
    page_url: str
    license: str
    width_px: int | None
    height_px: int | None
    sha256: bytes | None
    md5: bytes | None


@dataclasses.dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, or the rest of a file or row group."""

    number: int
    fault: Fault
    detail: str


class _RowError(Exception):
    pass


def read_list(
    file: IO[bytes], name: str, *, url_column: str, text_column: str, max_row_bytes: int
) -> Iterator[ListRow | BadRow]:
    """Yield the rows of a list in order.

    Args:
        file: seekable; gzip, Parquet and JSONL as the first bytes say, TSV if the header has a tab.
        name: of the file, for messages.
        url_column: `input.url_column`; empty to go by the alias that is there.
        text_column: `input.text_column`, likewise.
        max_row_bytes: a longer line is a bad row.

    Raises:
        ConfigError: if a column is missing, or could be one of two.
        OSError: if the storage fails; damage of the content never raises.
    """
    wanted = {"url": url_column, "text": text_column}
    magic = file.read(len(_PARQUET_MAGIC))
    file.seek(0)
    if magic == _PARQUET_MAGIC:
        return _parquet_rows(file, name, wanted)
    if magic.startswith(GZIP_MAGIC):
        file = cast(IO[bytes], igzip.IGzipFile(fileobj=file))  # type: ignore[no-untyped-call]
    return _text_rows(_Lines(file, max_row_bytes), name, wanted)


def find_columns(names: Sequence[str], name: str, wanted: Mapping[str, str]) -> dict[str, int]:
    """Return the place of each column that is there, by its key in `ALIASES`.

    Args:
        names: of the file's columns.
        name: of the file.
        wanted: the name that a setting gives to a column, empty if none.

    Raises:
        ConfigError: if url or text is missing, or two columns could be it.
    """
    places: dict[str, int] = {}
    for key, aliases in ALIASES.items():
        asked = wanted.get(key)
        known = (asked,) if asked else aliases
        found = [at for at, column in enumerate(names) if column in known]
        if key in wanted and len(found) != 1:
            seen = " and ".join(names[at] for at in found) or f"none of {', '.join(known)}"
            raise ConfigError(
                f"{name}: {key} column: {seen} among {', '.join(names)}: set input.{key}_column"
            )
        if found:
            places[key] = found[0]
    return places


class _Lines:
    """The lines of a text file; after one that is too long, and raises, the next may be had."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self.number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(self._max_bytes + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > self._max_bytes:
            while line and not line.endswith(b"\n"):
                line = self._file.readline(self._max_bytes)
            raise _RowError(f"longer than {self._max_bytes} bytes")
        if self.number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        return line.decode("utf-8", "surrogateescape")


def _text_rows(lines: _Lines, name: str, wanted: Mapping[str, str]) -> Iterator[ListRow | BadRow]:
    number, next_cells = 0, None
    while True:
        try:
            next_cells = next_cells or _text_cells(lines, name, wanted)
            row: ListRow | BadRow = _row(number, next_cells())
        except StopIteration:
            return
        except (_RowError, csv.Error) as error:
            row = BadRow(number, Fault.LIST_ROW, f"line {lines.number}: {error}")
        except (EOFError, gzip.BadGzipFile, InflateError) as error:
            fault = Fault.GZIP_TRUNCATED if isinstance(error, EOFError) else Fault.GZIP_CORRUPT
            yield BadRow(number, fault, f"behind line {lines.number}")
            return
        yield row
        number += 1


def _text_cells(lines: _Lines, name: str, wanted: Mapping[str, str]) -> Callable[[], Cells]:
    """Return what gives the next row's cells: of JSONL if the first line is an object, else CSV."""
    first = next(lines)
    if first.lstrip().startswith("{"):
        return _JsonCells(itertools.chain([first], lines), name, wanted)
    delimiter = "\t" if "\t" in first else ","
    names = next(csv.reader([first], delimiter=delimiter))
    rows = csv.reader(lines, delimiter=delimiter)
    return functools.partial(_csv_cells, rows, find_columns(names, name, wanted), len(names))


def _csv_cells(rows: Iterator[list[str]], places: Mapping[str, int], fields: int) -> Cells:
    cells: list[str] = []
    while not cells:
        cells = next(rows)
    if len(cells) != fields:
        raise _RowError(f"{len(cells)} fields, the header has {fields}")
    return {key: cells[at] for key, at in places.items()}


class _JsonCells:
    """Cells of the rows of JSONL; the first sound one tells which keys url and text have."""

    def __init__(self, lines: Iterator[str], name: str, wanted: Mapping[str, str]) -> None:
        self._lines = lines
        self._name = name
        self._wanted = wanted
        self._keys: dict[str, tuple[str, ...]] = {}

    def __call__(self) -> Cells:
        line = ""
        while not line:
            line = next(self._lines).strip()
        try:
            table = msgspec.json.decode(line, type=dict[str, Any])
        except (ValueError, RecursionError):
            raise _RowError("no JSON object") from None
        if not self._keys:
            names = list(table)
            places = find_columns(names, self._name, self._wanted)
            self._keys = {**ALIASES, **{key: (names[places[key]],) for key in self._wanted}}
        return {
            key: next((table[name] for name in names if name in table), None)
            for key, names in self._keys.items()
        }


def _parquet_rows(
    file: IO[bytes], name: str, wanted: Mapping[str, str]
) -> Iterator[ListRow | BadRow]:
    try:
        table = pq.ParquetFile(file)
        names = table.schema_arrow.names
    except _PARQUET_ERRORS as error:
        yield BadRow(0, Fault.LIST_ROW, f"no Parquet file: {_kind(error)}")
        return
    places = find_columns(names, name, wanted)
    columns = [names[at] for at in places.values()]
    first = 0
    for group in range(table.num_row_groups):
        number = first
        try:
            for batch in table.iter_batches(
                _BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False
            ):
                cells = [_column(batch[column]) for column in columns]
                for values in zip(*cells, strict=True):
                    try:
                        yield _row(number, dict(zip(places, values, strict=True)))
                    except _RowError as error:
                        yield BadRow(number, Fault.LIST_ROW, f"row {number}: {error}")
                    number += 1
        except _PARQUET_ERRORS as error:
            yield BadRow(number, Fault.LIST_ROW, f"rest of row group {group}: {_kind(error)}")
        first += table.metadata.row_group(group).num_rows


def _column(column: pa.Array) -> list[object]:
    """Return a column's values, texts as their bytes: one that is no UTF-8 costs its row."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary())
    return cast(list[object], column.to_pylist())


def _kind(error: Exception) -> str:
    """Return an error's class; one of the storage, which has a number, is raised again."""
    if getattr(error, "errno", None) is not None:
        raise error
    return type(error).__name__


def _row(number: int, values: Cells) -> ListRow:
    return ListRow(
        number=number,
        url=_string(values.get("url"), "url"),
        text=_string(values.get("text"), "text"),
        page_url=_string(values.get("page_url"), "page_url"),
        license=_string(values.get("license"), "license"),
        width_px=_px(values.get("width")),
        height_px=_px(values.get("height")),
        sha256=_digest(values.get("sha256"), "sha256"),
        md5=_digest(values.get("md5"), "md5"),
    )


def _string(value: object, key: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str | bytes):
        raise _RowError(f"{key}: a {type(value).__name__}, not a text")
    try:
        return str(value, "utf-8") if isinstance(value, bytes) else str(value.encode(), "utf-8")
    except UnicodeError:
        raise _RowError(f"{key}: not UTF-8") from None


def _px(value: object) -> int | None:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return int(found[1]) if (found := _PX.match(text)) else None


def _digest(value: object, key: str) -> bytes | None:
    """Return a digest's bytes; one that `fetch` could never find equal makes a bad row."""
    if value is None or value == "":
        return None
    size = _DIGEST_BYTES[key]
    if isinstance(value, bytes) and len(value) == size:
        return value
    text = _string(value, key).strip()
    if not _HEXADECIMAL.fullmatch(text) or len(text) != 2 * size:
        raise _RowError(f"{key}: not {2 * size} hexadecimal digits")
    return bytes.fromhex(text)
