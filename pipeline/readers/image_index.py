"""The archive's own images: where each record is, so that `fetch` needs no network."""

import dataclasses
from collections.abc import Sequence

import pyarrow as pa

from filters.consent.marks import header_signals
from filters.urls.url_key import join_url
from filters.verdict import DropReason
from pipeline.readers.body import Body
from pipeline.readers.framing import Record
from pipeline.readers.headers import Headers, bounded, record_time
from pipeline.readers.warc import Message, content_types, target_url
from pipeline.records import IMAGES

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAGIC_BYTES = 64
"""Decoded bytes that tell an image."""
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})
_BEGINNINGS = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
)


def is_image(beginning: bytes) -> bool:
    """Say whether decoded bytes begin a JPEG, PNG, GIF, WebP, AVIF, BMP or TIFF."""
    if beginning.startswith(_BEGINNINGS):
        return True
    if beginning.startswith(b"RIFF"):
        return beginning[8:12] == b"WEBP"
    if beginning[4:8] == b"ftyp":
        size = min(int.from_bytes(beginning[:4], "big"), MAGIC_BYTES)
        brands = {beginning[at : at + 4] for at in range(8, size, 4) if at != 12}
        return not brands.isdisjoint({b"avif", b"avis"})
    # "BM" alone begins many texts, so the size of the next header counts too.
    return beginning.startswith(b"BM") and (
        int.from_bytes(beginning[14:18], "little") in _BMP_HEADERS
    )


def begins_image(message: Message) -> bool:
    """Say whether a message's body, decoded, begins as an image does."""
    body = message.decoded(MAGIC_BYTES)
    return isinstance(body, Body) and is_image(bytes(body.data))


@dataclasses.dataclass(slots=True)
class ImageIndex:
    """Rows to be of `IMAGES`, for one file."""

    source_file: str
    content_usage_keys: Sequence[str]
    unseekable: int = 0
    """Records that would be rows, had they a place of their own in the file."""
    _columns: dict[str, list[object]] = dataclasses.field(
        default_factory=lambda: {name: [] for name in IMAGES.names}
    )

    @property
    def rows(self) -> int:
        """Rows since the last `take_batch`."""
        return len(self._columns["url"])

    def add_image(self, record: Record, message: Message) -> None:
        """Add a status-200 record whose body is an image."""
        self._add("image", record, message, payload_bytes=len(message.body))

    def add_redirect(self, record: Record, message: Message) -> None:
        """Add a redirect, if it says where to."""
        url = target_url(record.headers)
        raw = message.headers.get("location")
        if isinstance(url, DropReason) or not raw:
            return
        location = join_url(url, raw)
        if not isinstance(location, DropReason):
            self._add("redirect", record, message, location=location)

    def add_revisit(self, record: Record, message: Message | None) -> None:
        """Add a record that says: as another time; `message` holds its headers if it has any."""
        refers = target_url(record.headers, "warc-refers-to-target-uri")
        self._add(
            "revisit",
            record,
            message,
            refers_to_url=None if isinstance(refers, DropReason) else refers,
            refers_to_date=record_time(record.headers.get("warc-refers-to-date")),
        )

    def take_batch(self) -> pa.RecordBatch:
        """Return the rows, in the order they were added, and start again without any."""
        arrays = [pa.array(self._columns[field.name], field.type) for field in IMAGES]
        self._columns = {name: [] for name in IMAGES.names}
        return pa.RecordBatch.from_arrays(arrays, schema=IMAGES)

    def _add(self, kind: str, record: Record, message: Message | None, **more: object) -> None:
        url = target_url(record.headers)
        if isinstance(url, DropReason):
            return
        if not record.seekable:
            self.unseekable += 1
            return
        http = message.headers if message else Headers(b"")
        row = {
            "url": url,
            "kind": kind,
            "source_file": self.source_file,
            "offset": record.offset,
            "length": record.length,
            "status": message.status if message and record.kind != "resource" else None,
            "content_type": bounded(next(iter(content_types(record, message)), None))
            if message
            else None,
            "content_encoding": bounded(http.get("content-encoding")),
            "payload_digest": bounded(record.headers.get("warc-payload-digest")),
            "record_id": record_id(record.headers),
            "record_date": record_time(record.headers.get("warc-date")),
            "truncated": bounded(record.headers.get("warc-truncated")),
            "optout": header_signals(http.all, self.content_usage_keys).marks,
            **more,
        }
        for name, column in self._columns.items():
            column.append(row.get(name))


def record_id(headers: Headers) -> str | None:
    """Return the WARC-Record-ID without its angle brackets."""
    return bounded((headers.get("warc-record-id") or "").removeprefix("<").removesuffix(">"))
