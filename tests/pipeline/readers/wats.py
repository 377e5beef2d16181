"""WAT records for tests, with the fields that Common Crawl's have."""

import json
from collections.abc import Sequence
from typing import Any

from tests.pipeline.readers.archives import NOW, make_record

PAGE_ID = "<urn:uuid:00000000-0000-0000-0000-0000000000aa>"


def image(url: str, alt: str | None = None, **more: Any) -> dict[str, Any]:
    link = {"path": "IMG@/src", "url": url, **more}
    return link if alt is None else {**link, "alt": alt}


def make_json(
    links: Sequence[Any] = (),
    *,
    url: str = "http://site.example/dir/page",
    kind: str = "response",
    status: Any = "200",
    headers: Any = None,
    head: Any = None,
    html: bool = True,
    **header: Any,
) -> dict[str, Any]:
    """Return the JSON of a page's record; other links stand around the given ones."""
    others = [
        {"path": "A@/href", "url": "/a", "text": "IMG@/src"},
        {"path": "STYLE/#text", "href": "/x"},
    ]
    response = {
        "Response-Message": {"Version": "HTTP/1.1", "Status": status, "Reason": "OK"},
        "Headers": {"Content-Type": "text/html"} if headers is None else headers,
        "Headers-Length": "321",
    }
    if html:
        response["HTML-Metadata"] = {
            "Head": {"Title": "a title"} if head is None else head,
            "Links": [others[0], *links, others[1]],
        }
    return {
        "Container": {"Filename": "a.warc.gz", "Compressed": True, "Offset": "1"},
        "Envelope": {
            "Format": "WARC",
            "WARC-Header-Length": "400",
            "WARC-Header-Metadata": {
                "WARC-Type": kind,
                "WARC-Date": NOW,
                "WARC-Record-ID": PAGE_ID,
                "WARC-Target-URI": url,
                **header,
            },
            "Payload-Metadata": {
                "Actual-Content-Type": "application/http; msgtype=response",
                "HTTP-Response-Metadata": response,
            },
        },
    }


def make_wat(links: Sequence[Any] = (), **settings: Any) -> bytes:
    """Return a page's metadata record."""
    table = make_json(links, **settings)
    return wat_record(json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode())


def wat_record(block: bytes) -> bytes:
    return make_record(block, kind="metadata", fields=["Content-Type: application/json"])
