"""Candidate rows as columns: values of a page are kept once and repeated by index at the end."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records import CANDIDATES, TEXT


class PageValues(NamedTuple):
    """What all candidates of a page share; the names are those of the columns.

    A row of a list is a page of its own.
    """

    page_url: str | None
    page_lang: str | None
    charset: str | None
    license_url: str | None
    license_source: str | None
    optout: tuple[str, ...]
    page_tdm: int | None
    source_file: str
    source_offset: int
    source_length: int | None
    record_id: str | None
    record_date: int | None
    """Microseconds since 1970 UTC."""
    expect_sha256: bytes | None = None
    expect_md5: bytes | None = None


_PAGE_COLUMNS = PageValues._fields

TextCells = tuple[tuple[str, str, str | None], ...]
"""Source, text and raw of each text of an image."""


@dataclasses.dataclass(kw_only=True, slots=True)
class Rows:
    """Rows to be, a list for each column."""

    pages: list[int] = dataclasses.field(default_factory=list)
    """Number of each row's page."""
    positions: list[int] = dataclasses.field(default_factory=list)
    urls: list[str | None] = dataclasses.field(default_factory=list)
    """None for a row that will not be."""
    url_sources: list[str] = dataclasses.field(default_factory=list)
    sizes: list[tuple[int | None, int | None]] = dataclasses.field(default_factory=list)
    """Declared width and height, px."""
    flags: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    texts: list[TextCells] = dataclasses.field(default_factory=list)
    licenses: dict[int, str] = dataclasses.field(default_factory=dict)
    """By place: a license of the image itself, which beats that of its page."""


class CandidateColumns:
    """Pages and the rows of their images."""

    def __init__(self) -> None:
        """Start without pages."""
        self._pages: list[PageValues] = []
        self.rows = Rows()
        """To be filled by the owner."""

    @property
    def pages(self) -> int:
        """The number of pages."""
        return len(self._pages)

    def open_page(self, values: PageValues) -> int:
        """Add a page and return its number, by which its rows name it."""
        self._pages.append(values)
        return len(self._pages) - 1

    def to_batch(self) -> pa.RecordBatch:
        """Return the rows that have a URL, with the columns of `CANDIDATES`."""
        rows = self.rows
        kept = [place for place, url in enumerate(rows.urls) if url is not None]
        texts = [rows.texts[place] for place in kept]
        sizes = [rows.sizes[place] for place in kept]
        columns: dict[str, object] = {
            "url": [rows.urls[place] for place in kept],
            "texts": _texts(texts),
            "url_source": [rows.url_sources[place] for place in kept],
            "position": [rows.positions[place] for place in kept],
            "width_attr": [width for width, _ in sizes],
            "height_attr": [height for _, height in sizes],
            "flags": [rows.flags[place] for place in kept],
        }
        page = pa.array([rows.pages[place] for place in kept], pa.int64())
        of_pages = zip(*self._pages, strict=True) if self._pages else [()] * len(_PAGE_COLUMNS)
        for name, values in zip(_PAGE_COLUMNS, of_pages, strict=True):
            columns[name] = pa.array(values, CANDIDATES.field(name).type).take(page)
        if rows.licenses:
            own = pa.array([rows.licenses.get(place) for place in kept], pa.string())
            source = pc.if_else(own.is_valid(), "jsonld", columns["license_source"])
            columns["license_source"] = source
            columns["license_url"] = pc.coalesce(own, columns["license_url"])
        return pa.RecordBatch.from_arrays(
            [_array(columns[field.name], field) for field in CANDIDATES], schema=CANDIDATES
        )


def _texts(cells: Sequence[TextCells]) -> pa.Array:
    flat = list(itertools.chain.from_iterable(cells))
    columns = zip(*flat, strict=True) if flat else [()] * len(TEXT)
    arrays = [pa.array(values, pa.string()) for values in columns]
    ends = itertools.accumulate(map(len, cells), initial=0)
    return pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pa.StructArray.from_arrays(arrays, fields=list(TEXT))
    )


def _array(values: object, field: pa.Field) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, field.type)
