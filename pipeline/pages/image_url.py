"""Which URL of an image element is the image: src, a lazy attribute, srcset or picture."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from filters.urls.url_key import join_url
from filters.verdict import DropReason
from pipeline.pages.page import ImageElement
from pipeline.pages.srcset import by_preference, parse_srcset

UrlRule = Literal["best", "src", "largest"]

STRONG_LAZY = (
    "data-src",
    "data-lazy-src",
    "data-original",
    "data-lsrc",
    "data-img-url",
    "data-gt-lazy-src",
    "data-cfsrc",
    "data-lazy",
    "lazysrc",
    "data-zeen-src",
    "data-m-lazyloader-src",
    "data-inpl-lazy",
    "data-pagespeed-lazy-src",
    "data-lateloadsrc",
    "data-delayed-url",
    "data-img-src",
    "data-hi-res-src",
    "data-echo",
    "data-orig-src",
    "data-src-fg",
    "data-scroll-image",
)
"""Attributes that lazy loaders read the URL from, the surest first."""
WEAK_LAZY = (
    "data-image",
    "data-url",
    "data-full-url",
    "data-large-file",
    "data-orig-file",
    "data-retina",
    "src2",
)
"""Attributes that hold the image's URL among other things: taken only with an image's extension."""
LAZY_SRCSETS = ("data-srcset", "data-lazy-srcset", "data-original-set", "data-cfsrcset")

_OTHERS = frozenset({"srcset", *STRONG_LAZY, *WEAK_LAZY, *LAZY_SRCSETS})
_BLANKS = " \t\n\f\r"
_SRCSET_LIKE = re.compile(r"\s\d+(?:\.\d+)?[wx](?:[\s,]|$)", re.ASCII)
_EXTENSION = re.compile(r"\.(?:jpe?g|png|gif|webp|avif|bmp|svg|tiff?)$", re.IGNORECASE)
_SCHEME = re.compile(r"[\s\x00-\x20]*(?:data|blob|javascript|about):", re.IGNORECASE)
_NO_URLS = frozenset({"", "#", "true", "false", "null", "undefined"})
PLACEHOLDER_WORDS = (
    *("blank", "placeholder", "spacer", "pixel", "transparent", "loading", "lazy", "grey"),
    *("dummy", "1x1"),
)
"""A file name with one of these may be that of a placeholder."""
_NAME_CHARACTERS = 200
"""Looked at, of a path's last segment: the first pattern below may take the square of it."""
MAX_WORK = 200_000
"""Of one page, in candidates of srcsets that are read; a URL that is resolved is worth ten. What
comes after counts as too many images. 4,000 lazy images with a srcset of 20 each are half of it."""
_URL_WORK = 10
_WORD = rf"(?:{'|'.join(PLACEHOLDER_WORDS[:-1])}|(?<!\d)1x1(?!\d))"  # 311x113 is a size
_PLACEHOLDER = re.compile(rf"{_WORD}[\w-]*\.(gif|png|svg|jpe?g|webp)$", re.ASCII)
_WHOLE_WORD = re.compile(rf"(?<![a-z]){_WORD}(?![a-z])", re.ASCII)
_ONLY_WORDS = re.compile(rf"(?:{_WORD}|loader|load|image|img|[\d\W_])*+", re.ASCII)  # linear


class Chosen(NamedTuple):
    """The URL of an image."""

    url: str
    source: str
    """Where it was found, as in the column `url_source`."""
    is_suspect: bool = False
    """Whether it looks like a placeholder, and nothing else was there."""


@dataclasses.dataclass(kw_only=True, slots=True)
class UrlChooser:
    """Chooses the URL of each image of a page; one for a page, since all share its work."""

    page_url: str
    base: str
    rule: UrlRule
    max_srcset_width: int
    _work_left: int = MAX_WORK

    def choose(self, element: ImageElement, twin: ImageElement | None) -> Chosen | DropReason:
        """Return the URL of an image, or why its first value is none.

        Args:
            element: the image.
            twin: the image that stands for it in a noscript beside it.
        """
        if self._work_left <= 0:
            return DropReason.TOO_MANY_IMAGES
        src = None if twin else src_asked_first(element, self.rule)
        found = self.judge(src, "src") if src is not None else None
        if isinstance(found, Chosen) and not found.is_suspect:
            return found
        if found and not element.sources and not _has_more(element.attributes):
            return found
        found = _first_usable(
            self._from_set(raw, source) if is_set else self.judge(raw, source)
            for source, raw, is_set in self._values(element, twin)
        )
        return found if isinstance(found, Chosen) else self._unknown_lazy(element) or found

    def _unknown_lazy(self, element: ImageElement) -> Chosen | None:
        """Return the first image among data attributes that no list here names."""
        if self.rule != "src":
            for name, value in element.attributes.items():
                if name.startswith("data-") and _has_extension(value):
                    found = self.judge(value, f"lazy:{name}")
                    if isinstance(found, Chosen) and not found.is_suspect:
                        return found
        return None

    def _values(
        self, element: ImageElement, twin: ImageElement | None
    ) -> Iterator[tuple[str, str, bool]]:
        """Yield (source, value, whether it is a srcset), in the order of trust."""
        attributes = element.attributes
        if self.rule == "src":
            if element.tag == "img":
                yield from _src(attributes)
            return
        if self.rule == "largest":
            yield from _sets(element)
        if twin or is_marked_lazy(attributes):
            yield from _strong(attributes)
            if twin:
                yield from self._twin_value(twin)
            yield from _lazy_sets(attributes)
            yield from _src(attributes)
        else:
            yield from _src(attributes)
            yield from _strong(attributes)
        yield from _sets(element)
        yield from _weak(attributes)

    def _twin_value(self, twin: ImageElement) -> Iterator[tuple[str, str, bool]]:
        found = self.choose(twin, None)
        if isinstance(found, Chosen) and not found.is_suspect:
            yield "noscript", found.url, False

    def _from_set(self, raw: str, source: str) -> Chosen | DropReason:
        if self._work_left <= 0:
            return DropReason.TOO_MANY_IMAGES
        candidates = by_preference(parse_srcset(raw), self.max_srcset_width)
        self._work_left -= len(candidates)
        return _first_usable(self.judge(each.url, source) for each in candidates)

    def judge(self, raw: str, source: str) -> Chosen | DropReason:
        """Return the URL of one raw value, or why it is none."""
        if self._work_left <= 0:
            return DropReason.TOO_MANY_IMAGES
        self._work_left -= _URL_WORK
        text = raw.strip(_BLANKS)
        if text in _NO_URLS or _is_template(text):
            return DropReason.NO_URL
        if _SCHEME.match(text):
            return DropReason.URL_SCHEME
        href = join_url(self.base, text)
        if isinstance(href, DropReason):
            return href
        if href in (self.page_url, self.base):
            return DropReason.NO_URL
        kind = placeholder(href)
        return DropReason.PLACEHOLDER if kind == "certain" else Chosen(href, source, bool(kind))


