"""The only module that knows pycurl: requests on one CurlMulti, guarded address by address.

One thread drives everything: transfers go on inside `results`, and wait in the kernel's buffers
while the caller decodes.
"""

import collections
import ipaddress
import socket
import time
from typing import Any

import certifi
import pycurl

from filters.verdict import Drop
from manifests.base.version import __version__
from pipeline.visit.address import is_refused
from pipeline.visit.fetcher import Kind, Request, Result
from pipeline.visit.settings import VisitSettings
from pipeline.visit.transfer import Transfer

SLOW_BYTES_PER_SECOND = 1_000
SLOW_SECONDS = 5
BACKSTOP_FACTOR = 4
"""libcurl's own deadline in times of ours: it also runs while a transfer is paused."""
CLOCK_SECONDS = 0.1
"""How often deadlines are looked at while nothing comes in."""
DNS_SECONDS = 3_600
KEPT_CONNECTIONS = 256
"""Idle ones that may be used again, of one process."""

_ACCEPT: dict[Kind, list[str]] = {
    "image": [
        "Accept: image/jpeg, image/png;q=0.9, image/webp;q=0.8, */*;q=0.1",
        "Accept-Encoding: identity",
    ],
    "page": ["Accept: text/html, application/xhtml+xml", "Accept-Encoding: gzip, br"],
    "robots": ["Accept: text/plain, */*;q=0.1", "Accept-Encoding: identity"],
    "tdm": ["Accept: application/json, */*;q=0.1", "Accept-Encoding: identity"],
}


_BODY_CODES: dict[str, int | None] = {
    "kept": None,
    "ended": 0,
    "paused": int(pycurl.WRITEFUNC_PAUSE),
}


class _Socket(socket.socket):
    """Handed to libcurl, which works on a duplicate: closed as soon as pycurl lets go of it."""

    def __del__(self) -> None:
        self.close()


def user_agent(contact: str) -> str:
    """Return what we call ourselves; its product token is that of robots.txt."""
    return f"openwit/{__version__} (+{contact})"


