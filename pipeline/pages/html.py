"""A page's bytes to plain values: the only module that knows turbohtml."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import turbohtml
from turbohtml import Document, Element

MAX_ATTRIBUTES = 512
"""Of one element; the rest is ignored."""
MAX_VALUE_CHARACTERS = 65_536
"""Of one attribute; the rest is cut."""
MAX_SOURCES = 64
"""`source` children of one picture; the rest is ignored."""
MAX_SIBLINGS = 8
"""Siblings that the search for a noscript's twin passes over."""
MAX_BASES = 16
MAX_FIGURES = 8
"""Figures around one image; those further out are ignored."""

META_NAMES = frozenset(
    {
        "robots",
        "openwit",
        "tdm-reservation",
        "og:image",
        "og:image:alt",
        "twitter:image",
        "twitter:image:alt",
    }
)
_NO_CAPTION = ("figure", "script", "style")
_PASSED_OVER = frozenset({"script", "style", "noscript"})
_HIDDEN = "template:not([shadowrootmode])"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PageLimits:
    """Guards against pages made to be expensive."""

    max_tags: int
    """A body is cut at this many `<`."""
    max_images: int
    """Image elements of a page that are looked at."""


@dataclasses.dataclass(frozen=True, slots=True)
class Meta:
    """A meta element we know the name (or property) of, in lower case."""

    name: str
    content: str


@dataclasses.dataclass(frozen=True, slots=True)
class ImageElement:
    """An `img`, `amp-img`, `amp-anim`, or `input` of type image."""

    tag: str
    attributes: dict[str, str]
    sources: tuple[dict[str, str], ...]
    """Attributes of the `source` elements of its picture."""
    figures: tuple[int, ...]
    """Indexes in `Page.captions` of the figures around it, nearest first, if asked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """What a page holds for us."""

    encoding: str
    """The WHATWG name of the encoding it was decoded with."""
    language: str | None
    bases: tuple[str, ...]
    """`href` of the base elements, in order."""
    metas: tuple[Meta, ...]
    license_href: str | None
    images: tuple[ImageElement, ...]
    twins: dict[int, int]
    """Index in `images` of an image to that of its twin inside a noscript."""
    images_passed_over: int
    """Image elements beyond the limit."""
    captions: tuple[str, ...]
    """Text of each figure's caption, empty if it has none."""
    is_cut: bool
    """Whether the body was cut at the limit of tags."""


def parse_page(
    body: bytes, charset: str | None, limits: PageLimits, *, with_captions: bool
) -> Page | None:
    """Parse a page.

    Args:
        body: decoded by `readers.body`, not by a charset.
        charset: the label of the HTTP header; one that is unknown counts as none.
        limits: where to stop.
        with_captions: whether figures are looked at.

    Returns:
        The page, or None if its encoding is one that must not be decoded (WHATWG `replacement`).
    """
    body, is_cut = _cut_tags(body, limits.max_tags)
    document = _parse(body, charset)
    if document.encoding == "replacement":
        return None
    elements, passed_over = _image_elements(document, body, limits.max_images)
    captions = _Captions()
    pictures: dict[Element, tuple[dict[str, str], ...]] = {}
    images = tuple(
        ImageElement(
            element.tag,
            _attributes(element),
            _picture_sources(element, pictures),
            captions.around(element) if with_captions else (),
        )
        for element in elements
    )
    root = document.root
    return Page(
        encoding=document.encoding or "UTF-8",
        language=(root.attr("lang") if root else None) or None,
        bases=_bases(document),
        metas=_metas(document),
        license_href=_license_href(document) if _mentions(document, body, b"license") else None,
        images=images,
        twins=_twins(document, elements),
        images_passed_over=passed_over,
        captions=tuple(captions.texts),
        is_cut=is_cut,
    )


def _parse(body: bytes, charset: str | None) -> Document:
    def parse(label: str | None) -> Document:
        return turbohtml.parse(
            body,
            encoding=label,
            detect_encoding=True,
            positions=False,
            scripting=False,
            allow_declarative_shadow_roots=False,
        )

    try:
        return parse(charset)
    except LookupError:
        return parse(None)


def _cut_tags(body: bytes, max_tags: int) -> tuple[bytes, bool]:
    if body.count(b"<") <= max_tags:
        return body, False
    places = np.flatnonzero(np.frombuffer(body, np.uint8) == ord("<"))
    return body[: places[max_tags]], True


def _image_elements(document: Document, body: bytes, max_images: int) -> tuple[list[Element], int]:
    """Return the elements by kind and in document order, and how many the limit leaves out."""
    found = document.select("img")
    # No index knows these two, so they are asked for only where they can be.
    if _mentions(document, body, b"amp-"):
        found += document.select("amp-img") + document.select("amp-anim")
    found += [each for each in document.select("input") if _is_image_input(each)]
    if document.select_one("template"):
        found = [each for each in found if each.closest(_HIDDEN) is None]
    return found[:max_images], max(0, len(found) - max_images)


def _mentions(document: Document, body: bytes, word: bytes) -> bool:
    """Say whether a lower-case word may be in the page: a search of bytes costs next to nothing."""
    return word in body or word.upper() in body or (document.encoding or "").startswith("UTF-16")


