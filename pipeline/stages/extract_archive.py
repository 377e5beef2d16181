"""The kernel of stage extract: one WARC file to candidates, image index, dead letters and drops."""

import collections
import dataclasses

import pyarrow as pa

from filters.consent.marks import header_signals
from filters.urls.url_key import join_url
from filters.verdict import DropReason
from manifests.base.errors import AccountingError
from pipeline.engine import files
from pipeline.engine.parts import Sink, drop_rows
from pipeline.engine.units import Unit
from pipeline.pages.candidates import CandidateRules, ElementDrops, add_candidates, resolve_base
from pipeline.pages.charset import header_charset
from pipeline.pages.columns import CandidateColumns, PageValues
from pipeline.pages.consent_marks import page_signals
from pipeline.pages.html import Page, PageLimits, parse_page
from pipeline.readers.body import Body
from pipeline.readers.framing import BadRegion, Limits, Record
from pipeline.readers.headers import bounded, media_type, record_time
from pipeline.readers.image_index import (
    MAGIC_BYTES,
    REDIRECTS,
    ImageIndex,
    begins_image,
    is_image,
    record_id,
)
from pipeline.readers.reasons import Fault, PageDrop, Skip
from pipeline.readers.warc import (
    Message,
    content_types,
    parse_message,
    read_records,
    target_url,
)
from pipeline.records import DEADLETTERS

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
BATCH_ROWS = 4_096
LANGUAGE_CHARACTERS = 64
_SKIPPED_KINDS = {
    "warcinfo": Skip.WARCINFO,
    "request": Skip.REQUEST,
    "metadata": Skip.METADATA,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractArchive:
    """Reads one WARC file; the fields are settings of the stage."""

    limits: Limits
    page_limits: PageLimits
    max_page_bytes: int
    rules: CandidateRules
    content_usage_keys: tuple[str, ...]
    indexes_images: bool

    def run(self, unit: Unit, sink: Sink) -> None:
        """Read the unit's input, once, and write all of the unit's files."""
        source = unit.source("input")
        if source is None:
            raise ValueError(f"unit {unit.id} has no source of the role 'input'")
        walk = _ArchiveWalk(self, source.name, sink)
        with files.open_read(source.path) as file:
            for found in read_records(file, self.limits):
                walk.take(found)
        walk.close()


class _ArchiveWalk:
    """What is gathered on the way through one file."""

    def __init__(self, settings: ExtractArchive, source_file: str, sink: Sink) -> None:
        self._settings = settings
        self._source_file = source_file
        self._sink = sink
        self._columns = CandidateColumns()
        self._index = ImageIndex(source_file, settings.content_usage_keys)
        self._drops = ElementDrops()
        self._deadletters: list[dict[str, object]] = []
        self._records: collections.Counter[str] = collections.Counter()
        self._pages: collections.Counter[str] = collections.Counter()
        self._marks: collections.Counter[str] = collections.Counter()
        self._read = self._elements = 0

    def take(self, found: Record | BadRegion) -> None:
        """Take what the reader found next."""
        self._read += 1
        if isinstance(found, BadRegion):
            self._fail(found, found.fault, found.detail)
        else:
            outcome = self._take_record(found)
            if isinstance(outcome, Fault):
                self._fail(found, outcome, "")
            elif isinstance(outcome, Skip):
                self._records[outcome] += 1
            else:
                self._pages[outcome or "parsed"] += 1
        self._flush(BATCH_ROWS)

    def close(self) -> None:
        """Write what is left, and check that every record ended as one thing."""
        self._flush(1)
        for reason in sorted(self._drops.counts):
            self._sink.count_drop(reason, self._drops.counts[reason])
        self._sink.rows_in(self._elements)
        pages = self._pages.total()
        if self._read != pages + self._records.total():
            raise AccountingError(
                f"{self._source_file}: {self._read} records are not {pages} pages plus "
                f"{dict(self._records)}: this is a fault of openwit, report it"
            )
        records = {"read": self._read, "pages": pages, **self._records}
        for name, counts in (
            ("records", records),
            ("pages", self._pages),
            ("marks", self._marks),
        ):
            self._sink.note(name, {str(key): counts[key] for key in sorted(counts)})
        if self._settings.indexes_images:
            self._sink.note("image_unseekable", self._index.unseekable)

    def _take_record(self, record: Record) -> Skip | Fault | PageDrop | None:
        """Take a sound record and return how it ends; None is a parsed page."""
        kind = record.kind
        if kind in _SKIPPED_KINDS:
            return _SKIPPED_KINDS[kind]
        if kind == "revisit":
            self._index_revisit(record)
            return Skip.REVISIT
        holds = media_type(record.headers.get("content-type"))
        if kind != "resource" and (kind != "response" or holds not in {"application/http", ""}):
            return Skip.TYPE_OTHER
        message = parse_message(record, self._settings.limits.header_bytes)
        if isinstance(message, Fault):
            return message
        if message.status != 200:
            if self._settings.indexes_images and message.status in REDIRECTS:
                self._index.add_redirect(record, message)
            return Skip.STATUS
        return self._take_message(record, message)

    def _take_message(self, record: Record, message: Message) -> Skip | Fault | PageDrop | None:
        types = content_types(record, message)
        if not types or media_type(types[0]) not in HTML_TYPES:
            if not begins_image(message):
                return Skip.NOT_HTML
            return self._take_image(record, message)
        body = message.decoded(self._settings.max_page_bytes)
        if isinstance(body, Fault):
            return body
        if is_image(body.data[:MAGIC_BYTES]):
            return self._take_image(record, message)
        page_url = target_url(record.headers)
        if isinstance(page_url, DropReason):
            return Skip.PAGE_URL
        if not body.data:
            return PageDrop.EMPTY_BODY
        page = parse_page(
            body.data,
            header_charset(types),
            self._settings.page_limits,
            with_captions="figcaption" in self._settings.rules.text_sources,
        )
        if page is None:
            return PageDrop.CHARSET_UNSUPPORTED
        self._add_page(record, message, page_url, page, body)
        return None

    def _take_image(self, record: Record, message: Message) -> Skip:
        if self._settings.indexes_images:
            self._index.add_image(record, message)
        return Skip.IMAGE_RESPONSE

    def _index_revisit(self, record: Record) -> None:
        if self._settings.indexes_images:
            message = parse_message(record, self._settings.limits.header_bytes)
            self._index.add_revisit(record, None if isinstance(message, Fault) else message)

    def _add_page(
        self, record: Record, message: Message, page_url: str, page: Page, body: Body
    ) -> None:
        header = header_signals(message.headers.all, self._settings.content_usage_keys)
        signals = page_signals(header, page.metas)
        license_url = join_url(resolve_base(page, page_url), page.license_href or "")
        has_license = bool(page.license_href) and not isinstance(license_url, DropReason)
        language = (page.language or message.headers.get("content-language") or "").strip()
        self._columns.open_page(
            PageValues(
                page_url=page_url,
                page_lang=bounded(language, LANGUAGE_CHARACTERS),
                charset=page.encoding,
                license_url=str(license_url) if has_license else None,
                license_source="rel" if has_license else None,
                optout=signals.marks,
                page_tdm=signals.tdm,
                source_file=self._source_file,
                source_offset=record.offset,
                source_length=record.length,
                record_id=record_id(record.headers),
                record_date=record_time(record.headers.get("warc-date")),
            )
        )
        flags = ["page_truncated"] if page.is_cut or body.is_cut else []
        if record.headers.get("warc-truncated"):
            flags.append("warc_truncated")
        before = len(self._columns)
        self._elements += add_candidates(
            page, page_url, self._settings.rules, flags, self._columns, self._drops
        )
        if signals.marks:
            rows = len(self._columns) - before
            self._marks.update(dict.fromkeys(signals.marks, rows) if rows else {})

    def _fail(self, found: Record | BadRegion, fault: Fault, detail: str) -> None:
        self._records[fault] += 1
        self._deadletters.append(
            {
                "source_file": self._source_file,
                "offset": found.offset,
                "length": found.length,
                "reason": str(fault),
                "detail": detail[:200],
            }
        )

    def _flush(self, rows: int) -> None:
        """Write what has at least so many rows."""
        if len(self._columns) >= rows:
            self._sink.write(self._columns.to_batch())
            self._columns = CandidateColumns()
        if self._index.rows >= rows:
            self._sink.write(self._index.take_batch(), "images")
        if len(self._deadletters) >= rows:
            batch = pa.RecordBatch.from_pylist(self._deadletters, schema=DEADLETTERS)
            self._sink.write(batch, "deadletter")
            self._deadletters = []
        if len(self._drops.rows) >= rows:
            self._sink.drop(drop_rows("extract", self._drops.rows))
            self._drops.rows = []
