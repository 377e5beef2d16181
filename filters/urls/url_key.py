"""Identity of a URL: parsed once, by ada, to the href that is both the key and what is fetched."""

import re

import ada_url

from filters.verdict import DropReason

MAX_URL_CHARACTERS = 2_083
"""A longer href is dropped: the longest that browsers ever agreed on."""

# Most URLs: the parser gives them back as they are, in ten times the time of this linear pattern.
_PLAIN = re.compile(r"https?://[a-z0-9.-]*\.[a-z]+/[\w~!$&()*+,;=:@./?-]*", re.ASCII)


def join_url(base: str, raw: str) -> str | DropReason:
    """Return the absolute WHATWG href without its fragment, or why there is none.

    Query, case, escapes and scheme stay as they are; no parameter is ever removed. Nothing later
    parses the URL with another library.

    Args:
        base: the absolute URL that a relative `raw` belongs to; empty if `raw` must be absolute.
        raw: the URL as found; the parser strips blanks, tabs and line ends as browsers do.

    Returns:
        The href, at most `MAX_URL_CHARACTERS`, or one of the `url_*` reasons.
    """
    if _PLAIN.fullmatch(raw) and "/." not in raw and "xn--" not in raw:
        return raw if len(raw) <= MAX_URL_CHARACTERS else DropReason.URL_TOO_LONG
    try:
        href: str = ada_url.join_url(base, raw) if base else ada_url.normalize_url(raw)
    except ValueError:  # also lone surrogates, which have no UTF-8
        return DropReason.URL_INVALID
    if not href.startswith(("https://", "http://")):
        return DropReason.URL_SCHEME
    if "@" in href and "@" in href.split("/", 3)[2]:
        return DropReason.URL_USERINFO
    if "#" in href:  # in a serialized URL the first one begins the fragment
        href = href[: href.index("#")]
    return DropReason.URL_TOO_LONG if len(href) > MAX_URL_CHARACTERS else href


def url_host(href: str) -> str:
    """Return the host of what `join_url` returned, without port."""
    host, bracket, _ = href.split("/", 3)[2].partition("]")  # the end of an IPv6 address
    return host + bracket if bracket else host.partition(":")[0]


def url_path(href: str) -> str:
    """Return the path of what `join_url` returned, from its `/`, without the query."""
    return "/" + href.split("/", 3)[3].partition("?")[0]
