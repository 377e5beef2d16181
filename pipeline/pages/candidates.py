"""Parsed pages to candidate rows and drops: every image ends as one or the other."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from filters.urls.tracking_pixel import MIN_DECLARED_PX, declared_size, tracker
from filters.verdict import Drop, DropReason
from manifests.format.ids import pair_id
from pipeline.pages.columns import CandidateColumns, PageValues, Rows, TextCells
from pipeline.pages.image_elements import CandidateRules, PageImages, needs_joining, resolve_base
from pipeline.pages.image_url import Chosen, UrlChooser, src_asked_first
from pipeline.pages.page import NO_SIZE, ImageElement, Page
from pipeline.pages.plain import plain_texts, plain_urls
from pipeline.pages.texts import ATTRIBUTE_SOURCES, NO_TEXTS, Texts, read_texts

_FLAGGED = frozenset({".svg", ".ico"})


@dataclasses.dataclass(slots=True)
class ElementDrops:
    """Dropped images: counts by reason, and rows for those that have a URL and a text."""

    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, drop: Drop, url: str | None, text: str | None) -> None:
        """Count an image, or put it in the ledger if it is a pair, by its first text."""
        if url is None or text is None:
            self.counts[drop.reason] += 1
            return
        row = {"pair_id": pair_id(url, text), "reason": drop.reason, "url": url, "caption": text}
        if drop.value is not None:
            row["value"] = str(drop.value)
        self.rows.append(row)


@dataclasses.dataclass(slots=True)
class Joined:
    """An image with what it learned from others."""

    texts: Texts
    url: Chosen | DropReason | None = None
    """None as long as nobody asked."""
    is_twin: bool = False
    license_url: str | None = None


class CandidateBatch:
    """The images of some pages, judged together: most need no look of their own."""

    def __init__(
        self, rules: CandidateRules, columns: CandidateColumns, drops: ElementDrops
    ) -> None:
        """Start without pages.

        Args:
            rules: which texts and URLs.
            columns: where rows go; nobody else adds any.
            drops: where the other images go.
        """
        self._rules = rules
        self._columns = columns
        self._drops = drops
        self._sources = [name for name in rules.text_sources if name in ATTRIBUTE_SOURCES]
        self._page_urls: list[str] = []
        self._bases: list[str] = []
        self._flags: list[tuple[str, ...]] = []
        # Of each image that may have a text:
        self._pages: list[int] = []
        self._positions: list[int] = []
        self._images: list[ImageElement | None] = []
        self._raws: list[tuple[tuple[str, str], ...]] = []  # (source, value), as found
        self._joined: dict[int, Joined] = {}  # of pages whose images learn from each other
        self._choosers: dict[int, UrlChooser] = {}  # by page, of those asked for

    def __len__(self) -> int:
        """Return the number of images that wait."""
        return len(self._pages)

    def add_page(self, page: Page, values: PageValues, flags: Sequence[str]) -> int:
        """Take a page's images.

        Args:
            page: as parsed.
            values: what its rows share.
            flags: those that all its rows get.

        Returns:
            The number of images seen: rows and drops together.
        """
        number = self._columns.open_page(values)
        self._flags.append(tuple(flags))
        page_url = values.page_url or ""
        self._page_urls.append(page_url)
        self._bases.append(resolve_base(page, page_url) if page.bases else page_url)
        before = len(self)
        if needs_joining(page, self._rules):
            seen, passed_over = self._add_joined(number, page, page_url)
        else:
            self._add_single(number, page.images)
            seen, passed_over = len(page.images), page.images_passed_over
        textless = seen - (len(self) - before)
        if textless:
            self._drops.counts[DropReason.NO_TEXT] += textless
        if passed_over:
            self._drops.counts[DropReason.TOO_MANY_IMAGES] += passed_over
        return seen + passed_over

    def _add_single(self, number: int, images: Sequence[ImageElement]) -> None:
        """Take images that learn nothing from each other."""
        sources = self._sources
        places = [place for place, image in enumerate(images) if image.attributes]
        raws = [
            tuple([(name, value) for name in sources if (value := images[at].attributes.get(name))])
            for at in places
        ]
        if not all(raws):
            places = [place for place, raw in zip(places, raws, strict=True) if raw]
            raws = [raw for raw in raws if raw]
        self._pages += [number] * len(places)
        self._positions += places
        self._images += [images[place] for place in places]
        self._raws += raws

    def _add_joined(self, number: int, page: Page, page_url: str) -> tuple[int, int]:
        """Take images that lend each other texts; return how many there are, and over the limit."""
        images = PageImages(page, page_url, self._rules)
        for found in images.found:
            if found.texts is NO_TEXTS and not found.is_twin:
                continue
            url = images.url(found) if found.texts.found else None
            license_url = images.licenses.get(url.url) if isinstance(url, Chosen) else None
            self._joined[len(self)] = Joined(found.texts, url, found.is_twin, license_url)
            self._pages.append(number)
            self._positions.append(found.position)
            self._images.append(found.image)
            self._raws.append(())
        return len(images.found), images.passed_over

    def judge(self) -> None:
        """Put all images in the columns, in order, or among the drops."""
        rows = self._as_if_plain()
        raws = [texts[0][1] if len(texts) == 1 else "" for texts in rows.texts]
        is_plain = plain_texts(pa.array(raws, pa.string())).tolist()
        for place, url in enumerate(rows.urls):
            width, height = rows.sizes[place]
            if (
                url is None
                or not is_plain[place]
                or (width is not None and width < MIN_DECLARED_PX)
                or (height is not None and height < MIN_DECLARED_PX)
            ):
                self._look_at(place, rows)
        self._drop_repeats(rows)
        self._columns.rows = rows

    def _as_if_plain(self) -> Rows:
        """Return rows as if no rule had anything to say; where one has on a URL, it is missing."""
        rule, joined = self._rules.url_rule, self._joined
        raws = [
            src_asked_first(image, rule) if image and place not in joined else None
            for place, image in enumerate(self._images)
        ]
        urls = plain_urls(
            pa.array(raws, pa.string()),
            np.array(self._pages, np.int64),
            self._page_urls,
            self._bases,
        )
        return Rows(
            pages=self._pages,
            positions=self._positions,
            urls=urls,
            url_sources=["src"] * len(self),
            sizes=[image.size_px if image else NO_SIZE for image in self._images],
            flags=[self._flags[page] for page in self._pages],
            texts=[tuple([(*raw, None) for raw in found]) for found in self._raws],
        )

    def _look_at(self, place: int, rows: Rows) -> None:
        """Judge one image by itself, whatever else is on its page, and correct its row."""
        found = self._joined.get(place) or Joined(read_texts(self._raws[place]))
        url, texts, image = found.url, found.texts, self._images[place]
        if url is None and image and texts.found:
            plain = rows.urls[place]
            url = Chosen(plain, "src") if plain else self._choose(place, image)
        size_px = rows.sizes[place] if self._rules.url_rule != "src" else NO_SIZE
        judged = _judge(found, url, size_px)
        if isinstance(judged, Drop):
            href = url.url if isinstance(url, Chosen) else None
            self._drops.add(judged, href, texts.found[0].text if texts.found else None)
            rows.urls[place] = None
            return
        rows.urls[place], rows.url_sources[place] = judged.url, judged.source
        rows.flags[place] = row_flags(judged, texts, self._flags[self._pages[place]])
        rows.texts[place] = text_cells(texts)
        if found.license_url is not None:
            rows.licenses[place] = found.license_url

    def _choose(self, place: int, image: ImageElement) -> Chosen | DropReason:
        number = self._pages[place]
        if number not in self._choosers:
            self._choosers[number] = UrlChooser(
                page_url=self._page_urls[number],
                base=self._bases[number],
                rule=self._rules.url_rule,
                max_srcset_width=self._rules.max_srcset_width,
            )
        return self._choosers[number].choose(image, None)

    def _drop_repeats(self, rows: Rows) -> None:
        """Drop what repeats both URL and texts of an image before it on its page."""
        first: dict[tuple[int, str, str], int] = {}
        for place, url in enumerate(rows.urls):
            if url is None:
                continue
            texts = rows.texts[place]
            text = texts[0][1] if len(texts) == 1 else "\n".join([each[1] for each in texts])
            if first.setdefault((self._pages[place], url, text), place) != place:
                self._drops.add(Drop(DropReason.REPEAT_IN_PAGE), url, texts[0][1])
                rows.urls[place] = None


def _judge(
    found: Joined, url: Chosen | DropReason | None, size_px: tuple[int | None, int | None]
) -> Chosen | Drop:
    """Return the URL, or why the image is dropped, whatever else is on its page."""
    if found.is_twin:
        return Drop(DropReason.NOSCRIPT_TWIN)
    if not found.texts.found:
        return Drop(DropReason.BAD_ENCODING if found.texts.has_invalid else DropReason.NO_TEXT)
    if not isinstance(url, Chosen):
        return Drop(url or DropReason.NO_URL)
    return declared_size(*size_px) or tracker(url.url) or url


def row_flags(url: Chosen, texts: Texts, page_flags: Sequence[str]) -> tuple[str, ...]:
    """Return the flags of a candidate, those of its page in their place."""
    flags = ["text_truncated", *page_flags] if texts.is_truncated else [*page_flags]
    if texts.is_file_name:
        flags.append("alt_filename")
    extension = url.url.partition("?")[0][-4:].lower()
    if extension in _FLAGGED:
        flags.append(extension[1:])
    if url.is_suspect:
        flags.append("placeholder_suspect")
    return tuple(flags)


def text_cells(texts: Texts) -> TextCells:
    """Return the texts as the column has them."""
    return tuple([(text.source, text.text, text.raw) for text in texts.found])
