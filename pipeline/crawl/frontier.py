"""Which URLs a round visits: links of the round before, less seen ones, traps, over budget."""

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.urls.domain import site_of
from filters.urls.url_key import url_host
from filters.verdict import Drop, DropReason
from pipeline.crawl.settings import CrawlSettings
from pipeline.crawl.traps import seen_key, shape, trap
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.steps import Packet, top_bits
from pipeline.engine.units import Unit
from pipeline.visit.pace import priority

FRONTIER = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("depth", pa.int8(), nullable=False),
        ("page", pa.string()),
        pa.field("prio", pa.binary(8), nullable=False),
    ]
)
"""A URL to visit, `page` or `image`, and the page that names it."""

VISITED = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("final_url", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("depth", pa.int8(), nullable=False),
        ("status", pa.int16()),
        ("content_type", pa.string()),
        ("warc", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("started", pa.timestamp("us", tz="UTC")),
        ("outcome", pa.string()),
        ("value", pa.string()),
        pa.field("links", pa.list_(pa.string()), nullable=False),
        pa.field("images", pa.list_(pa.string()), nullable=False),
    ]
)
"""A URL that was visited: how it ended, where it is recorded, what it leads to."""

LINKS = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("depth", pa.int8(), nullable=False),
        ("page", pa.string()),
    ]
)
SEEN = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("is_page", pa.bool_(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)
_SITE_BYTES = 8


def url_buckets(urls: Iterable[str], buckets: int) -> Any:
    """Return the bucket of each URL: by its site, so that a site is in one."""
    sites = [site_of(url_host(url)).encode() for url in urls]
    digests = [hashlib.blake2b(site, digest_size=_SITE_BYTES).digest() for site in sites]
    return top_bits(pa.array(digests, pa.binary(_SITE_BYTES)), buckets)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrontierKernel:
    """One round's choice, site by site."""

    buckets: int
    settings: CrawlSettings
    seed: int
    takes_pages: bool
    """False for the round of images after the last one of pages."""

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Yield the links of the round before, or what earlier rounds have seen."""
        for source in unit.sources:
            for batch in read_batches(source.path):
                if source.role == "seeds":
                    yield from self._packets("link", batch)
                else:
                    yield from self._packets("seen", seen_rows(batch))
                    if source.role == "last":
                        yield from self._packets("link", link_rows(batch, self.takes_pages))

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Choose the smallest (depth, prio) of each site."""
        state = _Sites(self.settings, tables["seen"].to_pylist())
        chosen: dict[bytes, dict[str, Any]] = {}
        links = tables["link"].to_pylist()  # by depth, page, URL
        sink.rows_in(len(links))
        for link in links:
            key = seen_key(link["url"])
            if key not in state.keys and key not in chosen:
                chosen[key] = {**link, "prio": priority(link["url"], self.seed)}
        rows = sorted(chosen.values(), key=lambda row: (row["depth"], row["prio"], row["url"]))
        kept = []
        for row in rows:
            drop = self._verdict(state, row)
            if drop is None:
                kept.append(row)
            else:
                sink.count_drop(drop.reason.value)
        sink.write(pa.RecordBatch.from_pylist(kept, schema=FRONTIER))
        sink.note("repeated", len(links) - len(rows))
        sink.note("pages", sum(row["kind"] == "page" for row in kept))

    def _packets(self, tag: str, batch: pa.RecordBatch) -> Iterable[Packet]:
        if batch.num_rows:
            yield Packet(tag, url_buckets(batch["url"].to_pylist(), self.buckets), batch)

    def _verdict(self, state: "_Sites", row: dict[str, Any]) -> Drop | None:
        if row["kind"] == "image":
            return state.take_image(row["url"])
        return trap(row["url"], row["depth"]) or state.take_page(row["url"])


class _Sites:
    """What is known of the sites of a bucket."""

    def __init__(self, settings: CrawlSettings, seen: list[dict[str, Any]]) -> None:
        self._settings = settings
        self.keys = {seen_key(row["url"]) for row in seen}
        self._pages: collections.Counter[str] = collections.Counter()
        self._bytes: collections.Counter[str] = collections.Counter()
        self._shapes: collections.Counter[str] = collections.Counter()
        for row in seen:
            site = site_of(url_host(row["url"]))
            self._bytes[site] += row["bytes"]
            if row["is_page"]:
                self._pages[site] += 1
                self._shapes[shape(row["url"])] += 1

    def take_page(self, url: str) -> Drop | None:
        """Count a page, or say what it exceeds."""
        site, kind = site_of(url_host(url)), shape(url)
        if self._shapes[kind] >= self._settings.per_shape:
            return Drop(DropReason.TRAP_SHAPE, kind)
        if self._pages[site] >= self._settings.pages_per_site:
            return Drop(DropReason.BUDGET_SITE)
        drop = self._over_bytes(site)
        if drop is None:
            self._shapes[kind] += 1
            self._pages[site] += 1
        return drop

    def take_image(self, url: str) -> Drop | None:
        """Say whether an image exceeds its site's bytes."""
        return self._over_bytes(site_of(url_host(url)))

    def _over_bytes(self, site: str) -> Drop | None:
        is_over = self._bytes[site] >= self._settings.bytes_per_site
        return Drop(DropReason.BUDGET_BYTES) if is_over else None


def link_rows(batch: pa.RecordBatch, takes_pages: bool) -> pa.RecordBatch:
    """Return the images of `VISITED` rows as `LINKS`, with the links to pages if so asked."""
    rows = []
    names = ("final_url", "depth", "links", "images")
    for page, depth, links, images in zip(*(batch[n].to_pylist() for n in names), strict=True):
        for kind, urls in (("page", links if takes_pages else []), ("image", images)):
            rows += [{"url": u, "kind": kind, "depth": depth + 1, "page": page} for u in urls]
    return pa.RecordBatch.from_pylist(rows, schema=LINKS)


def seen_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return `VISITED` rows as `SEEN`: the URL that was asked for, and where it led."""
    rows = []
    names = ("url", "final_url", "kind", "length")
    for url, final, kind, length in zip(*(batch[n].to_pylist() for n in names), strict=True):
        rows.append({"url": url, "is_page": kind == "page", "bytes": length or 0})
        if final != url:
            rows.append({"url": final, "is_page": False, "bytes": 0})
    return pa.RecordBatch.from_pylist(rows, schema=SEEN)


def prio_limit(prios: list[NDArray[np.uint64]], most: int) -> bytes | None:
    """Return the first priority that is left out if only `most` URLs are visited.

    Args:
        prios: big-endian 64-bit integers, by part.
        most: URLs.

    Returns:
        8 bytes, or None if all are visited.
    """
    joined = np.concatenate(prios) if prios else np.zeros(0, ">u8")
    if len(joined) <= most:
        return None
    return int(np.partition(joined.astype(np.uint64), most)[most]).to_bytes(8, "big")
