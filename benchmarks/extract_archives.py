"""Pages as WARC and WAT files: the records, fields and headers that Common Crawl writes of each."""

import gzip
import hashlib
import json
import pathlib
from collections.abc import Iterable

from benchmarks.harness import need

DATE = "2024-05-06T07:08:09Z"
WARCINFO = "<urn:uuid:6cc8ab57-0000-4000-8000-c0df6e1f3a4d>"
FILE_NAME = "CC-MAIN-20240506055811-20240506085811-00000.warc.gz"
IP = "203.0.113.7"
KINDS = {
    "request": "application/http; msgtype=request",
    "response": "application/http; msgtype=response",
    "metadata": "application/warc-fields",
}
ASKED = {
    "User-Agent": "CCBot/2.0 (https://commoncrawl.org/faq/)",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "If-Modified-Since": "Tue, 05 Mar 2024 10:11:12 GMT",
    "Accept-Encoding": "br,gzip",
    "Host": "pages.example",
    "Connection": "Keep-Alive",
}
ANSWERED = {
    "Date": "Mon, 06 May 2024 07:08:09 GMT",
    "Server": "nginx",
    "Content-Type": "text/html; charset=UTF-8",
    "X-Crawl-Transfer-Encoding": "chunked",
    "Connection": "keep-alive",
    "Vary": "Accept-Encoding",
    "X-Powered-By": "PHP/8.1.27",
    "Cache-Control": "max-age=600, must-revalidate",
    "Link": '<http://pages.example/wp-json/>; rel="https://api.w.org/"',
    "Strict-Transport-Security": "max-age=31536000",
    "X-Frame-Options": "SAMEORIGIN",
    "Last-Modified": "Sun, 05 May 2024 21:12:23 GMT",
    "X-Crawl-Content-Encoding": "gzip",
    "X-Crawl-Content-Length": "31415",
}
LANGUAGES = (
    '{"reliable":true,"text-bytes":12345,"languages":[{"code":"en","code-iso-639-3":"eng",'
    '"text-covered":0.99,"score":1138.0,"name":"ENGLISH"}]}'
)
FIELDS = {"fetchTimeMs": "423", "charset-detected": "UTF-8", "languages-cld2": LANGUAGES}
_LINKS = {"a": "href", "img": "src"}


def page_url(name: str) -> str:
    """Return the URL under which a page is put into archives."""
    return f"http://pages.example/{name}"


def write_warc(path: pathlib.Path, pages: Iterable[tuple[str, bytes]]) -> None:
    """Write an archive as Common Crawl does: request, response and metadata of each page."""
    with path.open("wb") as file:
        for name, body in pages:
            url = page_url(name)
            length = {"Content-Length": str(len(body))}
            blocks = {
                "request": _http(f"GET /{name} HTTP/1.1", ASKED),
                "response": _http("HTTP/1.1 200 OK", ANSWERED | length) + body,
                "metadata": _lines(FIELDS).encode(),
            }
            for kind, block in blocks.items():
                file.write(_member(_warc_fields(kind, url, block), block))


def write_wat(path: pathlib.Path, pages: Iterable[tuple[str, bytes]]) -> None:
    """Write what Common Crawl derives from such an archive: of each of its records a JSON."""
    with path.open("wb") as file:
        for name, body in pages:
            url = page_url(name)
            for kind, payload in _payloads(name, body).items():
                found = _wat_json(kind, url, body, payload)
                text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
                block = text.encode("utf-8", "replace")
                fields = {
                    "WARC-Type": "metadata",
                    "WARC-Target-URI": url,
                    "WARC-Date": DATE,
                    "WARC-Record-ID": _record_id(block),
                    "WARC-Refers-To": _record_id(url.encode()),
                    "Content-Type": "application/json",
                    "Content-Length": str(len(block)),
                }
                file.write(_member(fields, block))


def _warc_fields(kind: str, url: str, block: bytes) -> dict[str, str]:
    fields = {
        "WARC-Type": kind,
        "WARC-Date": DATE,
        "WARC-Record-ID": _record_id(block),
        "Content-Length": str(len(block)),
        "Content-Type": KINDS[kind],
        "WARC-Warcinfo-ID": WARCINFO,
        "WARC-Concurrent-To": _record_id(url.encode()),
    }
    if kind == "metadata":
        return fields | {"WARC-Target-URI": url}
    fields |= {"WARC-IP-Address": IP, "WARC-Target-URI": url}
    if kind == "request":
        return fields
    digest = f"sha1:{_sha1(block)[:32].upper()}"
    return fields | {
        "WARC-Payload-Digest": digest,
        "WARC-Block-Digest": digest,
        "WARC-Identified-Payload-Type": "text/html",
    }


def _wat_json(kind: str, url: str, body: bytes, payload: dict[str, object]) -> dict[str, object]:
    inflated = {"Inflated-Length": str(len(body)), "Deflate-Length": str(len(body) // 5)}
    framing = {"Footer-Length": "8", "Inflated-CRC": "-1234567890", "Header-Length": "10"}
    return {
        "Container": {
            "Filename": FILE_NAME,
            "Compressed": True,
            "Offset": "123456789",
            "Gzip-Metadata": inflated | framing,
        },
        "Envelope": {
            "Format": "WARC",
            "WARC-Header-Length": "674",
            "Actual-Content-Length": str(len(body)),
            "Block-Digest": f"sha1:{_sha1(body)[:32].upper()}",
            "WARC-Header-Metadata": _warc_fields(kind, url, body),
            "Payload-Metadata": {
                "Actual-Content-Type": KINDS[kind],
                "Trailing-Slop-Length": "4",
                **payload,
            },
        },
    }


def _payloads(name: str, body: bytes) -> dict[str, dict[str, object]]:
    lengths = {"Headers-Length": "512", "Entity-Trailing-Slop-Length": "0"}
    digest = {"Entity-Digest": "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ"}
    request = {"Method": "GET", "Path": f"/{name}", "Version": "HTTP/1.1"}
    response = {"Status": "200", "Version": "HTTP/1.1", "Reason": "OK"}
    return {
        "request": {
            "HTTP-Request-Metadata": {
                "Request-Message": request,
                "Headers": ASKED,
                "Entity-Length": "0",
                **lengths,
                **digest,
            }
        },
        "response": {
            "HTTP-Response-Metadata": {
                "Response-Message": response,
                "Headers": ANSWERED | {"Content-Length": str(len(body))},
                "HTML-Metadata": _html_metadata(body),
                "Entity-Length": str(len(body)),
                **lengths,
                **digest,
            }
        },
        "metadata": {
            "WARC-Metadata-Metadata": {
                "Metadata-Records": [{"Name": key, "Value": value} for key, value in FIELDS.items()]
            }
        },
    }


def _html_metadata(body: bytes) -> dict[str, object]:
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
    return {"Head": head, "Links": links}


def _http(first: str, fields: dict[str, str]) -> bytes:
    return f"{first}\r\n{_lines(fields)}\r\n".encode()


def _lines(fields: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items())


def _member(fields: dict[str, str], block: bytes) -> bytes:
    head = f"WARC/1.0\r\n{_lines(fields)}\r\n".encode()
    return gzip.compress(head + block + b"\r\n\r\n", 6, mtime=0)


def _record_id(block: bytes) -> str:
    sha1 = _sha1(block)
    return f"<urn:uuid:{sha1[:8]}-0000-4000-8000-{sha1[8:20]}>"


def _sha1(block: bytes) -> str:
    return hashlib.sha1(block, usedforsecurity=False).hexdigest()
