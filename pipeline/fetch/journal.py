"""Segments of a unit that asks the network: what is saved is not asked again after a crash.

A segment is a file of bytes and the outcomes of URLs; its journal, written last, makes it count.
Journals are numbered without gaps, so a restarted unit finds them by name.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.format.table import TableWriter
from pipeline.engine import files
from pipeline.engine.parts import Sink
from pipeline.engine.units import FileRecord, canonical_json

ROWS_AS_DICTS = 256
"""Rows of the open segment that wait to become an Arrow batch, which is a tenth of their size."""
MAX_CRASHES = 2
"""Restarts that find the same URL in decoding before it is given up."""
_TAILS = {"blob": "blob", "warc": "warc.gz"}
_NOTE_BYTES = 2_200
"""Longer than any URL."""


class Journal:
    """The segments of one unit: those of earlier attempts, and the one being filled."""

    def __init__(
        self,
        sink: Sink,
        schema: pa.Schema,
        stack: contextlib.ExitStack,
        role: str = "blob",
    ) -> None:
        """Read what earlier attempts have saved.

        Args:
            sink: of the unit.
            schema: of the rows; a row with a place in the open file gets its name in the column
                of the role.
            stack: closes what is open when the unit ends.
            role: of the file with bytes; its last name, too.
        """
        self._role, self._tail = role, _TAILS[role]
        self._sink = sink
        self._schema = schema
        self._stack = stack
        self._folder = files.join(sink.root, sink.folder)
        self.saved: list[pa.Table] = []
        """Rows of the segments."""
        self.facts: list[dict[str, Any]] = []
        """What the last segment was saved with."""
        while (entry := self._read(len(self.saved))) is not None:
            self._take(entry)
        self._rows: list[dict[str, Any]] = []
        self._batches: list[pa.RecordBatch] = []
        self._blob: files.NewFile | None = None
        self._offsets: dict[bytes, int] = {}

    @property
    def open_bytes(self) -> int:
        """Bytes of the file that is being filled."""
        return self._blob.bytes if self._blob is not None else 0

    def store(self, data: bytes, digest: bytes) -> int:
        """Append to the open file, unless it holds the bytes already, and return their offset."""
        if digest not in self._offsets:
            self._offsets[digest] = self.append(data)
        return self._offsets[digest]

    def append(self, data: bytes) -> int:
        """Append to the open file and return the offset."""
        if self._blob is None:
            self._blob = self._stack.enter_context(files.new_file(self._folder))
        offset = self._blob.bytes
        self._blob.write(data)
        return offset

    def add(self, row: dict[str, Any]) -> None:
        """Append a row; one with a `blob_offset` or `offset` gets its file's name on `save`."""
        if row.get("blob_offset", row.get("offset")) is not None:
            row[self._role] = ""  # until the file has a name
        self._rows.append(row)
        if len(self._rows) >= ROWS_AS_DICTS:
            self._pack()

    def save(self, facts: list[dict[str, Any]]) -> None:
        """Close the open segment, if it holds a row; the next begins."""
        self.facts = facts
        self._pack()
        if not self._batches:
            return
        blob = self._close_blob()
        table = pa.Table.from_batches(self._batches)
        if blob is not None:
            place = self._schema.get_field_index(self._role)
            name = pa.scalar(blob.name)
            names = pc.if_else(pc.is_null(table[place]), table[place], name)
            table = table.set_column(place, self._schema.field(place), names)
        rows = self._write_rows(table)
        entry = {
            "file": dataclasses.asdict(blob) if blob else None,
            "rows": dataclasses.asdict(rows),
            "facts": facts,
        }
        files.write_atomic(self._path(len(self.saved)), canonical_json(entry))
        self.saved.append(table)
        self._batches, self._blob, self._offsets = [], None, {}

    def _pack(self) -> None:
        if self._rows:
            self._batches.append(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def _close_blob(self) -> FileRecord | None:
        if self._blob is None:
            return None
        digest = self._blob.sha256
        name = f"{self._sink.folder}/part-{self._sink.unit.id}-{digest[:8]}.{self._tail}"
        record = FileRecord(role=self._role, name=name, bytes=self._blob.bytes, sha256=digest)
        self._blob.publish(files.join(self._sink.root, name))
        self._sink.register(record)
        return record

    def _write_rows(self, table: pa.Table) -> FileRecord:
        number = len(self.saved)
        name = f"{self._sink.folder}/segment-{self._sink.unit.id}-{number:03d}.parquet"
        with files.new_file(self._folder) as file:
            writer = TableWriter(file, self._schema)
            for batch in table.to_batches():
                writer.write(batch)
            writer.close()
            file.publish(files.join(self._sink.root, name))
        return FileRecord(
            role="segment", name=name, bytes=file.bytes, sha256=file.sha256, rows=table.num_rows
        )

    def _path(self, number: int) -> str:
        return journal_path(self._folder, self._sink.unit.id, number)

    def _read(self, number: int) -> dict[str, Any] | None:
        """Return a journal, or None if there is none or one of its files is not as it says."""
        path = self._path(number)
        if files.size_bytes(path) is None:
            return None
        entry: dict[str, Any] = json.loads(files.read_bytes(path))
        listed = [entry["rows"], *([entry["file"]] if entry["file"] else [])]
        sizes = [files.size_bytes(files.join(self._sink.root, each["name"])) for each in listed]
        return entry if sizes == [each["bytes"] for each in listed] else None

    def _take(self, entry: dict[str, Any]) -> None:
        with files.open_read(files.join(self._sink.root, entry["rows"]["name"])) as file:
            self.saved.append(pq.read_table(file, schema=self._schema))
        self.facts = entry["facts"]
        if entry["file"]:
            self._sink.register(FileRecord(**entry["file"]))


def journal_path(folder: str, unit: str, number: int) -> str:
    """Return where a unit's journal of that number is."""
    return files.join(folder, f"journal-{unit}-{number:03d}.json")


def forget_journals(root: str, folder: str, unit: str) -> None:
    """Remove the journals and segments of a unit that is committed."""
    base = files.join(root, folder)
    number = 0
    while files.size_bytes(path := journal_path(base, unit, number)) is not None:
        files.remove(files.join(base, f"segment-{unit}-{number:03d}.parquet"))
        files.remove(path)
        number += 1
    for name in ("crashes", "decoding"):
        files.remove(files.join(base, f"{name}-{unit}"))


@contextlib.contextmanager
def crash_notes(root: str, folder: str, unit: str) -> Iterator["CrashNotes"]:
    """Give the notes of a unit; below a remote ROOT nothing is noted."""
    if not files.is_local(root):
        yield CrashNotes(frozenset(), None)
        return
    base = pathlib.Path(root, folder)
    base.mkdir(parents=True, exist_ok=True)
    note, counts_path = base / f"decoding-{unit}", base / f"crashes-{unit}"
    counts: dict[str, int] = json.loads(counts_path.read_bytes()) if counts_path.exists() else {}
    url = note.read_bytes().partition(b"\0")[0].decode() if note.exists() else ""
    if url:
        counts[url] = counts.get(url, 0) + 1
        files.write_atomic(str(counts_path), canonical_json(counts))
    given_up = frozenset(url for url, count in counts.items() if count >= MAX_CRASHES)
    with note.open("wb", buffering=0) as file:
        yield CrashNotes(given_up, file.fileno())
    note.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True, slots=True)
class CrashNotes:
    """Which URLs ended the process, and a note of the one that may be about to."""

    given_up: frozenset[str]
    """URLs whose image ended the process too often."""
    _handle: int | None

    @contextlib.contextmanager
    def decoding(self, url: str) -> Iterator[None]:
        """Note an URL while its image is decoded; what is not synced still outlives the process."""
        if self._handle is not None:
            os.pwrite(self._handle, url.encode().ljust(_NOTE_BYTES, b"\0"), 0)
        yield
        if self._handle is not None:
            os.pwrite(self._handle, b"\0", 0)
