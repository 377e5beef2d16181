"""A page's bytes to plain values: the only module that knows turbohtml."""

import codecs
import functools
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import cast

import numpy as np
import turbohtml
from turbohtml import Document, Element, Node, Text

from pipeline.pages.page import META_NAMES, ImageElement, Meta, Page, PageLimits
from pipeline.pages.texts import ATTRIBUTE_SOURCES

MIN_UTF8_CHARACTERS = 16
"""A page with images, so many of UTF-8's sequences and none that is broken is UTF-8 whatever it
declares: pages are saved and served as UTF-8 under an old label. In another encoding one letter in
four would fit at best. Browsers show garbage there, which is no text of an image."""
MAX_ATTRIBUTES = 512
"""Of one element; the rest is ignored."""
MAX_VALUE_CHARACTERS = 65_536
"""Of one attribute; the rest is cut."""
MAX_SOURCES = 64
"""`source` children of one picture; the rest is ignored."""
MAX_SIBLINGS = 8
"""Siblings that the search for a noscript's twin passes over."""
MAX_BASES = 16
"""`base` elements that are tried; the rest is ignored."""
MAX_FIGURES = 8
"""Figures around one image; those further out are ignored."""

_parse_as = functools.partial(
    turbohtml.parse,
    detect_encoding=True,
    positions=False,
    scripting=False,
    allow_declarative_shadow_roots=False,
)
_NO_CAPTION = frozenset({"figure", "script", "style", "template"})
_PASSED_OVER = frozenset({"script", "style", "noscript"})
_TEXTLESS = ImageElement("img", {}, (), ())
_HIDING = "template:not([shadowrootmode])"
# Attribute selectors behind a tag use the index of tags; without one they scan the document.
_IMAGE_INPUT = 'input[type="image" i]'
_JSON_LD = 'script[type*="ld+json" i]'
_LINKS = ("a[href]", "area[href]", 'link[rel~="next" i][href]')
_NAMED = [f'[name~="{name}" i], [property~="{name}" i]' for name in sorted(META_NAMES)]
_METAS = f"meta:is({', '.join(_NAMED)})"
_LICENSES = tuple(f'{tag}[rel~="license" i][href]' for tag in ("link", "a", "area"))


def parse_page(
    body: bytes | memoryview, charset: str | None, limits: PageLimits, text_sources: Collection[str]
) -> Page | None:
    """Parse a page.

    Args:
        body: decoded by `readers.body`, not by a charset.
        charset: the label of the HTTP header; one that is unknown counts as none.
        limits: where to stop.
        text_sources: those of `texts.SOURCES` that will be read; figures are looked at only for
            `figcaption`, JSON-LD without licenses only for `jsonld`.

    Returns:
        The page, or None if its encoding is one that must not be decoded (WHATWG `replacement`).
    """
    data, is_cut = _cut_tags(body, limits.max_tags)
    document = _parse(data, charset)
    if document.encoding == "replacement":
        return None
    elements, passed_over = _image_elements(document, limits.max_images)
    if elements and document.encoding != "UTF-8" and _is_utf8(data):
        return parse_page(body, "utf-8", limits, text_sources)
    twins = _twins(document, elements)
    captions = _Captions(document if "figcaption" in text_sources else None)
    places = _worth_reading(elements, twins, text_sources)
    pictures: dict[Element, tuple[dict[str, str], ...]] = {}
    has_pictures = document.select_one("picture") is not None
    images = [_TEXTLESS] * len(elements)
    for place in places:
        element = elements[place]
        sources = _picture_sources(element, pictures) if has_pictures else ()
        figures = captions.around(element)
        images[place] = ImageElement(element.tag, _attributes(element), sources, figures)
    root = document.root
    return Page(
        encoding=document.encoding or "UTF-8",
        language=(root.attr("lang") if root else None) or None,
        bases=_bases(document),
        metas=_metas(document),
        license_href=_license_href(document),
        images=tuple(images),
        twins=twins,
        images_passed_over=passed_over,
        captions=tuple(captions.texts),
        json_ld=_json_ld(document, "" if "jsonld" in text_sources else "license"),
        is_cut=is_cut,
        links=_links(document, limits.max_links) if limits.max_links else (),
    )


def _parse(body: bytes | memoryview, charset: str | None) -> Document:
    data = cast(bytes, body)  # any bytes-like object will do, as its stub does not say
    try:
        return _parse_as(data, encoding=charset)
    except LookupError:
        return _parse_as(data)