def request_block(request: Request, settings: VisitSettings) -> bytes:
    """Return the request as it is sent, for a recorder."""
    rest = request.url.partition("://")[2]
    host, _, path = rest.partition("/")
    lines = [
        f"GET /{path} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: {user_agent(settings.contact)}",
        *_ACCEPT[request.kind],
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class Client:
    """A `Fetcher` on libcurl."""

    def __init__(self, settings: VisitSettings, *, keep_framing: bool = False) -> None:
        """Open a multi handle.

        Args:
            settings: who we are, limits, networks.
            keep_framing: whether chunked bodies stay as they are sent, for a recorder.
        """
        self._settings = settings
        self._networks = settings.networks()
        self._keep_framing = keep_framing
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, KEPT_CONNECTIONS)
        self._free: list[Transfer] = []
        self._active: dict[Any, Transfer] = {}
        self._done: list[Result] = []
        self._addresses: collections.Counter[str] = collections.Counter()
        self._running = 0
        self._pending_bytes = 0
        self.held_bytes = 0
        """Of bodies that are not done with: coming in, or returned by the last `results`."""

    @property
    def has_room(self) -> bool:
        """Whether a further request may start: see `Fetcher`."""
        return self.held_bytes < self._settings.buffer_bytes

    def submit(self, request: Request) -> None:
        """Start a request."""
        transfer = self._free.pop() if self._free else self._new_transfer()
        transfer.begin(request)
        curl = transfer.curl
        curl.setopt(pycurl.URL, request.url)
        curl.setopt(pycurl.HTTPHEADER, _ACCEPT[request.kind])
        curl.setopt(pycurl.TIMEOUT_MS, max(1, round(BACKSTOP_FACTOR * request.total_seconds * 1e3)))
        self._active[transfer.curl] = transfer
        self._multi.add_handle(transfer.curl)
        self._running = max(self._running, 1)

    def results(self, wait_seconds: float) -> list[Result]:
        """Return what has ended; see `Fetcher`."""
        self._release()
        deadline = time.monotonic() + wait_seconds
        while True:
            self._perform()
            left = deadline - time.monotonic()
            if self._done or left <= 0 or not self._active:
                break
            self._multi.select(min(left, CLOCK_SECONDS))
        done, self._done = self._done, []
        self._pending_bytes = sum(len(result.body) for result in done)
        if not done and not self._active and wait_seconds > 0:
            time.sleep(max(0.0, deadline - time.monotonic()))
        return done

    def close(self) -> None:
        """End all connections."""
        for transfer in [*self._active.values(), *self._free]:
            if transfer.curl in self._active:
                self._multi.remove_handle(transfer.curl)
            transfer.curl.close()
        self._active.clear()
        self._free.clear()
        self._multi.close()

    def may_hold(self, transfer: Transfer, size: int) -> bool:
        """Tell whether a transfer may take so many bytes now; the oldest always may."""
        if self.held_bytes + size <= self._settings.buffer_bytes:
            return True
        return transfer is next(iter(self._active.values()))

    def open_socket(self, transfer: Transfer, family: int, kind: int, protocol: int, ip: str
                    ) -> Any:  # fmt: skip
        """Return a socket for an address, or refuse it; no byte goes to a refused one."""
        if is_refused(ip, self._networks):
            transfer.refused = ip
            return pycurl.SOCKET_BAD
        if not self.take_address(transfer, ip):
            return pycurl.SOCKET_BAD
        return _Socket(family, kind, protocol)

    def take_address(self, transfer: Transfer, ip: str) -> bool:
        """Count a transfer at its address, if there is room."""
        if ip in transfer.addresses:
            return True
        if self._addresses[ip] >= self._settings.address_connections:
            transfer.is_full = True
            return False
        self._addresses[ip] += 1
        transfer.addresses.add(ip)
        return True

    def _resume(self, transfer: Transfer) -> None:
        transfer.resume()
        transfer.curl.pause(pycurl.PAUSE_CONT)

    def _new_transfer(self) -> Transfer:
        """Return a handle whose callbacks feed its transfer."""
        curl = self.new_handle()
        transfer = Transfer(self, curl)

        def on_header(line: bytes) -> int:
            return len(line) if transfer.on_header(line) else 0

        def on_body(data: bytes) -> int | None:
            return _BODY_CODES[transfer.on_body(data)]

        def on_socket(purpose: int, address: Any) -> Any:
            family, kind, protocol, place = address
            ip = place[0] if isinstance(place, tuple) else str(place)
            ip = ip.decode() if isinstance(ip, bytes) else ip
            return self.open_socket(transfer, family, kind, protocol, ip)

        def on_connected(ip: str, local_ip: str, port: int, local_port: int) -> int:
            # Stop a request whose first address was refused, though libcurl found another.
            transfer.on_connected(ip)
            is_stopped = transfer.refused or transfer.is_full
            if is_stopped or not self.take_address(transfer, _plain(ip)):
                return int(pycurl.PREREQFUNC_ABORT)
            return int(pycurl.PREREQFUNC_OK)

        curl.setopt(pycurl.HEADERFUNCTION, on_header)
        curl.setopt(pycurl.WRITEFUNCTION, on_body)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, on_socket)
        curl.setopt(pycurl.PREREQFUNCTION, on_connected)
        return transfer

    def new_handle(self) -> Any:
        """Return an easy handle with all that is equal for every request."""
        settings = self._settings
        curl = pycurl.Curl()
        for option, value in (
            (pycurl.PATH_AS_IS, 1),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.PROXY, ""),  # one of the environment would go past the check of addresses
            (pycurl.HTTP09_ALLOWED, 0),
            (pycurl.NOSIGNAL, 1),
            (pycurl.DNS_CACHE_TIMEOUT, DNS_SECONDS),
            (pycurl.USERAGENT, user_agent(settings.contact)),
            (pycurl.CAINFO, certifi.where()),
            (pycurl.SSL_VERIFYPEER, int(settings.tls_verify)),
            (pycurl.SSL_VERIFYHOST, 2 if settings.tls_verify else 0),
            (pycurl.LOW_SPEED_LIMIT, SLOW_BYTES_PER_SECOND),
            (pycurl.LOW_SPEED_TIME, SLOW_SECONDS),
            (pycurl.HTTP_CONTENT_DECODING, 0),
            (pycurl.HTTP_TRANSFER_DECODING, 0 if self._keep_framing else 1),
        ):
            curl.setopt(option, value)
        if settings.connect_to:
            curl.setopt(pycurl.CONNECT_TO, list(settings.connect_to))
        return curl

    def _release(self) -> None:
        """Forget the bodies of the last call and let paused transfers go on, the oldest first."""
        self.held_bytes -= self._pending_bytes
        self._pending_bytes = 0
        for transfer in [*self._active.values()]:
            if transfer.is_paused and self.may_hold(transfer, 0):
                self._resume(transfer)

    def _perform(self) -> None:
        while True:
            code, running = self._multi.perform()
            if code != pycurl.E_CALL_MULTI_PERFORM:
                break
        if running < len(self._active):
            self._collect()
        now = time.monotonic()
        for transfer in [*self._active.values()]:
            if transfer.is_paused:
                if self.may_hold(transfer, 0):
                    self._resume(transfer)
            elif overdue := transfer.overdue(now, self._settings):
                self._end(transfer, overdue, "time")

    def _collect(self) -> None:
        while True:
            left, whole, failed = self._multi.info_read()
            for curl in whole:
                transfer = self._active[curl]
                self._end(transfer, transfer.fault(), "")
            for curl, code, message in failed:
                transfer = self._active[curl]
                self._end(transfer, *transfer.failure(code, message))
            if not left:
                break

    def _end(self, transfer: Transfer, drop: Drop | None, truncated: Any) -> None:
        self._multi.remove_handle(transfer.curl)
        del self._active[transfer.curl]
        for ip in transfer.addresses:
            self._addresses[ip] -= 1
        self._addresses += collections.Counter()  # forget the zeros
        self._done.append(transfer.result(drop, truncated, keeps_cut=self._keep_framing))
        self._free.append(transfer)


def _plain(ip: str) -> str:
    """Return an address as sockets spell it."""
    try:
        return str(ipaddress.ip_address(ip))
    except ValueError:
        return ip
