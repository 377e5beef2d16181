"""MediaWiki export files to pages: container by magic bytes, XML as a stream, bounded memory."""

import bz2
import dataclasses
import re
import zlib
from collections.abc import Iterator
from typing import IO, Any
from xml.parsers import expat

from manifests.base import storage
from manifests.base.errors import OpenwitError, RefusedError

READ_BYTES = 1 << 18
INFLATED_BYTES = 1 << 22
"""Most decompressed bytes held at once."""
MAX_TEXT_BYTES = 2_097_152
"""Longer pages are counted `too_big`; MediaWiki's default limit of an article."""
MAX_FIELD_CHARS = 4096
"""Titles and other short elements are cut here."""
_MEDIA_KEYS = ("-2", "6", "14")
"""Numbers of the namespaces Media, File and Category."""
_XML_STARTS = (b"<", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00<")
# Linear: one class per step, no nesting. `#REDIRECT [[Target#Part|label]]`, in any language.
_REDIRECT = re.compile(r"\s*#\w+\s*:?\s*\[\[([^\]\[|#\n]{0,512})")


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """One page of a dump, judged."""

    title: str
    kind: str
    """kept, other_namespace, redirect, not_wikitext, no_text, too_big; truncated: no page, but a
    file that ends early."""
    text: str = ""
    """Wikitext, if the page is kept."""
    target: str = ""
    """Title that a redirect leads to."""


class TruncatedError(OpenwitError):
    """A file that ends before its container or its XML does."""


class Inflater:
    """Yields the bytes of a plain, gzip or bzip2 file, all members and streams of it."""

    def __init__(self, path: str, *, xml: bool = False) -> None:
        """Open nothing yet; with `xml`, a plain file must begin like XML."""
        self._path = path
        self._xml = xml
        self.position = 0
        """Bytes of the file read so far."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield blocks of at most `INFLATED_BYTES`.

        Raises:
            RefusedError: if the container is unknown.
            TruncatedError: if the file ends inside its container.
            OpenwitError: if compressed data is damaged.
        """
        try:
            with storage.open_read(self._path) as file:
                yield from self._blocks(file)
        except FileNotFoundError:
            raise RefusedError(f"{self._path}: no such file: check [queries]") from None

    def _blocks(self, file: IO[bytes]) -> Iterator[bytes]:
        head = self._read(file)
        if head.startswith(b"BZh"):
            yield from self._members(head, file, bz2.BZ2Decompressor)
        elif head.startswith(b"\x1f\x8b"):
            yield from self._members(head, file, _Gunzip)
        elif self._xml and not head.lstrip().startswith(_XML_STARTS):
            raise RefusedError(
                f"{self._path}: begins with {head[:8]!r}: a dump is plain XML, gzip or bzip2"
            )
        else:
            while head:
                yield head
                head = self._read(file)

    def _members(self, data: bytes, file: IO[bytes], new: Any) -> Iterator[bytes]:
        # A decompressor stops after one stream; what it leaves begins the next.
        while data:
            decompressor = new()
            while not decompressor.eof:
                if not data and decompressor.needs_input:
                    data = self._read(file)
                    if not data:
                        raise TruncatedError(self._says("ends inside compressed data"))
                try:
                    block = decompressor.decompress(data, INFLATED_BYTES)
                except (OSError, zlib.error) as error:
                    raise OpenwitError(self._says(f"damaged: {error}")) from None
                data = b""
                yield block
            data = decompressor.unused_data or self._read(file)

    def _read(self, file: IO[bytes]) -> bytes:
        data = file.read(READ_BYTES)
        self.position += len(data)
        return data

    def _says(self, problem: str) -> str:
        return f"{self._path}: {problem} near byte {self.position}: get the file again"


class _Gunzip:
    """A gzip member with the interface of `bz2.BZ2Decompressor`."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, limit: int) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, limit)


class Dump:
    """The pages of one export file, each with its class."""

    def __init__(
        self, path: str, namespaces: tuple[int, ...], *, allow_truncated: bool = False
    ) -> None:
        """Open nothing yet.

        Args:
            path: a path or URI.
            namespaces: those whose pages are kept, by `<ns>`.
            allow_truncated: whether an early end gives one page of class `truncated`.
        """
        self._path = path
        self._allow_truncated = allow_truncated
        self._parser = _DumpParser(namespaces)
        self._source = Inflater(path, xml=True)

    @property
    def position(self) -> int:
        """Bytes of the file read so far."""
        return self._source.position

    @property
    def media_names(self) -> frozenset[str]:
        """Local names of the namespaces of files, media and categories, lower case."""
        return frozenset(self._parser.media_names)

    def __iter__(self) -> Iterator[Page]:
        """Yield every page.

        Raises:
            RefusedError: if the file holds a DOCTYPE or is no dump.
            OpenwitError: if it is truncated or not well-formed; with the byte offset.
        """
        try:
            for block in self._source:
                self._parser.feed(block)
                yield from self._parser.take()
            self._parser.feed(b"", last=True)
            yield from self._parser.take()
        except _DoctypeError:
            raise RefusedError(f"{self._path}: holds a DOCTYPE: MediaWiki has none") from None
        except expat.ExpatError as error:
            yield self._ended(error)
        except TruncatedError as error:
            if not self._allow_truncated:
                raise TruncatedError(f"{error}, or {_ALLOW}") from None
            yield Page("", "truncated")

    def _ended(self, error: expat.ExpatError) -> Page:
        place = f"{self._path}: XML byte {self._parser.expat.ErrorByteIndex}"
        problem = f"{place}: {expat.ErrorString(error.code)}: get the file again"
        if error.code not in _EARLY_ENDS:
            raise OpenwitError(problem) from None
        if not self._allow_truncated:
            raise TruncatedError(f"{problem}, or {_ALLOW}") from None
        return Page("", "truncated")


_ALLOW = "set queries.allow_truncated = true"
_EARLY_ENDS = {
    expat.errors.codes[reason]
    for reason in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
    )
}


class _DoctypeError(Exception):
    pass


class _DumpParser:
    """Expat's events to pages; only local names count, so every export version reads alike."""

    def __init__(self, namespaces: tuple[int, ...]) -> None:
        self._namespaces = {str(number) for number in namespaces}
        self.expat = expat.ParserCreate()
        self.expat.buffer_text = True
        self.expat.buffer_size = 1 << 16
        self.expat.StartElementHandler = self._start
        self.expat.EndElementHandler = self._end
        self.expat.CharacterDataHandler = self._text
        self.expat.StartDoctypeDeclHandler = self._doctype
        self.media_names: set[str] = set()
        self._path: list[str] = []
        self._pages: list[Page] = []
        self._page: dict[str, str] = {}
        self._wanted = ""
        self._pieces: list[str] = []
        self._size = 0

    def feed(self, block: bytes, *, last: bool = False) -> None:
        self.expat.Parse(block, last)

    def take(self) -> list[Page]:
        """Return the pages that ended since the last call."""
        pages, self._pages = self._pages, []
        return pages

    def _doctype(self, *_: object) -> None:
        raise _DoctypeError

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2]
        self._path.append(local)
        self._wanted = ""
        place = self._path[1:]
        if place == ["page"]:
            self._page = {}
        elif place == ["page", "redirect"]:
            self._page["redirect"] = attributes.get("title", "")[:MAX_FIELD_CHARS]
        elif place == ["page", "revision"]:  # the last one wins, with all that belongs to it
            for field in ("model", "text", "too_big"):
                self._page.pop(field, None)
        elif place == ["siteinfo", "namespaces", "namespace"]:
            if attributes.get("key") in _MEDIA_KEYS:
                self._wanted, self._pieces, self._size = "media", [], 0
        elif place in (["page", "title"], ["page", "ns"]) or (
            len(place) == 3 and place[:2] == ["page", "revision"] and local in ("model", "text")
        ):
            self._wanted, self._pieces, self._size = local, [], 0

    def _text(self, data: str) -> None:
        if not self._wanted:
            return
        limit = MAX_TEXT_BYTES if self._wanted == "text" else MAX_FIELD_CHARS
        self._size += len(data) if data.isascii() else len(data.encode())
        if self._size <= limit:
            self._pieces.append(data)
        elif self._wanted == "text":
            self._page["too_big"] = "yes"
            self._pieces.clear()

    def _end(self, name: str) -> None:
        if self._wanted == "media":
            self.media_names.add("".join(self._pieces).strip().lower())
            self._wanted = ""
        elif self._wanted:
            self._page[self._wanted] = "".join(self._pieces)
            self._wanted = ""
        self._path.pop()
        if name.rpartition(":")[2] == "page" and len(self._path) == 1:
            self._pages.append(self._judge())
            self._page = {}

    def _judge(self) -> Page:
        page = self._page
        title = " ".join(page.get("title", "").split())
        text = page.get("text", "")
        if page.get("ns", "").strip() not in self._namespaces:
            return Page(title, "other_namespace")
        leads = _REDIRECT.match(text)
        if "redirect" in page or leads:
            target = page.get("redirect") or (leads[1] if leads else "")
            return Page(title, "redirect", target=target)
        if page.get("model", "wikitext").strip() != "wikitext":  # exports before 0.8 have no model
            return Page(title, "not_wikitext")
        if "too_big" in page:
            return Page(title, "too_big")
        return Page(title, "kept", text) if text.strip() else Page(title, "no_text")
