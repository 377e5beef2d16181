"""What a recorded answer says of further visits: links, images, and whether it may be kept."""

import dataclasses
import re

from filters.consent.decision import ConsentSettings, blocked_by
from filters.consent.marks import header_signals
from filters.consent.path_pattern import PathPattern, asked_path
from filters.urls.domain import site_of
from filters.urls.url_key import join_url, url_host
from filters.verdict import Drop, DropReason
from pipeline.crawl.settings import CrawlSettings
from pipeline.pages.charset import header_charset
from pipeline.pages.consent_marks import ROBOTS_NAMES, page_signals
from pipeline.pages.html import parse_page
from pipeline.pages.image_elements import CandidateRules, PageImages, resolve_base
from pipeline.pages.image_url import Chosen
from pipeline.pages.page import Page, PageLimits
from pipeline.readers.body import decode_body
from pipeline.readers.headers import Headers, media_type
from pipeline.readers.reasons import Fault
from pipeline.visit.fetcher import Result
from pipeline.visit.redirects import path_of

MAX_LINKS = 2_000
"""Of one page; provisional."""
HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
# Words between anything but letters: linear.
_NO_ARCHIVE = re.compile(r"(?<![a-z])noarchive(?![a-z])", re.IGNORECASE)
_NO_FOLLOW = re.compile(r"(?<![a-z])(?:nofollow|none)(?![a-z])", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """Which links are followed."""

    kind: str
    places: frozenset[str]
    """Hosts, sites or beginnings of URLs, as the kind says."""
    include: tuple[PathPattern, ...]
    exclude: tuple[PathPattern, ...]

    def covers(self, url: str) -> bool:
        """Tell whether a URL is in the scope."""
        if not self._is_placed(url):
            return False
        if not self.include and not self.exclude:
            return True
        path = asked_path(path_of(url).encode())
        is_included = not self.include or any(rule.matches(path) for rule in self.include)
        return is_included and not any(rule.matches(path) for rule in self.exclude)

    def _is_placed(self, url: str) -> bool:
        if self.kind == "prefix":
            return url.startswith(tuple(self.places))
        if self.kind == "host":
            return url_host(url) in self.places
        return self.kind == "any" or site_of(url_host(url)) in self.places


def scope_of(settings: CrawlSettings, seeds: list[str]) -> Scope:
    """Return the scope that the seeds span."""
    return Scope(
        settings.scope,
        frozenset(_place(settings.scope, url) for url in seeds),
        tuple(PathPattern.parse(text.encode()) for text in settings.include),
        tuple(PathPattern.parse(text.encode()) for text in settings.exclude),
    )


def _place(kind: str, url: str) -> str:
    if kind == "prefix":
        return url.partition("?")[0].rpartition("/")[0] + "/"
    host = url_host(url)
    return host if kind == "host" else site_of(host) if kind == "site" else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a page leads to."""

    links: tuple[str, ...] = ()
    """URL keys within the scope, each once."""
    images: tuple[str, ...] = ()
    images_over: int = 0
    """Images beyond `crawl.images_per_page`."""
    mark: str = ""
    """Why the page may not be kept; empty if it may."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageReader:
    """Reads pages by the rules of `extract`, so that both choose the same images."""

    settings: CrawlSettings
    scope: Scope
    rules: CandidateRules
    limits: PageLimits
    consent: ConsentSettings

    def judge(self, status: int, headers: Headers) -> Drop | None:
        """Return why a page's body is not read: it is no HTML, or its headers opt out."""
        if status != 200:
            return None
        kind = media_type(headers.get("content-type"))
        if kind not in HTML_TYPES:
            return Drop(DropReason.FORMAT_REFUSED, kind[:64])
        mark = self.header_mark(headers)
        return Drop(DropReason.OPTOUT_PAGE, mark) if mark else None

    def header_mark(self, headers: Headers) -> str:
        """Return why headers forbid to keep an answer; empty if they do not."""
        if any(_NO_ARCHIVE.search(value) for value in headers.all("x-robots-tag")):
            return "x-robots-tag:noarchive"
        marks = header_signals(headers.all, self.consent.content_usage_keys).marks
        drop = blocked_by(marks, self.consent)
        return str(drop.value) if drop else ""

    def read(self, result: Result) -> Found:
        """Return what a page leads to, and whether it may be kept."""
        headers = result.headers
        body = decode_body(
            result.body,
            headers.all("transfer-encoding"),
            headers.all("content-encoding"),
            self.settings.max_page_bytes,
        )
        if isinstance(body, Fault) or not body.data:
            return Found()
        charset = header_charset(headers.all("content-type"))
        page = parse_page(body.data, charset, self.limits, self.rules.text_sources)
        if page is None:
            return Found()
        url = result.request.url
        images, over = self._images(page, url)
        links = () if self._is_nofollow(page, headers) else self._links(page, url)
        return Found(links, images, over, self._mark(page, headers))

    def _mark(self, page: Page, headers: Headers) -> str:
        header = header_signals(headers.all, self.consent.content_usage_keys)
        drop = blocked_by(page_signals(header, page.metas).marks, self.consent)
        if drop:
            return str(drop.value)
        stated = (meta.content for meta in page.metas if meta.name in ROBOTS_NAMES)
        return "robots:noarchive" if any(map(_NO_ARCHIVE.search, stated)) else ""

    def _is_nofollow(self, page: Page, headers: Headers) -> bool:
        stated = [meta.content for meta in page.metas if meta.name in ROBOTS_NAMES]
        return any(map(_NO_FOLLOW.search, [*stated, *headers.all("x-robots-tag")]))

    def _links(self, page: Page, url: str) -> tuple[str, ...]:
        base = resolve_base(page, url)
        found = (join_url(base, href) for href in page.links)
        keys = dict.fromkeys(each for each in found if not isinstance(each, DropReason))
        return tuple(key for key in keys if key != url and self.scope.covers(key))

    def _images(self, page: Page, url: str) -> tuple[tuple[str, ...], int]:
        if self.settings.images == "none":
            return (), 0
        images = PageImages(page, url, self.rules)
        chosen = (images.url(each) for each in images.found)
        keys = dict.fromkeys(each.url for each in chosen if isinstance(each, Chosen))
        site = site_of(url_host(url))
        wanted = [
            key for key in keys if self.settings.images == "all" or site_of(url_host(key)) == site
        ]
        most = self.settings.images_per_page
        return tuple(wanted[:most]), max(0, len(wanted) - most)
