"""A bounded, even sample of the inputs as units of their own, the same in every process."""

import dataclasses
import io
import itertools
import pathlib
from collections.abc import Iterator, Sequence
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.engine import files
from pipeline.engine.units import Unit
from pipeline.readers.members import GZIP_MAGIC
from pipeline.readers.resync import Window, next_gzip_record, next_plain_record

SAMPLE_BYTES = 8 << 20
PIECES = 64
"""Many, for a crawl may write all its pages in one place and images elsewhere."""
TAIL_BYTES = 128 << 10
"""Read behind a piece of an archive for the rest of its last record, larger than nearly all pages.
"""
PARQUET_MAGIC = b"PAR1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """Units that stand for others."""

    units: tuple[Unit, ...]
    bytes: int
    """Of the inputs, that they hold."""


def take_sample(units: Sequence[Unit], folder: str, *, of_archives: bool) -> Sample:
    """Return the units themselves if they are small, else pieces at even distances.

    Args:
        units: one for each input file.
        folder: where pieces are written.
        of_archives: whether a piece may begin anywhere; those of lists are heads of files.
    """
    total = sum(unit.input_bytes for unit in units)
    if total <= SAMPLE_BYTES:
        return Sample(units=tuple(units), bytes=total)
    starts: dict[int, list[int]] = {}
    for unit, start in _places([unit.input_bytes for unit in units]):
        starts.setdefault(unit, []).append(start)
    made = []
    taken = 0
    for unit, places in starts.items():
        whole = units[unit].sources[0]
        path = pathlib.Path(folder, units[unit].id)
        with files.open_read(whole.path) as file, path.open("wb") as piece:
            if of_archives:
                taken += sum(_copy_records(file, start, piece) for start in places)
            else:
                taken += _copy_head(file, whole.bytes, SAMPLE_BYTES // len(starts), piece)
        source = dataclasses.replace(whole, path=str(path), bytes=path.stat().st_size)
        made.append(dataclasses.replace(units[unit], sources=(source,)))
    return Sample(units=tuple(made), bytes=taken)


def _places(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (file, start) of pieces at even distances in all files laid end to end."""
    total = sum(sizes)
    unit = before = 0
    for number in range(PIECES):
        at = number * total // PIECES
        while at >= before + sizes[unit]:
            before += sizes[unit]
            unit += 1
        yield unit, at - before


def _copy_records(file: IO[bytes], start: int, target: IO[bytes]) -> int:
    """Copy the records that begin in a piece of an archive, and return the bytes of the piece."""
    file.seek(0)
    is_gzip = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(start)
    data = file.read(SAMPLE_BYTES // PIECES + TAIL_BYTES)
    piece = min(len(data), SAMPLE_BYTES // PIECES)
    find, window = next_gzip_record if is_gzip else next_plain_record, Window(io.BytesIO(data))
    target.write(data[find(window, 0) : find(window, piece)])
    return piece


def _copy_head(file: IO[bytes], file_bytes: int, length: int, target: IO[bytes]) -> int:
    """Copy the first rows of a list, and return how many bytes of the file they stand for."""
    is_parquet = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    file.seek(0)
    if not is_parquet:
        return target.write(file.read(length))
    table = pq.ParquetFile(file)
    rows = table.metadata.num_rows
    wanted = max(1, rows * length // file_bytes)
    batches = list(itertools.islice(table.iter_batches(wanted), 1))
    pq.write_table(pa.Table.from_batches(batches, table.schema_arrow), target)
    return file_bytes * sum(batch.num_rows for batch in batches) // max(1, rows)
