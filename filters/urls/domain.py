"""The site of a host: its registered domain, by the public suffix list that tldextract bundles."""

import functools
import re

import tldextract

# One class after the other: linear.
_ADDRESS = re.compile(r"\[.*\]|\d{1,3}(?:\.\d{1,3}){3}")

_RESERVED = frozenset({"local", "localhost", "internal", "home.arpa", "onion", "test", "invalid"})
"""Names that no public host has: RFC 6761, 6762, 7686, 8375 and ICANN's `internal`."""


@functools.cache
def _extractor() -> tldextract.TLDExtract:
    # No address of a list and no cache: it never asks the network and never writes.
    return tldextract.TLDExtract(
        cache_dir=None, suffix_list_urls=(), include_psl_private_domains=True
    )


@functools.cache
def _icann_extractor() -> tldextract.TLDExtract:
    return tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())


@functools.lru_cache(maxsize=65_536)
def site_of(host: str) -> str:
    """Return the registered domain of a host of a parsed URL; private suffixes count.

    An address is its own site; under no listed suffix the last two labels are.

    >>> site_of("img.example.co.uk"), site_of("foo.blogspot.com"), site_of("a.b.corp")
    ('example.co.uk', 'foo.blogspot.com', 'b.corp')
    """
    host = host.rstrip(".")
    if is_address(host):
        return host
    found = _extractor()(host)
    if found.suffix:
        return f"{found.domain}.{found.suffix}" if found.domain else found.suffix
    return ".".join(host.split(".")[-2:])


def is_icann_suffix(host: str) -> bool:
    """Tell whether a host is a suffix under which a registry sells names, such as `co.uk`."""
    return _icann_extractor()(host).suffix == host


def is_address(host: str) -> bool:
    """Tell an address from a name; the host must come from a parsed URL."""
    return _ADDRESS.fullmatch(host) is not None


def is_public_name(host: str) -> bool:
    """Tell whether a host is an address, or a name that can be in the public DNS."""
    host = host.rstrip(".")
    if is_address(host):
        return True
    labels = host.split(".")
    return len(labels) > 1 and not {labels[-1], ".".join(labels[-2:])} & _RESERVED
