"""The kernel of stage extract for WARC: a file to candidates, drops, dead letters, image index."""

import dataclasses

from filters.consent.marks import header_signals
from filters.urls.url_key import join_url
from filters.verdict import DropReason
from pipeline.engine import files
from pipeline.engine.parts import Sink
from pipeline.engine.units import Unit
from pipeline.pages.charset import header_charset
from pipeline.pages.columns import PageValues
from pipeline.pages.consent_marks import page_signals
from pipeline.pages.html import parse_page
from pipeline.pages.image_elements import CandidateRules, resolve_base
from pipeline.pages.page import Page, PageLimits
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
from pipeline.stages.extract_rows import BATCH_ROWS, LANGUAGE_CHARACTERS, Gathered, input_of

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
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
        source = input_of(unit)
        walk = _ArchiveWalk(self, source.name, sink)
        with files.open_read(source.path) as file:
            for found in read_records(file, self.limits):
                walk.take(found)
        walk.close()


class _ArchiveWalk:
    """The way through one file."""

    def __init__(self, settings: ExtractArchive, source_file: str, sink: Sink) -> None:
        self._settings = settings
        self._sink = sink
        self._gathered = Gathered(source_file, sink, settings.rules)
        self._index = ImageIndex(source_file, settings.content_usage_keys)
        self._read = 0

    def take(self, found: Record | BadRegion) -> None:
        """Take what the reader found next."""
        self._read += 1
        outcome = found.fault if isinstance(found, BadRegion) else self._take_record(found)
        self._gathered.end_record(found, outcome)
        if self._index.rows >= BATCH_ROWS:
            self._sink.write(self._index.take_batch(), "images")

    def close(self) -> None:
        """Write what is left."""
        self._gathered.close(self._read)
        if self._settings.indexes_images:
            self._sink.write(self._index.take_batch(), "images")
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
        if HTML_TYPES.isdisjoint(map(media_type, types)):
            if not begins_image(message):
                return Skip.NOT_HTML
            return self._take_image(record, message)
        body = message.decoded(self._settings.max_page_bytes)
        if isinstance(body, Fault):
            return body
        if is_image(bytes(body.data[:MAGIC_BYTES])):
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
            self._settings.rules.text_sources,
        )
        if page is None:
            return PageDrop.CHARSET_UNSUPPORTED
        flags = ["page_truncated"] if page.is_cut or body.is_cut else []
        if record.headers.get("warc-truncated"):
            flags.append("warc_truncated")
        values = self._page_values(record, message, page_url, page)
        self._gathered.add_page(page, values, flags, len(body.data))
        return None

    def _take_image(self, record: Record, message: Message) -> Skip:
        if self._settings.indexes_images:
            self._index.add_image(record, message)
        return Skip.IMAGE_RESPONSE

    def _index_revisit(self, record: Record) -> None:
        if self._settings.indexes_images:
            message = parse_message(record, self._settings.limits.header_bytes)
            self._index.add_revisit(record, None if isinstance(message, Fault) else message)

    def _page_values(
        self, record: Record, message: Message, page_url: str, page: Page
    ) -> PageValues:
        header = header_signals(message.headers.all, self._settings.content_usage_keys)
        signals = page_signals(header, page.metas)
        license_url = _license_url(page, page_url)
        language = (page.language or message.headers.get("content-language") or "").strip()
        return PageValues(
            page_url=page_url,
            page_lang=bounded(language, LANGUAGE_CHARACTERS),
            charset=page.encoding,
            license_url=license_url,
            license_source="rel" if license_url else None,
            optout=signals.marks,
            page_tdm=signals.tdm,
            source_file=self._gathered.source_file,
            source_offset=record.offset,
            source_length=record.length,
            record_id=record_id(record.headers),
            record_date=record_time(record.headers.get("warc-date")),
        )


def _license_url(page: Page, page_url: str) -> str | None:
    if not page.license_href:
        return None
    found = join_url(resolve_base(page, page_url), page.license_href)
    return None if isinstance(found, DropReason) else found
