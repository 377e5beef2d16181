"""How hosts of the live web are visited; the fields are keys of the table `[fetch]`."""

import dataclasses
import re
from collections.abc import Sequence

from pipeline.visit.address import Network, parse_networks

MIN_CONTACT = re.compile(r"https?://\S+|[^\s@]+@[^\s@]+")
# One class between two fixed marks, each bounded by the next: linear.
_CONNECT_TO = re.compile(r"[^:\s]+:\d{1,5}:[^:\s]+:\d{1,5}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiteGrant:
    """What a site allows us beyond the defaults (`[[fetch.site]]`)."""

    match: str
    """A host, or `*.domain` for a domain and all below it."""
    reason: str
    """Who allowed it, and where that is written; the manifest carries it."""
    lanes: int = 1
    """Parts into which the site's URLs are split, so that several processes share them; its
    connections and rate are divided by them."""
    connections: int = 1
    """Requests at a time to the host, and to its site; `address_connections` holds all the same."""
    delay_s: float | None = None
    """Seconds between two requests; in place of `delay_s` and `delay_factor`."""
    budget: int | None = None
    """URLs of the site; in place of `site_budget`."""

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError(f"reason must say who allowed it for {self.match!r}, got none")
        for name in ("lanes", "connections"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if self.delay_s is not None and not self.delay_s >= 0:
            raise ValueError(f"delay_s must be at least 0, got {self.delay_s!r}")
        if self.budget is not None and not self.budget >= 1:
            raise ValueError(f"budget must be at least 1, got {self.budget!r}")

    def covers(self, host: str) -> bool:
        """Tell whether the grant is for a host."""
        domain = self.match.removeprefix("*.")
        return host == domain or (self.match.startswith("*.") and host.endswith(f".{domain}"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisitSettings:
    """Who we are, how often we ask, and when we give up."""

    contact: str = ""
    """URL or e-mail by which a site reaches whoever runs this; no request is made without it."""
    seed: int = 0
    """Of the order of URLs and the spread of back-offs."""
    delay_s: float = 1.0
    """Least seconds from the end of a request to the next on its host; StormCrawler's."""
    delay_factor: float = 5.0
    """The same in durations of the last request; heritrix's."""
    delay_max_s: float = 30.0
    """Seconds that `delay_factor` leads to at most; heritrix's."""
    crawl_delay_max_s: float = 120.0
    """A longer Crawl-delay pauses the host for the run; Common Crawl's news crawler's."""
    max_in_flight: int = 64
    """Requests at a time, of one process."""
    host_connections: int = 1
    """Requests at a time to one host."""
    site_connections: int = 4
    """To one registered domain; provisional."""
    address_connections: int = 4
    """To one address, from one process; provisional."""
    strikes: int = 3
    """Failures in a row after which a host is left alone for the run; provisional."""
    retry_after_max_s: float = 3600.0
    """A longer Retry-After pauses the host for the run; provisional."""
    site_budget: int = 10_000
    """URLs of one site, the first in order of their hashes; provisional."""
    connect_s: float = 5.0
    """Seconds to connect, TLS included; provisional."""
    first_byte_s: float = 10.0
    """Seconds from there to the first byte of the answer; provisional."""
    total_s: float = 30.0
    """Seconds of all requests for one URL, redirects included; provisional."""
    buffer_bytes: int = 64 << 20
    """Bodies that are not decoded yet, of one process; provisional."""
    max_redirects: int = 5
    """What browsers and RFC 9309 allow."""
    allow_downgrade: bool = False
    """Whether a redirect may lead from https to http."""
    ports: tuple[int, ...] = (80, 443)
    """Ports that are asked."""
    allow_networks: tuple[str, ...] = ()
    """Networks (CIDR) that are open though they are not public: for intranets and tests."""
    connect_to: tuple[str, ...] = ()
    """`HOST:PORT:HOST:PORT`: where to connect instead, as curl's --connect-to: for mirrors and
    tests. The host must not be public; addresses are checked all the same."""
    tls_verify: bool = True
    """Whether certificates are verified; if not, rows carry the flag `tls_unverified`."""
    site: tuple[SiteGrant, ...] = ()
    """What single sites have allowed."""

    def __post_init__(self) -> None:
        for name in _AT_LEAST_1:
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        for name in _AT_LEAST_0:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)!r}")
        if self.contact and not MIN_CONTACT.fullmatch(self.contact):
            raise ValueError(f"contact must be a URL or an e-mail address, got {self.contact!r}")
        for entry in self.connect_to:
            if not _CONNECT_TO.fullmatch(entry):
                raise ValueError(f"connect_to must be HOST:PORT:HOST:PORT, got {entry!r}")
        try:
            parse_networks(self.allow_networks)
        except ValueError as error:
            raise ValueError(f"allow_networks must be networks: {error}") from None

    def networks(self) -> tuple[Network, ...]:
        """Return `allow_networks`, parsed."""
        return parse_networks(self.allow_networks)

    def open_hosts(self) -> frozenset[str]:
        """Return the names that `connect_to` speaks of, and which therefore need no DNS."""
        return frozenset(entry.partition(":")[0] for entry in self.connect_to)

    def grant(self, host: str) -> SiteGrant | None:
        """Return what a host has allowed, the first entry that covers it."""
        return next((grant for grant in self.site if grant.covers(host)), None)

    def lanes(self, host: str) -> int:
        """Return into how many lanes a host's site is split."""
        grant = self.grant(host)
        return grant.lanes if grant else 1


_AT_LEAST_1: Sequence[str] = (
    *("max_in_flight", "host_connections", "site_connections", "address_connections", "strikes"),
    *("site_budget", "buffer_bytes"),
)
_AT_LEAST_0: Sequence[str] = (
    *("delay_s", "delay_factor", "delay_max_s", "crawl_delay_max_s", "retry_after_max_s"),
    *("connect_s", "first_byte_s", "total_s", "max_redirects"),
)
