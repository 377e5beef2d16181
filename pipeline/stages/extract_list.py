"""The kernel of stage extract for URL lists: one file to candidates, dead letters and drops."""

import dataclasses

from filters.text.normalize import decode_references
from filters.urls.tracking_pixel import declared_size, tracker
from filters.urls.url_key import join_url
from filters.verdict import Drop, DropReason
from pipeline.engine import files
from pipeline.engine.parts import Sink
from pipeline.engine.units import Unit
from pipeline.pages.candidates import row_flags, text_cells
from pipeline.pages.columns import PageValues
from pipeline.pages.image_url import Chosen
from pipeline.pages.texts import MAX_RAW_CHARACTERS, Texts, read_texts
from pipeline.readers.lists import BadRow, ListRow, read_list
from pipeline.stages.extract_rows import Gathered, input_of

LIST = "list"
"""The source of a list's URLs, texts and licenses."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractList:
    """Reads one URL list; the fields are settings of the stage."""

    url_column: str
    text_column: str
    max_row_bytes: int
    entity_passes: int
    is_shard: bool = False
    """Whether it is of img2dataset: sizes and digests are then those of its files."""

    def run(self, unit: Unit, sink: Sink) -> None:
        """Read the unit's input, once, and write all of the unit's files."""
        source = input_of(unit)
        gathered = Gathered(source.name, sink)
        read = 0
        with files.open_read(source.path) as file:
            for row in read_list(
                file,
                source.name,
                url_column=self.url_column,
                text_column=self.text_column,
                max_row_bytes=self.max_row_bytes,
            ):
                read += 1
                if isinstance(row, BadRow):
                    gathered.fail(row.number, 0, row.fault, row.detail)
                else:
                    self._take(_of_shard(row) if self.is_shard else row, gathered)
        gathered.close(read)

    def _take(self, row: ListRow, gathered: Gathered) -> None:
        url = join_url("", row.url)
        texts = list_texts(row.text, self.entity_passes)
        drop = _judge(row, url, texts)
        if drop:
            text = texts.found[0].text if texts.found else None
            gathered.drops.add(drop, None if isinstance(url, DropReason) else url, text)
        else:
            rows = gathered.columns.rows
            rows.pages.append(gathered.columns.open_page(_values(row, gathered.source_file)))
            rows.positions.append(row.number)
            rows.urls.append(url)
            rows.url_sources.append(LIST)
            rows.sizes.append((row.width_px, row.height_px))
            rows.flags.append(row_flags(Chosen(url, LIST), texts, ()))
            rows.add_texts(text_cells(texts))
        gathered.end_row()


def _of_shard(row: ListRow) -> ListRow:
    return dataclasses.replace(row, width_px=None, height_px=None, sha256=None, md5=None)


def list_texts(raw: str, entity_passes: int) -> Texts:
    """Return the text of a row, its character references decoded so many times."""
    raw = raw[:MAX_RAW_CHARACTERS]
    decoded = decode_references(raw, entity_passes)
    texts = read_texts([(LIST, decoded)])
    if decoded == raw:
        return texts
    return texts._replace(found=tuple(text._replace(raw=raw) for text in texts.found))


def _judge(row: ListRow, url: str | DropReason, texts: Texts) -> Drop | None:
    if not texts.found:
        return Drop(DropReason.BAD_ENCODING if texts.has_invalid else DropReason.NO_TEXT)
    if isinstance(url, DropReason):
        return Drop(url)
    return declared_size(row.width_px, row.height_px) or tracker(url)


def _values(row: ListRow, source_file: str) -> PageValues:
    page_url, license_url = _url(row.page_url), _url(row.license)
    return PageValues(
        page_url=page_url,
        page_lang=None,
        charset=None,
        license_url=license_url,
        license_source=LIST if license_url else None,
        optout=(),
        page_tdm=None,
        source_file=source_file,
        source_offset=row.number,
        source_length=None,
        record_id=None,
        record_date=None,
        expect_sha256=row.sha256,
        expect_md5=row.md5,
    )


def _url(raw: str) -> str | None:
    found = join_url("", raw) if raw else DropReason.NO_URL
    return None if isinstance(found, DropReason) else found
