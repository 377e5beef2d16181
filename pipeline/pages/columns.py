"""Candidate rows as columns: values of a page are kept once and repeated by index at the end."""

import dataclasses
import functools
import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
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
T = TypeVar("T")

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
    text_sources: list[str] = dataclasses.field(default_factory=list)
    texts: list[str] = dataclasses.field(default_factory=list)
    """The first of each row."""
    raw_texts: dict[int, str] = dataclasses.field(default_factory=dict)
    """By place: what the first text was before normalisation, if not the same."""
    more_texts: dict[int, TextCells] = dataclasses.field(default_factory=dict)
    """By place: all texts but the first."""
    licenses: dict[int, str] = dataclasses.field(default_factory=dict)
    """By place: a license of the image itself, which beats that of its page."""

    def add_texts(self, cells: TextCells) -> None:
        """Give a further row its texts."""
        self.text_sources.append("")
        self.texts.append("")
        self.put_texts(len(self.texts) - 1, cells)

    def put_texts(self, place: int, cells: TextCells) -> None:
        """Give a row its texts."""
        self.text_sources[place], self.texts[place], raw = cells[0]
        if raw is not None:
            self.raw_texts[place] = raw
        if len(cells) > 1:
            self.more_texts[place] = cells[1:]


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
        kept = functools.partial(_kept, rows.urls)
        places, sizes = kept(range(len(rows.urls))), kept(rows.sizes)
        columns: dict[str, object] = {
            "url": kept(rows.urls),
            "texts": _texts(rows, places),
            "url_source": kept(rows.url_sources),
            "position": kept(rows.positions),
            "width_attr": [width for width, _ in sizes],
            "height_attr": [height for _, height in sizes],
            "flags": _few(kept(rows.flags), CANDIDATES.field("flags").type),
        }
        page = pa.array(kept(rows.pages), pa.int64())
        of_pages = zip(*self._pages, strict=True) if self._pages else [()] * len(_PAGE_COLUMNS)
        for name, values in zip(_PAGE_COLUMNS, of_pages, strict=True):
            columns[name] = pa.array(values, CANDIDATES.field(name).type).take(page)
        if rows.licenses:
            own = pa.array(list(map(rows.licenses.get, places)), pa.string())
            source = pc.if_else(own.is_valid(), "jsonld", columns["license_source"])
            columns["license_source"] = source
            columns["license_url"] = pc.coalesce(own, columns["license_url"])
        return pa.RecordBatch.from_arrays(
            [_array(columns[field.name], field) for field in CANDIDATES], schema=CANDIDATES
        )


def _kept(urls: Sequence[str | None], values: Iterable[T]) -> list[T]:
    """Return the values of the rows that have a URL."""
    return list(itertools.compress(values, urls))


def _few(values: Sequence[Hashable], kind: pa.DataType) -> pa.Array:
    """Return a column of few different values, of which each is converted once."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    places = pa.array([numbers[value] for value in values], pa.int64())
    return pa.array(list(numbers), kind).take(places)


def _texts(rows: Rows, places: Sequence[int]) -> pa.Array:
    """Return the column of texts: the first of each row, and the others put behind it."""
    more = [
        (row, *cell) for row, place in enumerate(places) for cell in rows.more_texts.get(place, ())
    ]
    owners, *others = zip(*more, strict=True) if more else ((),) * (len(TEXT) + 1)
    owner = np.concatenate([np.arange(len(places)), np.array(owners, np.int64)])
    firsts = (
        [rows.text_sources[place] for place in places],
        [rows.texts[place] for place in places],
        map(rows.raw_texts.get, places),
    )
    order = pa.array(np.argsort(owner, kind="stable"))
    arrays = [
        pa.array([*column, *behind], pa.string()).take(order)
        for column, behind in zip(firsts, others, strict=True)
    ]
    ends = np.zeros(len(places) + 1, np.int32)
    np.cumsum(np.bincount(owner, minlength=len(places)), out=ends[1:])
    return pa.ListArray.from_arrays(
        pa.array(ends), pa.StructArray.from_arrays(arrays, fields=list(TEXT))
    )


def _array(values: object, field: pa.Field) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, field.type)
