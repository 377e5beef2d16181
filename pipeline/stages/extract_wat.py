"""The kernel of stage extract for WAT: one file to candidates, dead letters and drops."""

import dataclasses

from filters.consent.marks import SIGNAL_HEADERS, header_signals
from filters.urls.url_key import join_url
from filters.verdict import DropReason
from pipeline.engine import files
from pipeline.engine.parts import Sink
from pipeline.engine.units import Unit
from pipeline.pages.columns import PageValues
from pipeline.pages.consent_marks import CONSENT_NAMES, page_signals
from pipeline.pages.image_elements import CandidateRules
from pipeline.pages.page import META_NAMES, ImageElement, Meta, Page, SrcPage
from pipeline.readers.framing import BadRegion, Limits, Record
from pipeline.readers.headers import bounded, record_time
from pipeline.readers.reasons import Fault, Skip
from pipeline.readers.warc import read_records
from pipeline.readers.wat import Entities, WatPage, WatReader
from pipeline.stages.extract_rows import LANGUAGE_CHARACTERS, Gathered, input_of

HEADER_NAMES = frozenset({*SIGNAL_HEADERS, "content-language"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractWat:
    """Reads one WAT file; the fields are settings of the stage."""

    limits: Limits
    max_images: int
    rules: CandidateRules
    content_usage_keys: tuple[str, ...]
    entities: Entities

    def run(self, unit: Unit, sink: Sink) -> None:
        """Read the unit's input, once, and write all of the unit's files."""
        source = input_of(unit)
        gathered = Gathered(source.name, sink, self.rules)
        has_only_links = set(self.rules.text_sources) <= {"alt", "title"}
        meta_names = CONSENT_NAMES if has_only_links else META_NAMES
        reader = WatReader(source.name, self.entities, meta_names, HEADER_NAMES)
        read = 0
        with files.open_read(source.path) as file:
            for found in read_records(file, self.limits):
                read += 1
                outcome = (
                    found.fault
                    if isinstance(found, BadRegion)
                    else self._take(found, reader, gathered)
                )
                gathered.end_record(found, outcome)
        gathered.close(read)

    def _take(self, record: Record, reader: WatReader, gathered: Gathered) -> Skip | Fault | None:
        """Take a sound record and return how it ends; None is a page."""
        found = reader.read(record)
        if not isinstance(found, WatPage):
            return found
        page_url = join_url("", found.url.removeprefix("<").removesuffix(">"))
        if isinstance(page_url, DropReason):
            return Skip.PAGE_URL
        metas = tuple(map(Meta._make, found.metas))
        flags = ["warc_truncated"] if found.is_truncated else []
        if reader.is_unsure:
            flags.append("wat_entities_unknown")
        header = header_signals(lambda name: found.headers.get(name, ()), self.content_usage_keys)
        signals = page_signals(header, metas)
        values = PageValues(
            page_url=page_url,
            page_lang=_language(found),
            charset=None,
            license_url=None,
            license_source=None,
            optout=signals.marks,
            page_tdm=signals.tdm,
            source_file=gathered.source_file,
            source_offset=record.offset,
            source_length=record.length,
            record_id=bounded(found.record_id.removeprefix("<").removesuffix(">")),
            record_date=record_time(found.date),
        )
        gathered.add_page(self._page(found, metas), values, flags, len(record.block))
        return None

    def _page(self, found: WatPage, metas: tuple[Meta, ...]) -> Page | SrcPage:
        links = found.images[: self.max_images]
        bases = (found.base,) if found.base else ()
        passed_over = len(found.images) - len(links)
        if self.rules.text_sources == ("alt",):
            srcs, alts = [link.url for link in links], [link.alt for link in links]
            return SrcPage(bases, srcs, "alt", alts, passed_over)
        images = [
            ImageElement("img", {"src": link.url, "alt": link.alt, "title": link.title}, (), ())
            for link in links
        ]
        return Page(
            encoding="",
            language=None,
            bases=bases,
            metas=metas,
            license_href=None,
            images=tuple(images),
            twins={},
            images_passed_over=passed_over,
            captions=(),
            json_ld=(),
            is_cut=False,
        )


def _language(found: WatPage) -> str | None:
    language = found.language or next(iter(found.headers.get("content-language", ())), "")
    return bounded(language.strip(), LANGUAGE_CHARACTERS)