def _is_image_input(element: Element) -> bool:
    return (element.attr("type") or "").strip().lower() == "image"


def _attributes(element: Element) -> dict[str, str]:
    attributes = element.attrs.copy()
    if len(attributes) > MAX_ATTRIBUTES:
        attributes = dict(itertools.islice(attributes.items(), MAX_ATTRIBUTES))
    return {
        name: (value if isinstance(value, str) else " ".join(value or ()))[:MAX_VALUE_CHARACTERS]
        for name, value in attributes.items()
    }


def _picture_sources(
    element: Element, known: dict[Element, tuple[dict[str, str], ...]]
) -> tuple[dict[str, str], ...]:
    parent = element.parent
    if not isinstance(parent, Element) or parent.tag != "picture":
        return ()
    if parent not in known:
        sources = (each for each in parent.children if isinstance(each, Element))
        sources = (each for each in sources if each.tag == "source")
        known[parent] = tuple(map(_attributes, itertools.islice(sources, MAX_SOURCES)))
    return known[parent]


def _bases(document: Document) -> tuple[str, ...]:
    hrefs = (
        base.attr("href") for base in document.select("base") if base.closest("template") is None
    )
    return tuple(itertools.islice((href for href in hrefs if href is not None), MAX_BASES))


def _metas(document: Document) -> tuple[Meta, ...]:
    metas = []
    for element in document.select("meta"):
        name = (element.attr("name") or element.attr("property") or "").strip().lower()
        if name in META_NAMES:
            metas.append(Meta(name, (element.attr("content") or "")[:MAX_VALUE_CHARACTERS]))
    return tuple(metas)


def _license_href(document: Document) -> str | None:
    for tag in ("link", "a", "area"):
        for element in document.select(tag):
            if "license" in (element.attr("rel") or "").lower().split() and element.attr("href"):
                return (element.attr("href") or "")[:MAX_VALUE_CHARACTERS]
    return None


class _Captions:
    """Figures by the images in them, and the text of each one's caption."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._known: dict[Element, tuple[int, ...]] = {}

    def around(self, element: Element) -> tuple[int, ...]:
        """Return the indexes of the figures around an element, nearest first."""
        figure = element.closest("figure")
        chain: list[Element] = []
        while figure is not None and figure not in self._known:
            chain.append(figure)
            parent = figure.parent
            figure = parent.closest("figure") if isinstance(parent, Element) else None
        around = self._known[figure] if figure is not None else ()
        for each in reversed(chain):
            around = (len(self.texts), *around[: MAX_FIGURES - 1])
            self.texts.append(_caption(each))
            self._known[each] = around
        return around


def _caption(figure: Element) -> str:
    """Return all text of a figure's own caption, without nested figures, scripts and styles."""
    captions = figure.select("figcaption")
    own = next((each for each in captions if each.closest("figure") == figure), None)
    if own is None:
        return ""
    if any(own.select_one(tag) for tag in _NO_CAPTION):
        return _own_text(own)[:MAX_VALUE_CHARACTERS]
    return own.text[:MAX_VALUE_CHARACTERS]


def _own_text(caption: Element) -> str:
    inner = {
        node for tag in _NO_CAPTION for each in caption.select(tag) for node in each.descendants
    }
    return "".join(
        node.data
        for node in caption.descendants
        if isinstance(node, turbohtml.Text) and node not in inner
    )


def _twins(document: Document, elements: Sequence[Element]) -> dict[int, int]:
    """Pair each image with the one that stands alone in a noscript beside it."""
    if document.select_one("noscript") is None:
        return {}
    inside: dict[Element, list[int]] = {}
    for index, element in enumerate(elements):
        noscript = element.closest("noscript")
        if noscript is not None:
            inside.setdefault(noscript, []).append(index)
    places = {element: index for index, element in enumerate(elements)}
    alone: dict[Element, int | None] = {}
    twins: dict[int, int] = {}
    for noscript, indexes in inside.items():
        if len(indexes) == 1:
            place = _twin_of(noscript, places, alone)
            if place is not None and place != indexes[0]:
                twins.setdefault(place, indexes[0])
    return twins


def _twin_of(
    noscript: Element, places: dict[Element, int], alone: dict[Element, int | None]
) -> int | None:
    """Return the index of the image that a noscript stands in for, if there is just one."""
    parent = noscript.parent
    if isinstance(parent, Element) and parent.tag.startswith("amp-"):
        return places.get(parent)
    for siblings in (noscript.previous_siblings, noscript.next_siblings):
        near = itertools.islice(siblings, MAX_SIBLINGS)
        beside = (each for each in near if isinstance(each, Element))
        sibling = next((each for each in beside if each.tag not in _PASSED_OVER), None)
        if sibling is None:
            continue
        if sibling not in alone:
            alone[sibling] = _sole_image(sibling, places)
        if (place := alone[sibling]) is not None:
            return place
    return None


def _sole_image(element: Element, places: dict[Element, int]) -> int | None:
    if element in places:
        return places[element]
    found = [each for tag in ("img", "amp-img") for each in element.find_all(tag, limit=2)]
    return places.get(found[0]) if len(found) == 1 else None
