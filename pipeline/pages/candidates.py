"""A parsed page to candidate rows and drops: every image element ends as one or the other."""

import collections
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from filters.urls.tracking_pixel import declared_size, tracker
from filters.urls.url_key import join_url
from filters.verdict import Drop, DropReason
from manifests.format.ids import pair_id
from pipeline.pages.columns import CandidateColumns
from pipeline.pages.html import ImageElement, Page
from pipeline.pages.image_url import Chosen, UrlChooser, UrlRule
from pipeline.pages.texts import (
    ATTRIBUTE_SOURCES,
    Texts,
    attribute_texts,
    merge_texts,
    read_texts,
)

_DIGITS = re.compile(r"[ \t\n\f\r]*\+?(\d{1,9})(?!\d)", re.ASCII)
_META_ROWS = (("og:image", "og", "og:image:alt"), ("twitter:image", "twitter", "twitter:image:alt"))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CandidateRules:
    """Which texts are collected and which URL is taken."""

    text_sources: tuple[str, ...]
    """In the order of `texts.SOURCES`."""
    url_rule: UrlRule
    max_srcset_width: int

    @property
    def attribute_sources(self) -> tuple[str, ...]:
        """Those text sources that are attributes of the element."""
        return tuple(name for name in self.text_sources if name in ATTRIBUTE_SOURCES)


@dataclasses.dataclass(slots=True)
class ElementDrops:
    """Dropped elements: counts by reason, and rows for those that have a URL and a text."""

    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, drop: Drop, url: str | None, texts: Texts) -> None:
        """Count an element, and put it in the ledger if it is a pair."""
        if url is None or not texts.found:
            self.counts[drop.reason] += 1
            return
        text = texts.found[0].text
        row = {"pair_id": pair_id(url, text), "reason": drop.reason, "url": url, "caption": text}
        if drop.value is not None:
            row["value"] = str(drop.value)
        self.rows.append(row)


@dataclasses.dataclass(slots=True)
class _Element:
    """An image on its way to a row."""

    position: int
    image: ImageElement | None
    """None for an image that only a meta names."""
    texts: Texts
    twin: ImageElement | None = None
    """What stands for it in a noscript."""
    is_twin: bool = False
    """Whether it stands in a noscript for another."""
    url: Chosen | DropReason | None = None
    """None as long as nobody asked."""


def resolve_base(page: Page, page_url: str) -> str:
    """Return what the page's relative URLs belong to: the first valid base, else its own URL."""
    found = (join_url(page_url, href.strip()) for href in page.bases)
    return next((base for base in found if not isinstance(base, DropReason)), page_url)


def add_candidates(
    page: Page,
    page_url: str,
    rules: CandidateRules,
    page_flags: Sequence[str],
    columns: CandidateColumns,
    drops: ElementDrops,
) -> int:
    """Put the page's candidates in `columns`, whose page is open, and the others in `drops`.

    Args:
        page: as parsed.
        page_url: its URL key.
        rules: which texts and URLs.
        page_flags: flags that all rows of the page get.
        columns: where rows go.
        drops: where the other elements go.

    Returns:
        The number of elements seen: rows and drops together.
    """
    walk = _PageWalk(page, page_url, rules)
    before = len(columns), drops.counts.total() + len(drops.rows)
    if page.images_passed_over:
        drops.counts[DropReason.TOO_MANY_IMAGES] += page.images_passed_over
    for element in walk.elements:
        chosen = walk.url(element) if element.texts.found else None
        drop = walk.judge(element)
        if drop:
            drops.add(drop, chosen.url if isinstance(chosen, Chosen) else None, element.texts)
        elif isinstance(chosen, Chosen):
            columns.append(
                url=chosen.url,
                url_source=chosen.source,
                position=element.position,
                size_px=_size(element.image),
                flags=_flags(chosen, element.texts, page_flags),
                texts=element.texts,
            )
    after = len(columns), drops.counts.total() + len(drops.rows)
    return sum(after) - sum(before)


