"""Images that count visits: declared sizes that show nothing, and the bundled tracker list."""

import functools
import hashlib
import importlib.resources

from filters.urls.url_key import url_host, url_path
from filters.verdict import Drop, DropReason

MAX_PIXEL_PX = 1
"""A width or height attribute up to this is a tracking pixel or a spacer."""
MIN_DECLARED_PX = 16
"""Two attributes below this are an icon."""


def declared_size(width_px: int | None, height_px: int | None) -> Drop | None:
    """Drop an image whose attributes declare a pixel or an icon; None is "not declared"."""
    known = [side for side in (width_px, height_px) if side is not None]
    if known and min(known) <= MAX_PIXEL_PX:
        return Drop(DropReason.PIXEL_DECLARED, _size_text(width_px, height_px))
    if len(known) == 2 and max(known) < MIN_DECLARED_PX:
        return Drop(DropReason.TINY_DECLARED, _size_text(width_px, height_px))
    return None


def tracker(href: str) -> Drop | None:
    """Drop an image of the tracker list; `href` is what `join_url` returned.

    The value is the line of the list that decided.
    """
    domains, paths, segments = _rules()
    host, path = url_host(href), url_path(href)
    while host:
        if host in domains:
            return Drop(DropReason.TRACKER, host)
        for beginning in paths.get(host, ()):
            if path == beginning or path.startswith(beginning + "/"):
                return Drop(DropReason.TRACKER, host + beginning)
        host = host.partition(".")[2]
    if segments.isdisjoint(path.split("/")):
        return None
    return Drop(DropReason.TRACKER, "/" + min(segments.intersection(path.split("/"))))


def tracker_list_sha256() -> str:
    """Return the digest of the bundled list: a stage that uses it has it among its parameters."""
    return hashlib.sha256(_list_bytes()).hexdigest()


def _size_text(width_px: int | None, height_px: int | None) -> str:
    return f"{'?' if width_px is None else width_px}x{'?' if height_px is None else height_px}"


def _list_bytes() -> bytes:
    return importlib.resources.files("filters.data").joinpath("trackers.txt").read_bytes()


@functools.lru_cache(maxsize=1)
def _rules() -> tuple[frozenset[str], dict[str, tuple[str, ...]], frozenset[str]]:
    lines = [line.strip() for line in _list_bytes().decode().splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    paths: dict[str, tuple[str, ...]] = {}
    for line in lines:
        domain, slash, rest = line.partition("/")
        if domain and slash:
            paths[domain] = (*paths.get(domain, ()), "/" + rest)
    domains = frozenset(line for line in lines if "/" not in line)
    return domains, paths, frozenset(line[1:] for line in lines if line.startswith("/"))
