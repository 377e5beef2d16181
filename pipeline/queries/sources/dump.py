"""MediaWiki export files to pages: container by magic bytes, XML as a stream, bounded memory."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Protocol
from xml.parsers import expat

from manifests.base.errors import OpenwitError, RefusedError
from pipeline.queries.sources.inflate import Inflater, TruncatedError

MAX_TEXT_BYTES = 2_097_152
"""Longer pages are counted `too_big`; MediaWiki's default limit of an article."""
MAX_FIELD_CHARS = 4096
"""Titles and other short elements are cut here."""
_MEDIA_KEYS = ("-2", "6", "14")
"""Numbers of the namespaces Media, File and Category."""
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


class Source(Protocol):
    """Gives XML as blocks of bytes."""

    @property
    def position(self) -> int:
        """Bytes of the file read so far."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield the blocks."""


class Dump:
    """The pages of one export file, each with its class."""

    def __init__(
        self,
        path: str,
        namespaces: tuple[int, ...],
        *,
        allow_truncated: bool = False,
        source: Source | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            path: a path or URI.
            namespaces: those whose pages are kept, by `<ns>`.
            allow_truncated: whether an early end gives one page of class `truncated`.
            source: gives its XML, if not all of the file is read.
        """
        self._path = path
        self._allow_truncated = allow_truncated
        self._parser = _DumpParser(namespaces)
        self._source = source or Inflater(path, xml=True)

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
