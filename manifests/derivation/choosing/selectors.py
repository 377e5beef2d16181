"""Selectors of `drop`: ids, URLs, domains, hashes; which rows and alternates they name."""

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests.base import storage
from manifests.base.domains import is_public_suffix
from manifests.base.errors import RefusedError
from manifests.format.ids import host_of

Kind = Literal["pair_id", "url", "domain", "sha256", "phash"]
COLUMNS = ("pair_id", "url", "page_url", "alternates", "sha256", "original_sha256", "phash")
MAX_DISTANCE = 16
_HEX = {"pair_id": 32, "sha256": 64, "phash": 16}


@dataclasses.dataclass(frozen=True, order=True)
class Selector:
    """One entry: a kind and its value in canonical form."""

    kind: Kind
    value: str


def parse(kind: Kind, text: str) -> Selector:
    """Read one value; URLs and hosts get their canonical form.

    Raises:
        ValueError: if it is none of that kind, or a public suffix such as `co.uk`.
    """
    import ada_url

    if kind in _HEX:
        if not re.fullmatch(f"[0-9a-f]{{{_HEX[kind]}}}", text.lower()):
            raise ValueError(f"must be {_HEX[kind]} hexadecimal digits, got {text[:100]!r}")
        return Selector(kind, text.lower())
    href = text if kind == "url" else f"http://{text.removeprefix('=')}/"
    try:
        url = ada_url.URL(href)
    except ValueError:
        url = None
    if url is None or url.protocol not in ("http:", "https:"):
        raise ValueError(f"must be an http or https URL or a host, got {text[:100]!r}")
    if kind == "url":
        url.hash = ""
        return Selector(kind, str(url.href).removesuffix("#"))
    host = url.hostname.rstrip(".")
    if href.lower().rstrip("/") and url.href != f"http://{url.hostname}/":
        raise ValueError(f"must be a host name alone, got {text[:100]!r}")
    if not text.startswith("=") and is_public_suffix(host):
        raise ValueError(
            f"{host}: all names below this suffix would go: name domains, or ={host} for that host"
        )
    return Selector(kind, ("=" if text.startswith("=") else "") + host)


def read_file(kind: Kind, path: str) -> list[Selector]:
    """Read a block list: UTF-8, one entry a line, empty lines and `#` comments passed over.

    Raises:
        RefusedError: if a line is no entry; no takedown may be passed over in silence.
    """
    option = f"--{kind.replace('_', '-')}-file {path}"
    found, bad = [], []
    try:
        with storage.open_read(path) as file:
            lines = file.read().decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"{option}: cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        try:
            found.append(parse(kind, entry))
        except ValueError as error:
            bad.append(f"{option}: line {number}: {error}")
    if bad:
        raise RefusedError("\n".join(bad[:20]))
    return found


def collect(
    *, values: Mapping[Kind, Sequence[str] | None], files: Mapping[Kind, str | None]
) -> list[Selector]:
    """Return the selectors of a command line.

    Raises:
        RefusedError: if a value is malformed.
    """
    found = []
    for kind, texts in values.items():
        for text in texts or ():
            try:
                found.append(parse(kind, text))
            except ValueError as error:
                raise RefusedError(f"--{kind.replace('_', '-')}: {error}") from None
    for kind, path in files.items():
        found += read_file(kind, path) if path is not None else []
    return found


class Matcher:
    """Looks selectors up in rows; the cost of a row does not grow with their number."""

    def __init__(self, selectors: Iterable[Selector], *, distance: int = 0) -> None:
        """Prepare; `distance` is the most bits in which a `phash` may differ.

        Raises:
            RefusedError: if the distance is out of range.
        """
        if not 0 <= distance <= MAX_DISTANCE:
            raise RefusedError(f"--distance {distance}: must be from 0 to {MAX_DISTANCE} bits")
        self.selectors = sorted(set(selectors))
        self._distance = distance
        self._known = set(self.selectors)
        self._hashes = [each for each in self.selectors if each.kind == "phash"]
        self._places = functools.lru_cache(maxsize=65_536)(self._find_place)

    def rows(self, table: pa.Table) -> list[Selector | None]:
        """Return for each row, given at least `COLUMNS`, the first selector that names it."""
        columns = {name: table[name].to_pylist() for name in COLUMNS if name != "alternates"}
        near = self._near(columns["phash"])
        return [
            self._exact("pair_id", columns["pair_id"][at])
            or self._exact("sha256", columns["sha256"][at])
            or self._exact("sha256", columns["original_sha256"][at])
            or self.place(columns["url"][at])
            or self.place(columns["page_url"][at])
            or near[at]
            for at in range(len(table))
        ]

    def pair(self, identity: str | None) -> Selector | None:
        """Return the selector that names a pair id, or None."""
        return self._exact("pair_id", identity)

    def place(self, url: str | None) -> Selector | None:
        """Return the selector that names a URL, or a host on it, or None."""
        return self._places(url) if url else None

    def named(self, alternate: dict[str, Any]) -> Selector | None:
        """Return the selector that names an alternate's image or page, or None."""
        return self.place(alternate["url"]) or self.place(alternate["page_url"])

    def _exact(self, kind: Kind, value: str | None) -> Selector | None:
        selector = Selector(kind, value or "")
        return selector if selector in self._known else None

    def _find_place(self, url: str) -> Selector | None:
        host = (host_of(url) or "").rstrip(".")
        labels = host.split(".")
        names = [f"={host}", *(".".join(labels[start:]) for start in range(len(labels)))]
        hits = (self._exact("domain", name) for name in names)
        return self._exact("url", url) or next((hit for hit in hits if hit), None)

    def _near(self, hashes: Sequence[str | None]) -> list[Selector | None]:
        found: list[Selector | None] = [None] * len(hashes)
        if not self._hashes:
            return found
        at = [number for number, text in enumerate(hashes) if text]
        values = _words([str(hashes[number]) for number in at])
        for selector in reversed(self._hashes):
            bits = _distances(values, _words([selector.value]))
            for place in np.flatnonzero(bits <= self._distance).tolist():
                found[at[place]] = selector
        return found


def _words(hashes: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([int(text, 16) for text in hashes], np.uint64)


def _distances(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Count differing bits of 64-bit hashes, shape (n,) against (1,)."""
    parts = (left ^ right).view(np.uint8).reshape(-1, 8)
    counts: NDArray[np.int64] = np.unpackbits(parts, axis=1).sum(axis=1, dtype=np.int64)
    return counts