def _is_utf8(body: bytes | memoryview) -> bool:
    """Say whether a page is UTF-8, though it may end in the middle of a character."""
    is_first = np.frombuffer(body, np.uint8) >= 0xC2  # of the bytes of a character
    if np.count_nonzero(is_first) < MIN_UTF8_CHARACTERS:
        return False
    try:
        codecs.utf_8_decode(body, "strict", False)
    except UnicodeDecodeError:
        return False
    return True


def _cut_tags(body: bytes | memoryview, max_tags: int) -> tuple[bytes | memoryview, bool]:
    if len(body) <= max_tags:
        return body, False
    is_tag = np.frombuffer(body, np.uint8) == ord("<")  # faster than bytes.count
    if np.count_nonzero(is_tag) <= max_tags:
        return body, False
    return body[: np.flatnonzero(is_tag)[max_tags]], True


def _image_elements(document: Document, max_images: int) -> tuple[list[Element], int]:
    """Return the elements by kind and in document order, and how many the limit leaves out."""
    found = document.select("img")
    amp = document.iter_elements(("amp-img", "amp-anim"))
    found += sorted(amp, key=lambda each: each.tag == "amp-anim")
    found += document.select(_IMAGE_INPUT)
    if document.select_one("template"):
        is_hidden = _Hidden()
        found = [each for each in found if not is_hidden(each)]
    return found[:max_images], max(0, len(found) - max_images)


def _worth_reading(
    elements: Sequence[Element], twins: Mapping[int, int], text_sources: Collection[str]
) -> Iterable[int]:
    """Return the places of the images that may have a text, or lend theirs to another."""
    names = [name for name in text_sources if name in ATTRIBUTE_SOURCES]
    if len(names) < len(text_sources):  # a text may come from elsewhere
        return range(len(elements))
    found = {place for place, each in enumerate(elements) if any(map(each.attr, names))}
    return found.union(twins, twins.values())


class _Hidden:
    """Says what is in a template that is no shadow tree; no parent is looked at twice."""

    def __init__(self) -> None:
        self._known: dict[Node, bool] = {}

    def __call__(self, element: Element) -> bool:
        chain: list[Node] = []
        node = element.parent
        while node is not None and node not in self._known:
            chain.append(node)
            if isinstance(node, Element) and node.matches(_HIDING):
                self._known[node] = True
            else:
                node = node.parent
        is_hidden = node is not None and self._known[node]
        self._known.update(dict.fromkeys(chain, is_hidden))
        return is_hidden


def _attributes(element: Element) -> dict[str, str]:
    attributes = element.attrs.copy()
    if len(attributes) > MAX_ATTRIBUTES:
        attributes = dict(itertools.islice(attributes.items(), MAX_ATTRIBUTES))
    return {
        name: value
        if isinstance(value, str) and len(value) <= MAX_VALUE_CHARACTERS
        else _cut(value)
        for name, value in attributes.items()
    }


def _cut(value: str | list[str] | None) -> str:
    """Return a value as text: one without value is empty, a list such as that of classes joined."""
    return (value if isinstance(value, str) else " ".join(value or ()))[:MAX_VALUE_CHARACTERS]


def _picture_sources(
    element: Element, known: dict[Element, tuple[dict[str, str], ...]]
) -> tuple[dict[str, str], ...]:
    parent = element.parent
    if not isinstance(parent, Element) or parent.tag != "picture":
        return ()
    if parent not in known:
        inside = (each for each in parent.children if isinstance(each, Element))
        sources = (each for each in inside if each.tag == "source")
        known[parent] = tuple(map(_attributes, itertools.islice(sources, MAX_SOURCES)))
    return known[parent]


def _bases(document: Document) -> tuple[str, ...]:
    found = document.select("base[href]")[:MAX_BASES]
    return tuple(each.attr("href") or "" for each in found if each.closest("template") is None)


def _metas(document: Document) -> tuple[Meta, ...]:
    metas: list[Meta] = []
    for element in document.select(_METAS):
        content = (element.attr("content") or "")[:MAX_VALUE_CHARACTERS]
        names = f"{element.attr('name')} {element.attr('property')}".lower().split()
        metas += [Meta(name, content) for name in dict.fromkeys(names) if name in META_NAMES]
    return tuple(metas)


def _links(document: Document, max_links: int) -> tuple[str, ...]:
    """Return the first links that may be followed, the target of a meta refresh before all."""
    _, refresh = document.meta_refresh() or (0, "")
    hrefs = [refresh] if refresh else []
    for element in itertools.chain.from_iterable(map(document.select, _LINKS)):
        if len(hrefs) >= max_links:
            break
        if "nofollow" not in (element.attr("rel") or "").lower().split():
            hrefs.append((element.attr("href") or "")[:MAX_VALUE_CHARACTERS])
    return tuple(hrefs)


