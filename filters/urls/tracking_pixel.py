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
    path = url_path(href) + "/"  # a line's path is whole segments
    for beginning, line in _beginnings(url_host(href)):
        if path.startswith(beginning):
            return Drop(DropReason.TRACKER, line)
    for segment, line in _rules()[""]:
        if segment in path:
            return Drop(DropReason.TRACKER, line)
    return None


def tracker_beginnings() -> list[str]:
    """Return strings of which each URL of a tracker holds one, if it has a host name and no port.

    They stand in other URLs too: for a first look at many.
    """
    domains = (line for domain, lines in _rules().items() if domain for line in lines)
    lines = [line if "/" in line else f"{line}/" for _, line in domains]
    return [*lines, *(segment[:-1] for segment, _ in _rules()[""])]


def tracker_list_sha256() -> str:
    """Return the digest of the bundled list: a stage that uses it has it among its parameters."""
    return hashlib.sha256(_list_bytes()).hexdigest()


def _size_text(width_px: int | None, height_px: int | None) -> str:
    return f"{'?' if width_px is None else width_px}x{'?' if height_px is None else height_px}"


def _list_bytes() -> bytes:
    return importlib.resources.files("filters.data").joinpath("trackers.txt").read_bytes()


@functools.cache
def _rules() -> dict[str, list[tuple[str, str]]]:
    """Return (beginning of paths, line) by domain; for any domain, the empty one, a segment."""
    rules: dict[str, list[tuple[str, str]]] = {"": []}
    for line in _list_bytes().decode().splitlines():
        if line and not line.startswith("#"):
            domain, _, path = line.partition("/")
            rules.setdefault(domain, []).append((f"/{path}/" if path else "/", line))
    return rules


@functools.lru_cache(maxsize=4096)
def _beginnings(host: str) -> list[tuple[str, str]]:
    """Return the rules of a host and of the domains above it."""
    found: list[tuple[str, str]] = []
    while host:
        found += _rules().get(host, ())
        host = host.partition(".")[2]
    return found
