"""The images of a page, with what they learn from each other: twins, captions, metas, JSON-LD."""

import dataclasses
from collections.abc import Iterator, Sequence

from filters.urls.tracking_pixel import declared_size, tracker
from filters.urls.url_key import join_url
from filters.verdict import DropReason
from pipeline.pages.image_url import Chosen, UrlChooser, UrlRule
from pipeline.pages.json_ld import ImageObject, image_objects
from pipeline.pages.page import ImageElement, Page, SrcPage
from pipeline.pages.texts import (
    ATTRIBUTE_SOURCES,
    Texts,
    attribute_texts,
    merge_texts,
    read_texts,
)

_META_IMAGES = (
    ("og:image", "og", "og:image:alt"),
    ("twitter:image", "twitter", "twitter:image:alt"),
)
_META_TEXTS = frozenset(text_source for _, _, text_source in _META_IMAGES)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CandidateRules:
    """Which texts are collected and which URL is taken."""

    text_sources: tuple[str, ...]
    """In the order of `texts.SOURCES`."""
    url_rule: UrlRule
    max_srcset_width: int
    """px."""
    max_images: int
    """Images of a page, with those that only metas and JSON-LD name."""


@dataclasses.dataclass(slots=True)
class FoundImage:
    """An image on its way to a row."""

    position: int
    image: ImageElement | None
    """None for an image that only a meta or JSON-LD names."""
    texts: Texts
    url: Chosen | DropReason | None = None
    """None as long as nobody asked."""
    twin: ImageElement | None = None
    """What stands for it in a noscript."""
    is_twin: bool = False
    """Whether it stands in a noscript for another."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Named:
    """An image that a meta or JSON-LD names with a text; both as found."""

    url: str
    url_source: str
    text_source: str
    text: str


def resolve_base(page: Page | SrcPage, page_url: str) -> str:
    """Return what the page's relative URLs belong to: the first valid base, else its own URL."""
    found = (join_url(page_url, href) for href in page.bases)
    return next((base for base in found if not isinstance(base, DropReason)), page_url)


def needs_joining(page: Page, rules: CandidateRules) -> bool:
    """Say whether images may learn from each other or from elsewhere; else each is as it stands."""
    if page.twins or page.captions or page.json_ld:
        return True
    return bool(page.metas) and not _META_TEXTS.isdisjoint(rules.text_sources)


class PageImages:
    """All images of a page, in order of position."""

    def __init__(self, page: Page, page_url: str, rules: CandidateRules) -> None:
        """Find the images and join what belongs together.

        Args:
            page: as parsed.
            page_url: its URL key.
            rules: which texts and URLs.
        """
        self._page = page
        self._chooser = UrlChooser(
            page_url=page_url,
            base=resolve_base(page, page_url),
            rule=rules.url_rule,
            max_srcset_width=rules.max_srcset_width,
        )
        sources = [name for name in rules.text_sources if name in ATTRIBUTE_SOURCES]
        self.found = [
            FoundImage(position, image, attribute_texts(image.attributes, sources))
            for position, image in enumerate(page.images)
        ]
        self.passed_over = page.images_passed_over
        """Images beyond the limit."""
        if rules.url_rule != "src":
            self._find_twins()
        if page.captions:
            self._add_captions()
        self._merge_twins()
        objects = image_objects(page.json_ld)
        self.licenses = self._own_licenses(objects)
        """License URLs that JSON-LD gives to single images, by image URL."""
        named = list(_named_images(page, objects, rules.text_sources))
        if named:
            self._add_named(named, rules.max_images)

    def url(self, found: FoundImage) -> Chosen | DropReason:
        """Return the URL of an image, chosen when it is first asked for."""
        if found.url is None:
            if found.image is None:  # its URL was chosen when it was added
                return DropReason.NO_URL
            found.url = self._chooser.choose(found.image, found.twin)
        return found.url

    def _find_twins(self) -> None:
        """Mark twins whose alt texts do not contradict each other.

        A noscript that counts visits is no twin: it stands beside any image by chance, and would
        give it its own URL.
        """
        for place, other in self._page.twins.items():
            first, second = self.found[place], self.found[other]
            if first.image is None or second.image is None or first.is_twin or second.is_twin:
                continue
            alts = {_alt(first.image), _alt(second.image)} - {""}
            url = self.url(second)
            counts_visits = declared_size(*second.image.size_px) or (
                isinstance(url, Chosen) and tracker(url.url)
            )
            if len(alts) < 2 and not counts_visits:
                first.twin = second.image
                second.is_twin = True

    def _add_captions(self) -> None:
        """Give the caption of a figure to its images, if they have one URL."""
        urls: dict[int, set[str]] = {}
        for found in self.found:
            if found.image and found.image.figures and not found.is_twin:
                url = self.url(found)
                if isinstance(url, Chosen):
                    for figure in found.image.figures:
                        urls.setdefault(figure, set()).add(url.url)
        captions = {
            figure: read_texts([("figcaption", self._page.captions[figure])])
            for figure, inside in urls.items()
            if len(inside) == 1
        }
        for found in self.found:
            figures = found.image.figures if found.image else ()
            if figures and figures[0] in captions:
                found.texts = merge_texts(found.texts, captions[figures[0]])

    def _merge_twins(self) -> None:
        for place, other in self._page.twins.items():
            if self.found[other].is_twin:
                first = self.found[place]
                first.texts = merge_texts(first.texts, self.found[other].texts)

    def _own_licenses(self, objects: Sequence[ImageObject]) -> dict[str, str]:
        licenses: dict[str, str] = {}
        for each in objects:
            if each.license:
                url = self._chooser.judge(each.url, "jsonld")
                license_url = join_url(self._chooser.base, each.license)
                if isinstance(url, Chosen) and not isinstance(license_url, DropReason):
                    licenses.setdefault(url.url, license_url)
        return licenses

    def _add_named(self, named: Sequence[_Named], max_images: int) -> None:
        """Add images that the page only names, or their texts to the image that is there."""
        known: dict[str, FoundImage] = {}
        for found in self.found:
            url = self.url(found)
            if isinstance(url, Chosen) and not found.is_twin:
                known.setdefault(url.url, found)
        for each in named:
            texts = read_texts([(each.text_source, each.text)])
            url = self._chooser.judge(each.url, each.url_source)
            if isinstance(url, Chosen) and url.url in known:
                found = known[url.url]
                found.texts = merge_texts(found.texts, texts)
            elif len(self.found) >= max_images:
                self.passed_over += 1
            else:
                added = FoundImage(len(self.found), None, texts, url)
                self.found.append(added)
                if isinstance(url, Chosen):
                    known[url.url] = added


def _named_images(
    page: Page, objects: Sequence[ImageObject], sources: Sequence[str]
) -> Iterator[_Named]:
    """Yield the images that metas name, each with the text after it, then those of JSON-LD."""
    for image, url_source, alt in _META_IMAGES:
        url = ""
        for meta in page.metas if alt in sources else ():
            if meta.name == image:
                url = meta.content
            elif meta.name == alt and url:
                yield _Named(url, url_source, alt, meta.content)
                url = ""
    for each in objects if "jsonld" in sources else ():
        if each.text:
            yield _Named(each.url, "jsonld", "jsonld", each.text)


def _alt(image: ImageElement) -> str:
    texts = attribute_texts(image.attributes, ("alt",)).found
    return texts[0].text if texts else ""