def src_asked_first(element: ImageElement, rule: UrlRule) -> str | None:
    """Return the raw `src` where it is the image if it is usable, as for most; else None."""
    attributes = element.attributes
    if rule == "largest" or element.tag != "img" or (rule == "best" and is_marked_lazy(attributes)):
        return None
    return attributes.get("src")


def _first_usable(judged: Iterable[Chosen | DropReason]) -> Chosen | DropReason:
    """Return the first URL, else the first suspect one, else why the first value is none."""
    suspect: Chosen | None = None
    fault: DropReason | None = None
    for found in judged:
        if isinstance(found, DropReason):
            fault = fault or found
        elif not found.is_suspect:
            return found
        else:
            suspect = suspect or found
    return suspect or fault or DropReason.NO_URL


def is_marked_lazy(attributes: Mapping[str, str]) -> bool:
    """Say whether an element's src is probably not its image."""
    if "data-srcset" in attributes or "data-lazy-srcset" in attributes:
        return True
    classes = attributes.get("class")
    if not classes:
        return False
    classes = classes.lower()
    return "lazy" in classes or ("loz" in classes and "lozad" in classes.split())


def placeholder(href: str) -> Literal["", "suspect", "certain"]:
    """Say whether a URL names a placeholder.

    A certain one is a GIF, a drawing with one of the words by itself (`blanket-coverage.png` shows
    something), or has no other word: most photographs are real, `woman-grey-hair.jpg`.
    """
    name = href.partition("?")[0].rpartition("/")[2][-_NAME_CHARACTERS:].lower()
    if not any(map(name.__contains__, PLACEHOLDER_WORDS)):  # several times faster than the pattern
        return ""
    found = _PLACEHOLDER.search(name)
    if not found:
        return ""
    is_drawing = found[1] in {"png", "svg"}
    if found[1] == "gif" or (is_drawing and _WHOLE_WORD.search(name)):
        return "certain"
    return "certain" if _ONLY_WORDS.fullmatch(name.rpartition(".")[0]) else "suspect"


def _is_template(text: str) -> bool:
    """Say whether a value still waits for a script to fill it in."""
    return text.startswith(("{", "[")) or "{{" in text or "${" in text or "<%" in text


def _has_more(attributes: Mapping[str, str]) -> bool:
    """Say whether any other attribute than `src` may hold a URL."""
    return any(name.startswith("data-") or name in _OTHERS for name in attributes)


def _src(attributes: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
    if "src" in attributes:
        yield "src", attributes["src"], False


def _weak(attributes: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
    for name in WEAK_LAZY:
        if name in attributes and _has_extension(attributes[name]):
            yield f"lazy:{name}", attributes[name], False


def _lazy_sets(attributes: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
    for name in LAZY_SRCSETS:
        if name in attributes:
            yield f"lazy:{name}", attributes[name], True


def _strong(attributes: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
    for name in STRONG_LAZY:
        value = attributes.get(name)
        if value is not None:
            yield f"lazy:{name}", value, _SRCSET_LIKE.search(value) is not None


def _sets(element: ImageElement) -> Iterator[tuple[str, str, bool]]:
    if "srcset" in element.attributes:
        yield "srcset", element.attributes["srcset"], True
    yield from _lazy_sets(element.attributes)
    for source in element.sources:
        kind = source.get("type", "").strip().lower()
        if not kind or kind.startswith("image/"):
            for name in ("srcset", *LAZY_SRCSETS):
                if name in source:
                    yield "picture", source[name], True


def _has_extension(value: str) -> bool:
    path = value.strip(_BLANKS).partition("#")[0].partition("?")[0]
    return _EXTENSION.search(path) is not None
