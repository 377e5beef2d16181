"""WAT files: the JSON that Common Crawl derives from each page; only the needed fields are decoded.

They know no image without `src`, no srcset, lazy attribute, picture, caption, size or JSON-LD, and
the last base of a page where HTML takes the first.
"""

import contextlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from filters.text.normalize import decode_references
from pipeline.readers.framing import Record
from pipeline.readers.headers import Headers
from pipeline.readers.reasons import Fault, Skip

IMAGE_PATH: Final = "IMG@/src"
LANGUAGE_NAME = "HTML@/lang"
_BEFORE_PATH = b'{"path":"'
_IMAGE = IMAGE_PATH.encode()
# A literal, then a class: linear. A path that begins no link is found without the quote behind it.
# The search goes for a rare first letter, and is twice as fast as one for the quote before it.
_IMAGE_FIELDS = re.compile(
    rb'%s(?:(?<=%s%s)"[^}]*+|(?<="%s)(?="))' % (_IMAGE, _BEFORE_PATH, _IMAGE, _IMAGE)
)
_ESCAPED = b'"%s"' % _IMAGE.replace(b"/", rb"\/")
"""The path from a producer that escapes slashes."""
_LINKS_NAME = b'"Links":'
_LINKS_BEGIN = _LINKS_NAME + b'[{"path":'
_MAX_BRACKETS = 1_000
"""In texts and URLs, passed over in the search for the end of the links."""
LAST_RAW_CRAWL = "CC-MAIN-2019-22"
"""The last crawl whose producer decoded no character references: it was changed on 2019-06-19."""
FIRST_RIGHT_CRAWL = "CC-MAIN-2019-39"
"""The first one since 2019-08-28, whose producer decodes them once; between, too often."""

Entities = Literal["auto", "decode", "keep"]
T = TypeVar("T", bound=msgspec.Struct)

