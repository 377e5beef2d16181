"""Block lists: URLs, domains, image bytes and pairs that must not be in a dataset."""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from filters.urls.domain import is_icann_suffix
from filters.urls.url_key import join_url, url_host
from filters.verdict import DropReason

Kind = Literal["url", "domain", "sha256", "pair"]
KEY_BYTES = {"url": 16, "domain": 16, "sha256": 32, "pair": 16}
"""Bytes of an entry's key: digests of URLs and names, the others as they are."""
HEAD_BYTES = 8

_HEX = re.compile("(?:[0-9a-f]{2})*")


def parse_entries(kind: Kind, lines: Iterable[bytes]) -> list[bytes]:
    """Return the keys of a list, sorted, each once.

    Args:
        kind: of the list.
        lines: UTF-8, an entry each; empty ones and those that begin with `#` are passed over.

    Raises:
        ValueError: if a line is no entry; no takedown may be passed over in silence.
    """
    parse = _PARSERS[kind]
    keys: set[bytes] = set()
    for number, line in enumerate(lines, 1):
        try:
            entry = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if entry and not entry.startswith("#"):
                keys.add(parse(entry))
        except ValueError as error:
            raise ValueError(f"line {number}: {line[:100]!r} must be {error}") from None
    return sorted(keys)


def packed(keys: Sequence[bytes]) -> bytes:
    """Return a list's file: the first 8 bytes of each sorted key as numbers, then all the rest."""
    heads = np.frombuffer(b"".join(key[:HEAD_BYTES] for key in keys), ">u8").astype("<u8")
    return heads.tobytes() + b"".join(key[HEAD_BYTES:] for key in keys)


@dataclasses.dataclass(frozen=True, eq=False)
class BlockList:
    """A list that is looked into."""

    kind: Kind
    heads: NDArray[np.uint64]
    """Shape (entries,), ascending; may be mapped from a file."""
    rests: NDArray[np.uint8]
    """Shape (entries, bytes behind the head)."""

    @classmethod
    def of(cls, kind: Kind, data: NDArray[np.uint8]) -> "BlockList":
        """Read what `packed` gave, as bytes in an array."""
        width = KEY_BYTES[kind]
        count = len(data) // width
        heads = data[: HEAD_BYTES * count].view("<u8")
        return cls(kind, heads, data[HEAD_BYTES * count :].reshape(count, width - HEAD_BYTES))

    def holds(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """Return for each key whether it is in the list, shape (keys,)."""
        found = np.zeros(len(keys), np.bool_)
        if not len(self.heads) or not keys:
            return found
        heads = np.frombuffer(b"".join(key[:HEAD_BYTES] for key in keys), ">u8").astype("<u8")
        places = np.searchsorted(self.heads, heads)
        near = np.flatnonzero(self.heads[np.minimum(places, len(self.heads) - 1)] == heads)
        for at in near.tolist():
            place = int(places[at])
            while place < len(self.heads) and self.heads[place] == heads[at] and not found[at]:
                found[at] = self.rests[place].tobytes() == keys[at][HEAD_BYTES:]
                place += 1
        return found

    def blocks_hosts(self, hosts: Sequence[str | None]) -> NDArray[np.bool_]:
        """Return for each host whether a list of domains names it or a domain above it."""
        names = {host: host_keys(host) for host in dict.fromkeys(hosts) if host}
        flat = list(dict.fromkeys(key for keys in names.values() for key in keys))
        blocked = {key for key, is_in in zip(flat, self.holds(flat), strict=True) if is_in}
        bad = {host for host, keys in names.items() if not blocked.isdisjoint(keys)}
        return np.array([host in bad for host in hosts], np.bool_)


def url_entry(href: str) -> bytes:
    """Return the key of what `join_url` returned."""
    return _digest(href)


def host_keys(host: str) -> list[bytes]:
    """Return the keys of all entries that block a host: its own name, and domains from it up."""
    host = host.rstrip(".")
    labels = host.split(".")
    above = [".".join(labels[start:]) for start in range(len(labels))]
    return [_digest(f"={host}"), *map(_digest, above)]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _url(entry: str) -> bytes:
    href = join_url("", entry)
    if isinstance(href, DropReason):
        raise ValueError(f"an http or https URL ({href})")
    return url_entry(href)


def _domain(entry: str) -> bytes:
    name = entry.removeprefix("=")
    href = join_url("", f"http://{name}/")
    host = "" if isinstance(href, DropReason) else url_host(href)
    has_port = ":" in name and not name.startswith("[")
    if not host or has_port or href != f"http://{host}/":
        raise ValueError("a host name")
    host = host.rstrip(".")
    if entry.startswith("="):
        return _digest(f"={host}")
    if is_icann_suffix(host):
        raise ValueError(f"a name below the public suffix {host!r}, or ={host} for that host alone")
    return _digest(host)


def _hex(width: int) -> Callable[[str], bytes]:
    def parse(entry: str) -> bytes:
        if len(entry) != 2 * width or not _HEX.fullmatch(entry.lower()):
            raise ValueError(f"{2 * width} hexadecimal digits")
        return bytes.fromhex(entry)

    return parse


_PARSERS: dict[Kind, Callable[[str], bytes]] = {
    "url": _url,
    "domain": _domain,
    "sha256": _hex(32),
    "pair": _hex(16),
}