class _PageWalk:
    """The elements of a page, with what they learn from each other."""

    def __init__(self, page: Page, page_url: str, rules: CandidateRules) -> None:
        self._page = page
        self._rules = rules
        self._chooser = UrlChooser(
            page_url=page_url,
            base=resolve_base(page, page_url),
            rule=rules.url_rule,
            max_srcset_width=rules.max_srcset_width,
        )
        self._seen: set[tuple[str, ...]] = set()
        sources = rules.attribute_sources
        self.elements = [
            _Element(position, image, attribute_texts(image.attributes, sources))
            for position, image in enumerate(page.images)
        ]
        if rules.url_rule != "src":
            self._find_twins()
        if "figcaption" in rules.text_sources:
            self._add_captions()
        for place, other in page.twins.items():
            if self.elements[other].is_twin:
                first = self.elements[place]
                first.texts = merge_texts(first.texts, self.elements[other].texts)
        for image, source, alt in _META_ROWS:
            if alt in rules.text_sources:
                self._add_meta_images(image, source, alt)

    def url(self, element: _Element) -> Chosen | DropReason:
        """Return the URL of an element, chosen when it is first asked for."""
        if element.url is None:
            if element.image is None:  # a meta's was chosen when it was found
                return DropReason.NO_URL
            element.url = self._chooser.choose(element.image, element.twin)
        return element.url

    def judge(self, element: _Element) -> Drop | None:
        """Return why an element is dropped, or None; called once for each, in order."""
        if element.is_twin:
            return Drop(DropReason.NOSCRIPT_TWIN)
        if not element.texts.found:
            invalid = element.texts.has_invalid
            return Drop(DropReason.BAD_ENCODING if invalid else DropReason.NO_TEXT)
        chosen = self.url(element)
        if isinstance(chosen, DropReason):
            return Drop(chosen)
        drop = None
        if self._rules.url_rule != "src":
            drop = declared_size(*_size(element.image))
        drop = drop or tracker(chosen.url)
        if drop:
            return drop
        key = (chosen.url, *(text.text for text in element.texts.found))
        if key in self._seen:
            return Drop(DropReason.REPEAT_IN_PAGE)
        self._seen.add(key)
        return None

    def _find_twins(self) -> None:
        """Join twins whose alt texts do not contradict each other.

        A noscript that counts visits is no twin: it stands beside any image by chance, and would
        give it its own URL.
        """
        for place, other in self._page.twins.items():
            first, second = self.elements[place], self.elements[other]
            if first.image is None or second.image is None or first.is_twin or second.is_twin:
                continue
            alts = {_alt(first.image), _alt(second.image)} - {""}
            found = self.url(second)
            counts = isinstance(found, DropReason) or tracker(found.url)
            if len(alts) < 2 and not counts and not declared_size(*_size(second.image)):
                first.twin = second.image
                second.is_twin = True

    def _add_captions(self) -> None:
        """Give the caption of a figure to its image, if it holds one image only."""
        urls: dict[int, set[str]] = {}
        for element in self.elements:
            chosen = self.url(element) if element.image and element.image.figures else None
            if element.image and isinstance(chosen, Chosen) and not element.is_twin:
                for figure in element.image.figures:
                    urls.setdefault(figure, set()).add(chosen.url)
        for element in self.elements:
            figures = element.image.figures if element.image else ()
            if figures and len(urls.get(figures[0], ())) == 1:
                caption = read_texts([("figcaption", self._page.captions[figures[0]])])
                element.texts = merge_texts(element.texts, caption)

    def _add_meta_images(self, image: str, source: str, alt: str) -> None:
        """Add the images that metas name with a text, or their texts to an image that is there."""
        known: dict[str, _Element] = {}
        for element in self.elements:
            chosen = self.url(element)
            if isinstance(chosen, Chosen) and not element.is_twin:
                known.setdefault(chosen.url, element)
        raw = ""
        for meta in self._page.metas:
            if meta.name == image:
                raw = meta.content
            elif meta.name == alt and raw:
                texts = read_texts([(alt, meta.content)])
                found = self._chooser.judge(raw, source)
                raw = ""
                if isinstance(found, Chosen) and found.url in known:
                    element = known[found.url]
                    element.texts = merge_texts(element.texts, texts)
                    continue
                added = _Element(len(self.elements), None, texts, url=found)
                self.elements.append(added)
                if isinstance(found, Chosen):
                    known[found.url] = added


def _alt(image: ImageElement) -> str:
    texts = attribute_texts(image.attributes, ("alt",)).found
    return texts[0].text if texts else ""


def _size(image: ImageElement | None) -> tuple[int | None, int | None]:
    if image is None:
        return None, None
    return _declared_px(image.attributes, "width"), _declared_px(image.attributes, "height")


def _declared_px(attributes: Mapping[str, str], name: str) -> int | None:
    value = attributes.get(name)
    if not value or "%" in value:
        return None
    found = _DIGITS.match(value)
    return int(found[1]) if found else None


def _flags(chosen: Chosen, texts: Texts, page_flags: Sequence[str]) -> tuple[str, ...]:
    path = chosen.url.partition("?")[0].lower()
    flags = ["text_truncated"] if texts.is_truncated else []
    flags += page_flags
    if texts.is_file_name:
        flags.append("alt_filename")
    if path.endswith((".svg", ".ico")):
        flags.append(path[-3:])
    if chosen.is_suspect:
        flags.append("placeholder_suspect")
    return tuple(flags)
