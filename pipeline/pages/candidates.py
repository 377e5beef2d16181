"""Parsed pages to candidate rows and drops: every image ends as one or the other."""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from filters.urls.tracking_pixel import MIN_DECLARED_PX, declared_size, tracker
from filters.verdict import Drop, DropReason
from manifests.format.ids import pair_id
from pipeline.pages.columns import CandidateColumns, PageValues, Rows, TextCells
from pipeline.pages.image_elements import CandidateRules, PageImages, needs_joining, resolve_base
from pipeline.pages.image_url import Chosen, UrlChooser, src_asked_first
from pipeline.pages.page import NO_SIZE, ImageElement, Page, SrcPage
from pipeline.pages.plain import plain_texts, plain_urls
from pipeline.pages.texts import ATTRIBUTE_SOURCES, NO_TEXTS, FoundText, Texts, read_texts

SRC = "src"
"""Where most URLs are found, as in the column `url_source`."""
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
        self._srcs: list[str | None] = []  # as found, where rules may have nothing to say on it
        self._sizes: list[tuple[int | None, int | None]] = []
        self._text_sources: list[str] = []
        self._texts: list[str] = []  # as found; empty if an image has several
        self._several: dict[int, list[tuple[str, str]]] = {}  # their sources and texts
        self._images: dict[int, ImageElement] = {}  # by place, if more than `src` is known of one
        self._joined: dict[int, Joined] = {}  # of pages whose images learn from each other
        self._choosers: dict[int, UrlChooser] = {}  # by page, of those asked for

    def __len__(self) -> int:
        """Return the number of images that wait."""
        return len(self._pages)

    def add_page(self, page: Page | SrcPage, values: PageValues, flags: Sequence[str]) -> int:
        """Take a page's images.

        Args:
            page: as parsed, or what is known of it.
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
        before = len(self._pages)
        passed_over = page.images_passed_over
        if isinstance(page, SrcPage):
            seen = self._add_srcs(page)
        elif needs_joining(page, self._rules):
            seen, passed_over = self._add_joined(page, page_url)
        else:
            seen = self._add_single(page.images)
        added = len(self._positions) - before
        self._pages += [number] * added
        if seen > added:
            self._drops.counts[DropReason.NO_TEXT] += seen - added
        if passed_over:
            self._drops.counts[DropReason.TOO_MANY_IMAGES] += passed_over
        return seen + passed_over

    def _add_srcs(self, page: SrcPage) -> int:
        """Take images of which only `src` and one text are known."""
        texts = page.texts
        before = len(self._texts)
        self._texts += filter(None, texts)
        added = len(self._texts) - before
        self._srcs += itertools.compress(page.srcs, texts)
        self._positions += itertools.compress(range(len(texts)), texts)
        self._sizes += [NO_SIZE] * added
        self._text_sources += [page.text_source] * added
        return len(texts)

    def _add_single(self, images: Sequence[ImageElement]) -> int:
        """Take images that learn nothing from each other."""
        rule, sources = self._rules.url_rule, self._sources
        for position, image in enumerate(images):
            attributes = image.attributes
            if not attributes:
                continue
            found = [(name, value) for name in sources if (value := attributes.get(name))]
            if found:
                self._images[len(self._positions)] = image
                self._add_image(position, src_asked_first(image, rule), image.size_px, found)
        return len(images)

    def _add_image(
        self,
        position: int,
        src: str | None,
        size_px: tuple[int | None, int | None],
        texts: list[tuple[str, str]],
    ) -> None:
        if len(texts) > 1:
            self._several[len(self._positions)] = texts
        source, text = texts[0] if len(texts) == 1 else ("", "")
        self._positions.append(position)
        self._srcs.append(src)
        self._sizes.append(size_px)
        self._text_sources.append(source)
        self._texts.append(text)

    def _add_joined(self, page: Page, page_url: str) -> tuple[int, int]:
        """Take images that lend each other texts; return how many there are, and over the limit."""
        images = PageImages(page, page_url, self._rules)
        for found in images.found:
            if found.texts is NO_TEXTS and not found.is_twin:
                continue
            url = images.url(found) if found.texts.found else None
            license_url = images.licenses.get(url.url) if isinstance(url, Chosen) else None
            joined = Joined(found.texts, url, found.is_twin, license_url)
            self._joined[len(self._positions)] = joined
            size_px = found.image.size_px if found.image else NO_SIZE
            self._add_image(found.position, None, size_px, [])
        return len(images.found), images.passed_over

    def judge(self) -> None:
        """Put all images in the columns, in order, or among the drops."""
        rows = Rows(
            pages=self._pages,
            positions=self._positions,
            urls=plain_urls(
                pa.array(self._srcs, pa.string()),
                np.array(self._pages, np.int64),
                self._page_urls,
                self._bases,
            ),
            url_sources=[SRC] * len(self),
            sizes=self._sizes,
            flags=[self._flags[page] for page in self._pages],
            text_sources=self._text_sources,
            texts=self._texts,
        )
        for place, has_plain_text in self._in_doubt(rows):
            if place in self._joined:
                found = self._joined[place]
            else:
                found = Joined(_plain_text(rows, place) if has_plain_text else self._read(place))
            self._look_at(place, rows, found)
        self._drop_repeats(rows)
        self._columns.rows = rows

    def _in_doubt(self, rows: Rows) -> Iterable[tuple[int, bool]]:
        """Return the places of images that a rule may judge, and whether none may their text."""
        has_plain_text = plain_texts(pa.array(rows.texts, pa.string()))
        is_plain = has_plain_text & np.fromiter(map(bool, rows.urls), np.bool_, len(rows.urls))
        for place, (width, height) in enumerate(rows.sizes):
            if (width is not None and width < MIN_DECLARED_PX) or (
                height is not None and height < MIN_DECLARED_PX
            ):
                is_plain[place] = False
        places = np.flatnonzero(~is_plain)
        return zip(places.tolist(), has_plain_text[places].tolist(), strict=True)

    def _look_at(self, place: int, rows: Rows, found: Joined) -> None:
        """Judge one image by itself, whatever else is on its page, and correct its row."""
        url, texts = found.url, found.texts
        if url is None and texts.found:
            plain = rows.urls[place]
            url = Chosen(plain, SRC) if plain else self._choose(place)
        size_px = rows.sizes[place] if self._rules.url_rule != "src" else NO_SIZE
        judged = _judge(found, url, size_px)
        if isinstance(judged, Drop):
            href = url.url if isinstance(url, Chosen) else None
            self._drops.add(judged, href, texts.found[0].text if texts.found else None)
            rows.urls[place] = None
            return
        rows.urls[place], rows.url_sources[place] = judged.url, judged.source
        rows.flags[place] = row_flags(judged, texts, self._flags[self._pages[place]])
        rows.put_texts(place, text_cells(texts))
        if found.license_url is not None:
            rows.licenses[place] = found.license_url

    def _read(self, place: int) -> Texts:
        sole = [(self._text_sources[place], self._texts[place])]
        return read_texts(self._several.get(place, sole))

    def _choose(self, place: int) -> Chosen | DropReason:
        number, image = self._pages[place], self._images.get(place)
        if number not in self._choosers:
            self._choosers[number] = UrlChooser(
                page_url=self._page_urls[number],
                base=self._bases[number],
                rule=self._rules.url_rule,
                max_srcset_width=self._rules.max_srcset_width,
            )
        chooser = self._choosers[number]
        return chooser.choose(image, None) if image else chooser.judge(self._srcs[place] or "", SRC)

    def _drop_repeats(self, rows: Rows) -> None:
        """Drop what repeats both URL and texts of an image before it on its page."""
        kept = [place for place, url in enumerate(rows.urls) if url]
        for _, run in itertools.groupby(kept, rows.pages.__getitem__):
            places = list(run)
            if len({rows.urls[place] for place in places}) == len(places):  # most
                continue
            first: dict[object, int] = {}
            for place in places:
                url, text = rows.urls[place], rows.texts[place]
                more = tuple([cell[1] for cell in rows.more_texts.get(place, ())])
                if first.setdefault((url, text, more), place) != place:
                    self._drops.add(Drop(DropReason.REPEAT_IN_PAGE), url, text)
                    rows.urls[place] = None


def _plain_text(rows: Rows, place: int) -> Texts:
    """Return the text of an image, read, on which no rule has anything to say."""
    return Texts((FoundText(rows.text_sources[place], rows.texts[place], None, False),), False)


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
