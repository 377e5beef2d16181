"""Registered domains and public suffixes, by the list that tldextract brings; no network."""

import functools
import re
from typing import Any

# One class after the other: linear.
_ADDRESS = re.compile(r"\[.*\]|[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


@functools.cache
def _extractor() -> Any:
    import tldextract

    # No address of a list and no cache: it never asks the network and never writes.
    return tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())


def registered_domain(host: str) -> str:
    """Return the domain that a registry sold; an address or an unknown name stands for itself.

    >>> registered_domain("img.example.co.uk"), registered_domain("10.0.0.1")
    ('example.co.uk', '10.0.0.1')
    """
    if _ADDRESS.fullmatch(host):
        return host
    found = _extractor()(host)
    return f"{found.domain}.{found.suffix}" if found.domain and found.suffix else host


def is_public_suffix(host: str) -> bool:
    """Tell whether a host is a suffix under which a registry sells names, such as `co.uk`."""
    return bool(_extractor()(host).suffix == host)
