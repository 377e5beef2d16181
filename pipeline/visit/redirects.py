"""Where a request may go: hosts, ports, and the next URL of a redirect."""

from collections.abc import Collection

import ada_url

from filters.urls.domain import is_public_name
from filters.urls.url_key import join_url, url_host
from filters.verdict import Drop, DropReason

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_VALUE_CHARACTERS = 256


def check_url(url: str, ports: Collection[int], open_hosts: Collection[str] = ()) -> Drop | None:
    """Return why a URL key is not asked for whoever its host is; before any DNS.

    Args:
        url: what `join_url` returned.
        ports: those that are asked.
        open_hosts: names that are asked though they are not public.
    """
    host = url_host(url)
    if host not in open_hosts and not is_public_name(host):
        return Drop(DropReason.URL_HOST, host[:_VALUE_CHARACTERS])
    port = port_of(url)
    return Drop(DropReason.URL_PORT, port) if port not in ports else None


def port_of(url: str) -> int:
    """Return the port of a URL key."""
    scheme, _, rest = url.partition("://")
    tail = rest.partition("/")[0].rpartition("]")[2].rpartition(":")
    return int(tail[2]) if tail[1] else _DEFAULT_PORTS[scheme]


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL key: the scope of robots.txt."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def path_of(url: str) -> str:
    """Return path and query of a URL key."""
    parsed = ada_url.URL(url)
    return f"{parsed.pathname}{parsed.search}"


def next_url(
    url: str, location: str | None, seen: Collection[str], limit: int, *, downgrade: bool
) -> str | Drop:
    """Return the URL that a redirect leads to, or why it is not followed.

    Args:
        url: the URL key that answered.
        location: its Location, as text of Latin-1 bytes.
        seen: the URLs asked so far, this one among them.
        limit: the most redirects.
        downgrade: whether https may lead to http.
    """
    raw = _as_text(location or "")
    target = join_url(url, raw) if raw else DropReason.URL_INVALID
    if isinstance(target, DropReason):
        return Drop(DropReason.REDIRECT_REFUSED, raw[:_VALUE_CHARACTERS])
    if url.startswith("https:") and target.startswith("http:") and not downgrade:
        return Drop(DropReason.REDIRECT_REFUSED, target)
    if target in seen or len(seen) > limit:
        return Drop(DropReason.REDIRECT_LIMIT, target)
    return target


def _as_text(value: str) -> str:
    """Return a header's bytes as UTF-8 where they are, else as Latin-1."""
    raw = value.encode("latin-1", "replace")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return value