def _license_href(document: Document) -> str | None:
    """Return the first license link, whatever its kind."""
    found = [each for selector in _LICENSES if (each := document.select_one(selector))]
    first = document.select_one(", ".join(_LICENSES)) if len(found) > 1 else next(iter(found), None)
    return (first.attr("href") or "")[:MAX_VALUE_CHARACTERS] if first else None


def _json_ld(document: Document, word: str) -> tuple[object, ...]:
    """Return the JSON-LD of a page if some block may name an image, and has the word."""
    blocks = (script.text for script in document.select(_JSON_LD))
    is_wanted = any("ImageObject" in block and word in block for block in blocks)
    return tuple(document.json_ld()) if is_wanted else ()


class _Captions:
    """Figures by the images in them, and the text of each one's caption."""

    def __init__(self, document: Document | None) -> None:
        """Without a document, no image has a figure."""
        self.texts: list[str] = []
        self._known: dict[Element, tuple[int, ...]] = {}
        self._captions: dict[Element, Element] = {}
        for caption in document.select("figcaption") if document else ():
            figure = caption.closest("figure")
            if figure is not None:
                self._captions.setdefault(figure, caption)
        self._has_figures = document is not None and document.select_one("figure") is not None

    def around(self, element: Element) -> tuple[int, ...]:
        """Return the indexes of the figures around an element, nearest first."""
        figure = element.closest("figure") if self._has_figures else None
        chain: list[Element] = []
        while figure is not None and figure not in self._known:
            chain.append(figure)
            parent = figure.parent
            figure = parent.closest("figure") if isinstance(parent, Element) else None
        around = self._known[figure] if figure is not None else ()
        for each in reversed(chain):
            around = (len(self.texts), *around[: MAX_FIGURES - 1])
            caption = self._captions.get(each)
            self.texts.append(_own_text(caption) if caption else "")
            self._known[each] = around
        return around


def _own_text(caption: Element) -> str:
    """Return all text of a caption without nested figures, scripts, styles and templates.

    What is left out is not entered, so no node is read for two captions.
    """
    if next(caption.iter_elements(_NO_CAPTION), None) is None:
        return caption.text[:MAX_VALUE_CHARACTERS]
    texts: list[str] = []
    nodes: list[Node] = [caption]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Text):
            texts.append(node.data)
        elif isinstance(node, Element) and node.tag not in _NO_CAPTION:
            nodes += reversed(node.children)
    return "".join(texts)[:MAX_VALUE_CHARACTERS]


def _twins(document: Document, elements: Sequence[Element]) -> dict[int, int]:
    """Pair each image with the one that stands alone in a noscript beside it."""
    noscripts = document.select("noscript")
    if not any(each.select_one("img") for each in noscripts):
        return {}
    places = {element: index for index, element in enumerate(elements)}
    alone = _sole_images(places)
    twins: dict[int, int] = {}
    for noscript in noscripts:
        inside = alone.get(noscript)
        place = None if inside is None else _twin_of(noscript, places, alone)
        if inside is not None and place is not None:
            twins.setdefault(place, inside)
    return twins


def _sole_images(places: Mapping[Element, int]) -> dict[Node, int | None]:
    """Map all that is or holds an image to the place of that image, None if it holds several.

    A node is passed twice at most: above one that holds several, all do.
    """
    alone: dict[Node, int | None] = {}
    for element, place in places.items():
        node: Node | None = element
        while node is not None and alone.get(node, place) is not None:
            alone[node] = None if node in alone else place
            node = node.parent
    return alone


def _twin_of(
    noscript: Element, places: Mapping[Element, int], alone: Mapping[Node, int | None]
) -> int | None:
    """Return the index of the image that a noscript stands in for, if there is just one."""
    parent = noscript.parent
    if isinstance(parent, Element) and parent.tag.startswith("amp-"):
        return places.get(parent)
    for siblings in (noscript.previous_siblings, noscript.next_siblings):
        near = itertools.islice(siblings, MAX_SIBLINGS)
        beside = (each for each in near if isinstance(each, Element))
        sibling = next((each for each in beside if each.tag not in _PASSED_OVER), None)
        place = None if sibling is None else places.get(sibling, alone.get(sibling))
        if place is not None:
            return place
    return None
