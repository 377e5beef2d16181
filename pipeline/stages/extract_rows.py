"""What stage extract gathers on the way through one input file, and writes as it goes."""

import collections

import pyarrow as pa
import pyarrow.compute as pc

from manifests.base.errors import AccountingError
from pipeline.engine.parts import Sink, drop_rows
from pipeline.engine.units import Source, Unit
from pipeline.pages.candidates import CandidateBatch, ElementDrops
from pipeline.pages.columns import CandidateColumns, PageValues
from pipeline.pages.image_elements import CandidateRules
from pipeline.pages.page import Page, SrcPage
from pipeline.readers.framing import BadRegion, Record
from pipeline.readers.reasons import Fault, PageDrop, Skip
from pipeline.records import DEADLETTERS

BATCH_ROWS = 4_096
HELD_BYTES = 16 << 20
"""Of pages whose images wait to be judged: more than any of their attributes hold."""
DETAIL_CHARACTERS = 200
LANGUAGE_CHARACTERS = 64


def input_of(unit: Unit) -> Source:
    """Return the one file that a unit of raw input reads."""
    source = unit.source("input")
    if source is None:
        raise ValueError(f"unit {unit.id} has no source of the role 'input'")
    return source


class Gathered:
    """Rows, drops, dead letters and counts of one file; each record ends as one thing."""

    def __init__(self, source_file: str, sink: Sink, rules: CandidateRules | None = None) -> None:
        """Start without anything; `rules` judge the images of pages, a list has none."""
        self.source_file = source_file
        self.columns = CandidateColumns()
        self.drops = ElementDrops()
        self._sink = sink
        self._rules = rules
        self._images = CandidateBatch(rules, self.columns, self.drops) if rules else None
        self._deadletters: list[dict[str, object]] = []
        self._records: collections.Counter[str] = collections.Counter()
        self._pages: collections.Counter[str] = collections.Counter()
        self._marks: collections.Counter[str] = collections.Counter()
        self._elements = self._held_bytes = 0

    def end_record(
        self, found: Record | BadRegion, outcome: Skip | Fault | PageDrop | None
    ) -> None:
        """Count a record by how it ended; None is a parsed page."""
        if isinstance(outcome, Fault):
            detail = found.detail if isinstance(found, BadRegion) else ""
            self.fail(found.offset, found.length, outcome, detail)
            return
        if isinstance(outcome, Skip):
            self._records[outcome] += 1
        else:
            self._pages[outcome or "parsed"] += 1
        self._flush(BATCH_ROWS)

    def end_row(self) -> None:
        """Count a list's row, which is one element: a candidate or a drop."""
        self._records["rows"] += 1
        self._elements += 1
        self._flush(BATCH_ROWS)

    def fail(self, offset: int, length: int, fault: Fault, detail: str) -> None:
        """Count a record that cannot be read, and leave a dead letter."""
        self._records[fault] += 1
        self._deadletters.append(
            {
                "source_file": self.source_file,
                "offset": offset,
                "length": length,
                "reason": str(fault),
                "detail": detail[:DETAIL_CHARACTERS],
            }
        )
        self._flush(BATCH_ROWS)

    def add_page(
        self, page: Page | SrcPage, values: PageValues, flags: list[str], page_bytes: int
    ) -> None:
        """Add a page's candidates and drops."""
        if self._images is None:
            raise ValueError("Gathered without rules takes no pages")
        self._elements += self._images.add_page(page, values, flags)
        self._held_bytes += page_bytes

    def close(self, read: int) -> None:
        """Write what is left, and check that every record ended as one thing.

        Args:
            read: records, bad regions or rows that the reader gave.

        Raises:
            AccountingError: if one did not.
        """
        self._flush(1)
        for reason in sorted(self.drops.counts):
            self._sink.count_drop(reason, self.drops.counts[reason])
        self._sink.rows_in(self._elements)
        pages = self._pages.total()
        if read != pages + self._records.total():
            raise AccountingError(
                f"{self.source_file}: {read} records are not {pages} pages plus "
                f"{dict(self._records)}: this is a fault of openwit, report it"
            )
        records = {"read": read, "pages": pages, **self._records}
        for name, counts in (("records", records), ("pages", self._pages), ("marks", self._marks)):
            self._sink.note(name, {str(key): counts[key] for key in sorted(counts)})

    def _flush(self, rows: int) -> None:
        """Write what has at least so many rows; pages without rows take memory too."""
        waiting = len(self._images) if self._images else 0
        if max(waiting, self.columns.pages) >= rows or self._held_bytes >= HELD_BYTES:
            self._write_rows()
        if len(self._deadletters) >= rows:
            batch = pa.RecordBatch.from_pylist(self._deadletters, schema=DEADLETTERS)
            self._sink.write(batch, "deadletter")
            self._deadletters = []
        if len(self.drops.rows) >= rows:
            self._sink.drop(drop_rows("extract", self.drops.rows))
            self.drops.rows = []

    def _write_rows(self) -> None:
        if self._images:
            self._images.judge()
        batch = self.columns.to_batch()
        self.columns, self._held_bytes = CandidateColumns(), 0
        if self._rules:
            self._images = CandidateBatch(self._rules, self.columns, self.drops)
        for mark in pc.value_counts(pc.list_flatten(batch["optout"])).to_pylist():
            self._marks[mark["values"]] += mark["counts"]
        self._sink.write(batch)
