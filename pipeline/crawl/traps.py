"""URLs without end: what a site can make up for ever is bounded, by the URL alone."""

import hashlib
import re

from filters.urls.domain import site_of
from filters.urls.url_key import url_host, url_path
from filters.verdict import Drop, DropReason

MAX_DEPTH = 8
MAX_SEGMENTS = 20
MAX_SAME_SEGMENT = 3
MAX_PARAMETERS = 8
MAX_QUERY_CHARACTERS = 512
MAX_RUN = 10
"""Segments of a run that may be repeated; there are no more than twice as many."""
_VALUE_CHARACTERS = 256

IGNORED_PARAMETERS = frozenset(
    {
        *("sid", "sessionid", "session_id", "phpsessid", "jsessionid", "aspsessionid", "cfid"),
        *("cftoken", "oscsid", "zenid", "gclid", "gclsrc", "dclid", "fbclid", "msclkid", "yclid"),
        *("mc_cid", "mc_eid", "igshid", "_ga", "_gl", "_hsenc", "_hsmi", "mkt_tok", "vero_id"),
    }
)
"""Names of sessions and of ways by which a reader came; `utm_*`, too. Of the vendors' own
documentation."""
# Single classes: linear.
_DIGITS = re.compile(r"\d+")
_HEX = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{16,}(?![0-9A-Za-z])")
_PATH_SESSION = re.compile(r";jsessionid=[^/?;]*", re.IGNORECASE)


def trap(url: str, depth: int) -> Drop | None:
    """Return why a link is not followed, or None.

    Args:
        url: a URL key.
        depth: links from a seed.
    """
    if depth > MAX_DEPTH:
        return Drop(DropReason.TRAP_DEPTH, depth)
    segments = [segment for segment in url_path(url).split("/") if segment]
    if len(segments) > MAX_SEGMENTS:
        return Drop(DropReason.TRAP_PATH, len(segments))
    if repeated := _repeated(segments):
        return Drop(DropReason.TRAP_REPEAT, repeated[:_VALUE_CHARACTERS])
    query = _query(url)
    if len(query) > MAX_QUERY_CHARACTERS or query.count("&") >= MAX_PARAMETERS:
        return Drop(DropReason.TRAP_QUERY, len(query))
    return None


def shape(url: str) -> str:
    """Return what URLs that differ in numbers only have in common."""
    path = _DIGITS.sub("0", _HEX.sub("h", url_path(url)))
    names = sorted({_DIGITS.sub("0", part.partition("=")[0]) for part in _query(url).split("&")})
    return f"{site_of(url_host(url))}{path}?{'&'.join(names)}"


def seen_key(url: str) -> bytes:
    """Return 16 bytes that are equal for URLs that differ in session and tracker parameters only.

    What is fetched is always the URL as it was found.
    """
    parts = [part for part in _query(url).split("&") if part and not _is_ignored(part)]
    address = _PATH_SESSION.sub("", url.partition("?")[0])
    text = f"{address}?{'&'.join(parts)}" if parts else address
    return hashlib.sha256(text.encode()).digest()[:16]


def _query(url: str) -> str:
    return url.partition("?")[2]


def _is_ignored(part: str) -> bool:
    name = part.partition("=")[0].lower()
    return name in IGNORED_PARAMETERS or name.startswith("utm_")


def _repeated(segments: list[str]) -> str:
    """Return the segment that occurs too often, or the run that follows itself; empty if none."""
    for segment in dict.fromkeys(segments):
        if segments.count(segment) >= MAX_SAME_SEGMENT:
            return segment
    for size in range(2, min(MAX_RUN, len(segments) // 2) + 1):
        for start in range(len(segments) - 2 * size + 1):
            run = segments[start : start + size]
            if run == segments[start + size : start + 2 * size]:
                return "/".join(run)
    return ""
