"""Candidate rows as columns: values of a page are kept once and repeated by index at the end."""

import dataclasses

import numpy as np
import pyarrow as pa

from pipeline.pages.texts import Texts
from pipeline.records import CANDIDATES, TEXT


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PageValues:
    """What all candidates of a page share; the names are those of the columns."""

    page_url: str
    page_lang: str | None
    charset: str
    license_url: str | None
    license_source: str | None
    optout: tuple[str, ...]
    page_tdm: int | None
    source_file: str
    source_offset: int
    source_length: int
    record_id: str | None
    record_date: int | None
    """Microseconds since 1970 UTC."""


_PAGE_COLUMNS = tuple(field.name for field in dataclasses.fields(PageValues))


class CandidateColumns:
    """Rows to be, a list for each column."""

    def __init__(self) -> None:
        """Start without rows."""
        self._pages: list[PageValues] = []
        self._page: list[int] = []
        self._url: list[str] = []
        self._url_source: list[str] = []
        self._position: list[int] = []
        self._width: list[int | None] = []
        self._height: list[int | None] = []
        self._flags: list[tuple[str, ...]] = []
        self._text_ends: list[int] = [0]
        self._texts: tuple[list[str], list[str], list[str | None]] = ([], [], [])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._url)

    def open_page(self, values: PageValues) -> None:
        """Say which page the rows that follow are from."""
        self._pages.append(values)

    def append(
        self,
        *,
        url: str,
        url_source: str,
        position: int,
        size_px: tuple[int | None, int | None],
        flags: tuple[str, ...],
        texts: Texts,
    ) -> None:
        """Append one row of the open page."""
        self._page.append(len(self._pages) - 1)
        self._url.append(url)
        self._url_source.append(url_source)
        self._position.append(position)
        self._width.append(size_px[0])
        self._height.append(size_px[1])
        self._flags.append(flags)
        sources, found, raws = self._texts
        for text in texts.found:
            sources.append(text.source)
            found.append(text.text)
            raws.append(text.raw)
        self._text_ends.append(len(found))

    def to_batch(self) -> pa.RecordBatch:
        """Return the rows with the columns of `CANDIDATES`."""
        rows = len(self._url)
        texts = pa.StructArray.from_arrays(
            [pa.array(values, pa.string()) for values in self._texts], fields=list(TEXT)
        )
        columns = {
            "url": self._url,
            "texts": pa.ListArray.from_arrays(pa.array(self._text_ends, pa.int32()), texts),
            "url_source": self._url_source,
            "position": self._position,
            "width_attr": self._width,
            "height_attr": self._height,
            "flags": self._flags,
            "expect_sha256": pa.nulls(rows, pa.binary(32)),
            "expect_md5": pa.nulls(rows, pa.binary(16)),
        }
        page = pa.array(np.array(self._page, np.int64))
        for name in _PAGE_COLUMNS:
            kind = CANDIDATES.field(name).type
            values = pa.array([getattr(each, name) for each in self._pages], kind)
            columns[name] = values.take(page)
        return pa.RecordBatch.from_arrays(
            [_array(columns[field.name], field) for field in CANDIDATES], schema=CANDIDATES
        )


def _array(values: object, field: pa.Field) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, field.type)