_CRAWL_ID = re.compile(r"CC-MAIN-\d{4}(?:-\d\d(?:\d\d)?)?(?!\d)", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SKIPPED = (Skip.WARCINFO, Skip.REQUEST, Skip.METADATA, Skip.REVISIT)
_WARC_TYPES = {str(skip): skip for skip in _SKIPPED}


class WatLink(msgspec.Struct, gc=False):
    """A link of a page, as found; an empty text stands for none."""

    path: str = ""
    url: str = ""
    alt: str = ""
    title: str = ""


class _Image(WatLink, gc=False):
    """The same, of an image; any other path is an error."""

    path: Literal["IMG@/src"] = IMAGE_PATH


class _Meta(msgspec.Struct, gc=False):
    name: str = ""
    property: str = ""
    content: str = ""


class _Head(msgspec.Struct, rename="pascal"):
    base: str = ""
    metas: list[_Meta] = []


class _Html(msgspec.Struct, rename="pascal"):
    head: _Head = msgspec.field(default_factory=_Head)
    links: msgspec.Raw = msgspec.Raw(b"[]")


class _Message(msgspec.Struct, rename="pascal"):
    status: str | int = ""


class _Response(msgspec.Struct):
    message: _Message = msgspec.field(name="Response-Message", default_factory=_Message)
    headers: dict[str, str | list[str]] = msgspec.field(name="Headers", default_factory=dict)
    html: _Html | None = msgspec.field(name="HTML-Metadata", default=None)


class _CrawlNote(msgspec.Struct, rename="camel"):
    is_part_of: str = ""


class _Payload(msgspec.Struct):
    response: _Response | None = msgspec.field(name="HTTP-Response-Metadata", default=None)
    crawl: _CrawlNote | None = msgspec.field(name="WARC-Info-Metadata", default=None)


class _WarcHeader(msgspec.Struct):
    kind: str = msgspec.field(name="WARC-Type", default="")
    url: str = msgspec.field(name="WARC-Target-URI", default="")
    date: str = msgspec.field(name="WARC-Date", default="")
    record_id: str = msgspec.field(name="WARC-Record-ID", default="")
    truncated: str = msgspec.field(name="WARC-Truncated", default="")


class _Envelope(msgspec.Struct):
    header: _WarcHeader = msgspec.field(name="WARC-Header-Metadata", default_factory=_WarcHeader)
    payload: _Payload = msgspec.field(name="Payload-Metadata", default_factory=_Payload)


class _Wat(msgspec.Struct, rename="pascal"):
    envelope: _Envelope


_DECODER = msgspec.json.Decoder(_Wat)
_LINKS = msgspec.json.Decoder(list[WatLink])
_IMAGES = msgspec.json.Decoder(list[_Image])


class WatPage(NamedTuple):
    """What a WAT file knows of a page; the record's fields are those of the response."""

    url: str
    """As found."""
    record_id: str
    date: str
    is_truncated: bool
    headers: Mapping[str, Sequence[str]]
    """Of HTTP, by lower-case name, of those asked for."""
    base: str
    """Empty if there is none."""
    language: str
    metas: Sequence[tuple[str, str]]
    """Lower-case name (or property) and content, of those asked for."""
    images: Sequence[WatLink]
    """In the order of the page."""


class WatReader:
    """Reads the records of one WAT file, in order: what it says of its crawl counts from there."""

    def __init__(
        self,
        file_name: str,
        entities: Entities,
        meta_names: Collection[str],
        header_names: Collection[str],
    ) -> None:
        """Say what to read.

        Args:
            file_name: counts until the file says of which crawl it is.
            entities: whether references are decoded.
            meta_names: lower-case names of the metas that are wanted.
            header_names: those of the HTTP headers.
        """
        self._entities = entities
        self._meta_names = meta_names
        self._header_names = header_names
        self._crawl = crawl_id(file_name)

    @property
    def decodes(self) -> bool:
        """Whether character references of URLs and texts are still to be decoded, once."""
        if self._entities != "auto":
            return self._entities == "decode"
        return "" < self._crawl <= LAST_RAW_CRAWL

    @property
    def is_unsure(self) -> bool:
        """Whether the producer decoded references, but not how often."""
        return self._entities == "auto" and LAST_RAW_CRAWL < self._crawl < FIRST_RIGHT_CRAWL

    def read(self, record: Record) -> WatPage | Skip | Fault:
        """Return the page that a record tells of, or how it ends."""
        if record.kind == "warcinfo":
            self._note_crawl(Headers(bytes(record.block)).get("ispartof") or "")
        if record.kind != "metadata":
            return _WARC_TYPES.get(record.kind, Skip.TYPE_OTHER)
        try:
            envelope, links = _decode(bytes(record.block))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            try:
                envelope, links = _lenient(record.block)
            except (ValueError, RecursionError):
                return Fault.WAT_JSON
        return self._page(envelope, links)

    def _page(self, envelope: _Envelope, links: Sequence[WatLink]) -> WatPage | Skip:
        header, response = envelope.header, envelope.payload.response
        if envelope.payload.crawl:
            self._note_crawl(envelope.payload.crawl.is_part_of)
        if header.kind != "response" or response is None:
            return _WARC_TYPES.get(header.kind, Skip.TYPE_OTHER)
        if str(response.message.status) != "200":
            return Skip.STATUS
        if response.html is None:
            return Skip.NOT_HTML
        head = response.html.head
        if self.decodes:
            for link in links:
                link.url, link.alt, link.title = map(self._text, (link.url, link.alt, link.title))
        names = [(meta.name or meta.property).strip().lower() for meta in head.metas]
        metas = [
            (name, meta.content)
            for name, meta in zip(names, head.metas, strict=True)
            if name in self._meta_names
        ]
        return WatPage(
            url=header.url,
            record_id=header.record_id,
            date=header.date,
            is_truncated=bool(header.truncated),
            headers=_by_name(response.headers, self._header_names),
            base=self._text(head.base),
            language=_language(head.metas) if LANGUAGE_NAME.lower() in names else "",
            metas=metas,
            images=links,
        )

    def _text(self, text: str) -> str:
        return decode_references(text) if self.decodes and "&" in text else text

    def _note_crawl(self, text: str) -> None:
        self._crawl = crawl_id(text) or self._crawl


def crawl_id(text: str) -> str:
    """Return the first crawl ID in a path or value, such as `CC-MAIN-2024-10`, empty if none."""
    found = _CRAWL_ID.search(text)
    return found[0] if found else ""


def _language(metas: Sequence[_Meta]) -> str:
    named = (meta for meta in metas if (meta.name or meta.property) == LANGUAGE_NAME)
    return next((meta.content for meta in named if meta.content), "")


def _by_name(
    headers: Mapping[str, str | list[str]], names: Collection[str]
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for raw, value in headers.items():
        name = raw.strip().lower()
        if name in names:
            found.setdefault(name, []).extend(_strings(value))
    return found


def _decode(block: bytes) -> tuple[_Envelope, Sequence[WatLink]]:
    """Decode the fields of a record, and those of its links that are images.

    Links are most of it, so they are taken out first, up to the first `}]`. Where that is not their
    end, what is left is no JSON: after a cut in a text the quotes are odd, else brackets are open.
    """
    begin = block.find(_LINKS_BEGIN) + len(_LINKS_NAME)
    end = _links_end(block, begin) if begin >= len(_LINKS_NAME) else 0
    if end and block.find(_LINKS_NAME, end) < 0:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            rest = b"%s[]%s" % (block[:begin], block[end:])
            return _DECODER.decode(rest).envelope, _image_links(block, begin, end)
    envelope = _DECODER.decode(block).envelope
    response = envelope.payload.response
    raw = bytes(response.html.links) if response and response.html else b"[]"
    return envelope, _image_links(raw, 0, len(raw))


def _links_end(block: bytes, begin: int) -> int:
    """Return what follows the first `}]`, or 0: to look for `]` alone is ten times faster."""
    at = begin
    for _ in range(_MAX_BRACKETS):
        at = block.find(b"]", at + 1)
        if at < 0:
            break
        if block[at - 1] == ord("}"):
            return at + 1
    return 0


def _image_links(data: bytes, begin: int, end: int) -> Sequence[WatLink]:
    """Decode those links that are images: the others, most of a page, are passed over as bytes.

    Links are flat objects that begin with their path, so the next brace ends one, but for braces in
    texts: then what was cut is no JSON, and all links are decoded.
    """
    images = _IMAGE_FIELDS.findall(data, begin, end)
    if not images and data.find(_ESCAPED, begin, end) < 0:
        return []
    if images and _IMAGE not in images:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            only = b"[%s%s}]" % (_BEFORE_PATH, (b"}," + _BEFORE_PATH).join(images))
            return _IMAGES.decode(only)
    return [link for link in _LINKS.decode(data[begin:end]) if link.path == IMAGE_PATH]


def _lenient(block: memoryview) -> tuple[_Envelope, Sequence[WatLink]]:
    """Return what is sound of a record's JSON: lone surrogates become U+FFFD, else ValueError."""
    value = json.loads(bytes(block).decode("utf-8", "replace"))
    envelope = _table(_table(value).get("Envelope"))
    if not envelope:
        raise ValueError("no Envelope")
    payload = _table(envelope.get("Payload-Metadata"))
    response = _table(payload.get("HTTP-Response-Metadata"))
    html = response.get("HTML-Metadata")
    headers = _table(response.get("Headers"))
    made = _Response(
        message=_sound(_Message, response.get("Response-Message")),
        headers={_string(name): _strings(value) for name, value in headers.items()},
        html=_Html(_sound_head(_table(html.get("Head")))) if isinstance(html, dict) else None,
    )
    links = map(_table, _list(_table(html).get("Links")))
    return _Envelope(
        header=_sound(_WarcHeader, envelope.get("WARC-Header-Metadata")),
        payload=_Payload(
            response=made if response else None,
            crawl=_sound(_CrawlNote, payload.get("WARC-Info-Metadata")),
        ),
    ), [_sound_link(link) for link in links if link.get("path") == IMAGE_PATH]


def _sound_head(head: Mapping[str, Any]) -> _Head:
    metas = [_sound(_Meta, meta) for meta in _list(head.get("Metas"))]
    return _Head(_string(head.get("Base")), metas)


def _sound_link(link: Mapping[str, Any]) -> WatLink:
    """Return an image; one whose url or alt is there and no string is left without either."""
    are_texts = all(isinstance(link.get(name, ""), str) for name in ("url", "alt"))
    return _sound(WatLink, link) if are_texts else WatLink(IMAGE_PATH)


def _sound(kind: type[T], value: object) -> T:
    """Return a struct of texts, empty where a value is missing or none."""
    fields = msgspec.structs.fields(kind)
    return kind(*(_string(_table(value).get(field.encode_name)) for field in fields))


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _strings(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [_string(each) for each in values if isinstance(each, str)]


def _string(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    return _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else ""
