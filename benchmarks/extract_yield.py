"""How many pairs of real pages we find that the simplest rule does not, and the other way round.

A pair is a distinct (page, URL) with an alt text. It is usable if somebody could fetch it and see
something: the URL is http(s) and neither the page itself, a certain placeholder nor a tracker, no
attribute declares a pixel or an icon, and the alt is not blank. The same is asked of both sides;
ours drop the others before.
"""

import collections
import pathlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin

import pyarrow.parquet as pq

from benchmarks.extract_archives import page_url, write_warc
from benchmarks.harness import need
from filters.urls.tracking_pixel import declared_size, tracker
from filters.urls.url_key import join_url
from filters.verdict import DropReason
from pipeline.engine.stage_dir import StageRecord
from pipeline.pages.image_url import placeholder
from pipeline.pages.page import ImageElement
from pipeline.pages.texts import read_texts

Pairs = dict[tuple[str, str], str]
"""What is to be said of each (page, URL)."""


def yields(
    folder: pathlib.Path,
    pages: Mapping[str, bytes],
    extract: Callable[[pathlib.Path], StageRecord],
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Compare the pairs of `extract` with those of `img` with src and alt; explain each class."""
    path = folder / "yield.warc.gz"
    write_warc(path, pages.items())
    ours, plain = _ours(extract(path)), _plain(pages)
    usable = {pair for pair, why in plain.items() if not why}
    more = collections.Counter(ours[pair] for pair in ours.keys() - plain.keys())
    less = collections.Counter(plain[pair] or "other" for pair in plain.keys() - ours.keys())
    rows = [
        {"rule": "yield, openwit", "pairs": str(len(ours))},
        {"rule": "yield, img[src][alt]", "pairs": str(len(plain))},
        {"rule": "yield, img[src][alt], usable", "pairs": str(len(usable))},
        *({"rule": f"only ours: {why}", "pairs": str(more[why])} for why in sorted(more)),
        *({"rule": f"only theirs: {why}", "pairs": str(less[why])} for why in sorted(less)),
    ]
    return rows, {
        "yield_ratio": len(ours) / len(usable),
        "yield_ratio_unfiltered": len(ours) / len(plain),
        "yield_lost": float(len(usable - ours.keys())),
    }


def _ours(record: StageRecord) -> Pairs:
    table = pq.read_table(*record.paths("part"), columns=["page_url", "url", "url_source"])
    return {(row["page_url"], row["url"]): row["url_source"] for row in table.to_pylist()}


def _plain(pages: Mapping[str, bytes]) -> Pairs:
    """Return the simplest rule's pairs, and why one is of no use, empty for most."""
    parse = need("selectolax.lexbor", "selectolax").LexborHTMLParser
    found: Pairs = {}
    for name, body in pages.items():
        page = page_url(name)
        for node in parse(body).css("img[src][alt]"):
            attributes = {key: value or "" for key, value in node.attributes.items()}
            url = urljoin(page, attributes["src"].strip())
            if url.startswith(("http://", "https://")) and attributes["alt"].strip():
                key = join_url(page, attributes["src"])
                why = str(key) if isinstance(key, DropReason) else _useless(page, key, attributes)
                found.setdefault((page, url if isinstance(key, DropReason) else key), why)
    return found


def _useless(page: str, url: str, attributes: dict[str, str]) -> str:
    if url == page:
        return "the page itself"
    if placeholder(url) == "certain":
        return "placeholder"
    if tracker(url):
        return "tracker"
    if declared_size(*ImageElement("img", attributes, (), ()).size_px):
        return "declared a pixel or icon"
    return "" if read_texts([("alt", attributes["alt"])]).found else "blank or broken alt"
