"""Candidate rows as columns: values of a page are kept once and repeated by index at the end."""

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.pages.texts import Texts
from pipeline.records import CANDIDATES, TEXT


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PageValues:
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


_ROW_COLUMNS = ("page", "url", "url_source", "position", "width_attr", "height_attr", "flags")
_PAGE_COLUMNS = tuple(field.name for field in dataclasses.fields(PageValues))


class CandidateColumns:
    """Rows to be, a list for each column."""

    def __init__(self) -> None:
        """Start without rows."""
        self._pages: list[PageValues] = []
        self._rows: list[tuple[object, ...]] = []  # in the order of _ROW_COLUMNS
        self._licenses: dict[int, str] = {}
        self._text_ends: list[int] = [0]
        self._texts: list[tuple[str, str, str | None]] = []

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

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
        license_url: str | None = None,
    ) -> None:
        """Append one row of the open page; a license of its own beats that of the page."""
        if license_url is not None:
            self._licenses[len(self._rows)] = license_url
        page = len(self._pages) - 1
        self._rows.append((page, url, url_source, position, *size_px, flags))
        self._texts += [(text.source, text.text, text.raw) for text in texts.found]
        self._text_ends.append(len(self._texts))

    def to_batch(self) -> pa.RecordBatch:
        """Return the rows with the columns of `CANDIDATES`."""
        rows = len(self._rows)
        texts = pa.StructArray.from_arrays(
            [pa.array(values, pa.string()) for values in zip(*self._texts, strict=True)]
            or [pa.array([], pa.string())] * len(TEXT),
            fields=list(TEXT),
        )
        found = zip(*self._rows, strict=True) if rows else [()] * len(_ROW_COLUMNS)
        columns = dict(zip(_ROW_COLUMNS, found, strict=True))
        columns["texts"] = pa.ListArray.from_arrays(pa.array(self._text_ends, pa.int32()), texts)
        page = pa.array(columns["page"], pa.int64())
        for name in _PAGE_COLUMNS:
            kind = CANDIDATES.field(name).type
            values = pa.array([getattr(each, name) for each in self._pages], kind)
            columns[name] = values.take(page)
        if self._licenses:
            own = pa.array([self._licenses.get(row) for row in range(rows)], pa.string())
            source = pc.if_else(own.is_valid(), "jsonld", columns["license_source"])
            columns["license_source"] = source
            columns["license_url"] = pc.coalesce(own, columns["license_url"])
        return pa.RecordBatch.from_arrays(
            [_array(columns[field.name], field) for field in CANDIDATES], schema=CANDIDATES
        )


def _array(values: object, field: pa.Field) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, field.type)
