"""Pages, real or made, as WARC and WAT files."""

import gzip
import hashlib
import html
import json
import pathlib
import re
import tarfile
from collections.abc import Iterable, Iterator

from benchmarks.harness import MissingError, need
from pipeline.pages.image_url import STRONG_LAZY

DATE = "2024-05-06T07:08:09Z"
SUFFIXES = (".html", ".htm")
_ALT = re.compile(rb"""(\balt=["'])(?=[^"'])""")
WORDS = re.findall(
    "[a-z]+",
    "the of and to in is on for as with was at by from that this river house market garden "
    "winter morning picture city train window light music",
)


def load_pages(source: str) -> dict[str, bytes]:
    """Return the HTML files of a folder or tar by name, sorted.

    Raises:
        MissingError: if there are none.
    """
    path = pathlib.Path(source)
    if path.is_dir():
        found = {
            str(file.relative_to(path)): file.read_bytes()
            for file in path.rglob("*")
            if file.suffix in SUFFIXES
        }
    elif path.is_file():
        with tarfile.open(path) as archive:
            files = [each for each in archive if each.isfile() and each.name.endswith(SUFFIXES)]
            found = {each.name: _content(archive, each) for each in files}
    else:
        found = {}
    if not found:
        raise MissingError(f"--pages {source}: no HTML files: name a folder or tar that has some")
    return dict(sorted(found.items()))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


def make_pages(count: int, scale: int = 1) -> dict[str, bytes]:
    """Return made pages; a scale of 20 has the size, links and images of an article's page."""
    return {f"made/{number}.html": _page(number, scale) for number in range(count)}


def _page(number: int, scale: int) -> bytes:
    noise = hashlib.shake_256(str(number).encode()).digest(4000)
    text = [WORDS[byte % len(WORDS)] for byte in noise]
    parts = [f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{number}</title>"]
    parts += [f'<meta property="x:{n}" content="{" ".join(text[n : n + 9])}">' for n in range(20)]
    script = (noise.hex() * 8)[: 1500 * scale]
    parts += [f"<script>var s{n} = {json.dumps(script)};</script>" for n in (1, 2)]
    parts.append("<body>")
    for n in range(scale):
        links = "".join(
            f'<li class="item item-{k}"><a href="/{text[k]}/{n}?p={k}"><span>{text[k]}</span></a>'
            for k in range(8)
        )
        alt = html.escape(" ".join(text[n * 7 : n * 7 + 5])) if n % 3 else ""
        parts.append(
            f"<ul>{links}</ul><div class=row><p>{' '.join(text[n * 11 : n * 11 + 120])}</p>"
            f'<img class=photo src="../img/{number}-{n}.jpg?w=640" alt="{alt}" width=640>'
            f"<p>{' '.join(text[n * 5 : n * 5 + 60])}</p></div>"
        )
    return "\n".join(parts).encode()


def page_url(name: str) -> str:
    """Return the URL under which a page is put into archives."""
    return f"http://pages.example/{name}"


def write_warc(path: pathlib.Path, pages: Iterable[tuple[str, bytes]]) -> None:
    """Write an archive as Common Crawl does: request, response and metadata of each page."""
    with path.open("wb") as file:
        for name, body in pages:
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-Crawl-Content-Encoding: gzip\r\n"
            )
            block = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
            url = page_url(name)
            request = b"GET / HTTP/1.1\r\nHost: pages.example\r\n\r\n"
            file.write(_member("request", url, "application/http; msgtype=request", request))
            file.write(_member("response", url, "application/http; msgtype=response", block))
            file.write(_member("metadata", url, "application/warc-fields", b"fetchTimeMs: 1\r\n"))


def write_wat(path: pathlib.Path, pages: Iterable[tuple[str, bytes]]) -> None:
    """Write what Common Crawl derives from such an archive."""
    with path.open("wb") as file:
        for name, body in pages:
            found = _wat_json(page_url(name), body)
            text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
            block = text.encode("utf-8", "replace")
            file.write(_member("metadata", page_url(name), "application/json", block))


def _member(kind: str, url: str, content_type: str, block: bytes) -> bytes:
    sha1 = hashlib.sha1(block, usedforsecurity=False).hexdigest()
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Date: {DATE}\r\n"
        f"WARC-Record-ID: <urn:uuid:{sha1[:8]}-0000-4000-8000-{sha1[8:20]}>\r\n"
        f"Content-Length: {len(block)}\r\nContent-Type: {content_type}\r\n"
        f"WARC-Block-Digest: sha1:{sha1}\r\nWARC-Target-URI: {url}\r\n\r\n"
    )
    return gzip.compress(head.encode() + block + b"\r\n\r\n", 6, mtime=0)


