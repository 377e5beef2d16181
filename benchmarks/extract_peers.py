"""The rules of peers, written again from their descriptions, and a bare loop of our libraries."""

import hashlib
import pathlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import ada_url
import turbohtml

from benchmarks.harness import need

Pair = tuple[str, str]
METACLIP_TEXTS = ("alt", "title", "data-image-title")


def plain_warc(path: pathlib.Path) -> list[Pair]:
    """Return (URL, alt) by the simplest rule: warcio, lexbor, `img[src][alt]`, urljoin."""
    parse = need("selectolax.lexbor", "selectolax").LexborHTMLParser
    pairs: list[Pair] = []
    for url, body in _warcio_pages(path):
        for node in parse(body).css("img[src][alt]"):
            attributes = node.attributes
            alt, src = (attributes["alt"] or "").strip(), attributes["src"] or ""
            if alt:
                pairs.append((urljoin(url, src), alt))
    return pairs


def metaclip_warc(path: pathlib.Path) -> list[dict[str, Any]]:
    """Return what MetaCLIP's curation takes of each `img`, before its language detector.

    Three attributes are texts, each URL has a digest, and a text comes once for a URL in the file.
    """
    parse = need("selectolax.lexbor", "selectolax").LexborHTMLParser
    seen: dict[str, set[str]] = {}
    rows: list[dict[str, Any]] = []
    for url, body in _warcio_pages(path):
        for node in parse(body).css("img"):
            attributes = node.attributes
            values = [(name, (attributes.get(name) or "").strip()) for name in METACLIP_TEXTS]
            src = (attributes.get("src") or "").strip()
            if not src:
                continue
            href = urljoin(url, src)
            digest = hashlib.sha224(href.encode("utf-8", "replace")).hexdigest()[:24]
            known = seen.setdefault(digest, set())
            texts = [(name, text) for name, text in values if text and text not in known]
            known.update(text for _, text in texts)
            if texts:
                rows.append({"uuid": digest, "url": href, "texts": texts})
    return rows


def _warcio_pages(path: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    iterate = need("warcio.archiveiterator", "warcio").ArchiveIterator
    with path.open("rb") as file:
        for record in iterate(file):
            head = record.http_headers if record.rec_type == "response" else None
            if head and "html" in (head.get_header("Content-Type") or ""):
                yield (
                    record.rec_headers.get_header("WARC-Target-URI"),
                    record.content_stream().read(),
                )


def cc2dataset_wat(path: pathlib.Path) -> list[tuple[str, str, str, str, str]]:
    """Return cc2dataset's rows (uid, URL, alt, archive, page): FastWARC, simdjson, urljoin, md5."""
    fastwarc = need("fastwarc.warc", "fastwarc")
    load = need("simdjson", "pysimdjson").loads
    rows: list[tuple[str, str, str, str, str]] = []
    kind = fastwarc.WarcRecordType.metadata
    with path.open("rb") as file:
        for record in fastwarc.ArchiveIterator(file, record_types=kind, parse_http=False):
            whole = load(record.reader.read())
            envelope, archive = whole["Envelope"], whole["Container"]["Filename"]
            response = envelope["Payload-Metadata"].get("HTTP-Response-Metadata", {})
            found = response.get("HTML-Metadata")
            if not found or "Links" not in found:
                continue
            page = base = envelope["WARC-Header-Metadata"]["WARC-Target-URI"]
            if "Base" in found.get("Head", {}):
                base = urljoin(page, found["Head"]["Base"])
            for link in found["Links"]:
                if link.get("path") != "IMG@/src" or not link.get("alt"):
                    continue
                src, alt = link["url"], link["alt"]
                if not src.startswith(("http://", "https://")):
                    src = urljoin(base, src)
                if src.startswith(("http://", "https://")):
                    uid = hashlib.md5((alt + src).encode(), usedforsecurity=False).hexdigest()
                    rows.append((uid, src, alt, archive, page))
    return rows


def bare_loop(path: pathlib.Path) -> list[Pair]:
    """Return (URL, alt) by our own libraries without any of our rules."""
    fastwarc = need("fastwarc.warc", "fastwarc")
    pairs: list[Pair] = []
    kind = fastwarc.WarcRecordType.response
    with path.open("rb") as file:
        for record in fastwarc.ArchiveIterator(file, record_types=kind, parse_http=True):
            url = record.headers["WARC-Target-URI"]
            document = turbohtml.parse(record.reader.read(), detect_encoding=True, positions=False)
            for element in document.select("img"):
                src, alt = element.attr("src"), element.attr("alt")
                if src and alt:
                    try:
                        pairs.append((ada_url.join_url(url, src), alt))
                    except ValueError:
                        continue
    return pairs
