"""What a scheduler sees of the network: requests in, results out."""

import dataclasses
import re
from collections.abc import Callable
from typing import Literal, Protocol

from filters.verdict import Drop
from pipeline.readers.headers import Headers

Kind = Literal["image", "page", "robots", "tdm"]
Judge = Callable[[int, Headers], Drop | None]
"""Status and headers to why the body is not wanted; asked before any of it is kept."""

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request for one URL; redirects are never followed."""

    key: int
    """Names the request in its result."""
    url: str
    kind: Kind
    total_seconds: float
    """Left for this request."""
    max_bytes: int
    """Of the body, as sent."""
    judge: Judge | None = None
    """If there is one, an announced length above `max_bytes` ends the answer, too, and what came of
    a body that ends early is not wanted; without, the beginning is, however long the rest is."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a request ended."""

    request: Request
    drop: Drop | None
    """Why there is no whole answer, or no body that was wanted; None if there is."""
    is_full: bool = False
    """Whether its address had no room, so that it was not asked at all."""
    status: int = 0
    """0 if there was none."""
    head: bytes = b""
    """The header block as received, up to and with its blank line."""
    body: bytes = b""
    """As sent; chunks are joined unless the fetcher is told to keep them."""
    truncated: Literal["", "length", "time", "disconnect"] = ""
    """Why the body ends early, in WARC's words."""
    ip: str = ""
    """The address that was connected to."""
    started_us: int = 0
    """Microseconds since 1970 UTC."""
    seconds: float = 0.0

    @property
    def headers(self) -> Headers:
        """The fields of the head."""
        return Headers(self.head.partition(b"\n")[2])


def status_of(head: bytes) -> int:
    """Return the status of a header block, 0 if it begins otherwise."""
    found = _STATUS.match(head)
    return int(found[1]) if found else 0


class Fetcher(Protocol):
    """One per process; all calls from one thread."""

    def submit(self, request: Request) -> None:
        """Start a request."""

    def results(self, wait_seconds: float) -> list[Result]:
        """Return what has ended, after at most this long.

        The bodies of one call must be done with before the next: they count as held until then.
        """

    @property
    def has_room(self) -> bool:
        """Whether bodies not yet done with leave room for a further request."""

    def close(self) -> None:
        """End all connections."""