_LINKS = {"a": "href", "img": "src", "link": "href", "script": "src", "form": "action"}


def _wat_json(url: str, body: bytes) -> dict[str, object]:
    parser = need("selectolax.lexbor", "selectolax").LexborHTMLParser(body)
    metas = [node.attributes for node in parser.css("meta")]
    links = []
    for node in parser.css("a[href], img[src]"):
        attributes = {name: value or "" for name, value in node.attributes.items()}
        name = _LINKS[node.tag]
        link = {"path": f"{node.tag.upper()}@/{name}", "url": attributes[name]}
        if node.tag == "a":
            link["text"] = node.text(strip=True)[:200]
        link |= {k: attributes[k] for k in ("alt", "title", "rel", "target") if k in attributes}
        links.append(link)
    head = {
        "Title": (parser.css_first("title") or parser.root).text()[:200],
        "Metas": [{k: v or "" for k, v in meta.items()} for meta in metas],
        "Link": [dict(node.attributes) for node in parser.css("link")],
        "Scripts": [{"url": node.attributes["src"]} for node in parser.css("script[src]")],
    }
    response = {
        "Response-Message": {"Version": "HTTP/1.1", "Status": "200", "Reason": "OK"},
        "Headers": {"Content-Type": "text/html", "Server": "nginx", "Date": DATE},
        "HTML-Metadata": {"Head": head, "Links": links},
        "Entity-Digest": "sha1:AAAA",
    }
    header = {
        "WARC-Type": "response",
        "WARC-Target-URI": url,
        "WARC-Date": DATE,
        "WARC-Record-ID": "<urn:uuid:00000000-0000-0000-0000-000000000001>",
        "Content-Type": "application/http; msgtype=response",
    }
    return {
        "Container": {"Filename": "made.warc.gz", "Compressed": True, "Offset": "0"},
        "Envelope": {
            "Format": "WARC",
            "WARC-Header-Metadata": header,
            "Payload-Metadata": {"HTTP-Response-Metadata": response},
        },
    }


def repeated(pages: dict[str, bytes], times: int) -> Iterator[tuple[str, bytes]]:
    """Yield all pages so many times, each under a name and with alt texts of its own."""
    for number in range(times):
        for name, body in pages.items():
            yield f"{number}/{name}", _ALT.sub(rb"\g<1>%d " % number, body) if number else body


def hostile_pages() -> dict[str, bytes]:
    """Return pages made to be expensive."""
    marks = "a" + "\u0301\u0327" * 4000
    placeholders = ",".join(f"{number}/1x1.gif {number + 1}w" for number in range(256))
    sources = f'<source srcset="{placeholders}">' * 64
    lazy = " ".join(f"{name}=1x1.gif" for name in STRONG_LAZY)
    return {
        "nested": b"<div>" * 100_000 + b"<img src=a.jpg alt=x>",
        "attributes": b"<img " + b" ".join(b"a%d=1" % n for n in range(100_000)) + b" src=a alt=b>",
        "images": b"<img src=a.jpg alt=x>" * 240_000,
        "long alt": b'<img src=a.jpg alt="' + b"word " * 4_000_000 + b'">',
        "open quote": b'<img src=a.jpg alt="' + b"<img src=b.jpg alt=x>" * 200_000,
        "open comment": b"<!--" + b"<img src=b.jpg alt=x>" * 200_000,
        "plaintext": b"<plaintext>" + b"<img src=b.jpg alt=x>" * 200_000,
        "NULs": bytes(5 << 20),
        "marks": "".join(f'<img src={n}.jpg alt="{marks}">' for n in range(300)).encode(),
        "srcset": b'<img alt=x srcset="' + b"a.jpg 1w, " * 400_000 + b'">',
        "parentheses": b'<img alt=x srcset="' + b"a (" * 1_000_000 + b'">',
        "figures": b"<figure><figcaption>x</figcaption><img src=a.jpg alt=x>" * 60_000,
        "noscripts": b"<img src=a.gif alt=x><noscript><img src=b.jpg></noscript>" * 80_000,
        "pictures": b"<picture><source srcset=a.jpg><img alt=x></picture>" * 90_000,
        "one picture": f"<picture>{sources}{'<img alt=x>' * 10_000}</picture>".encode(),
        "lazy": f"<img alt=x {lazy}>".encode() * 10_000,
        "formatting": b"<b><i><u><a href=x><font>" * 40_000 + b"<img src=a.jpg alt=x>",
        "tables": b"<table><td>" * 60_000 + b"<img src=a.jpg alt=x>" * 1000,
    }
