"""One request on its way: clocks, head, body, and how it ends. What drives it is elsewhere."""

import dataclasses
import io
import re
import time
from typing import Any, Literal, Protocol

from filters.verdict import Drop, DropReason
from pipeline.readers.headers import Headers, content_length
from pipeline.visit.fetcher import Request, Result, status_of
from pipeline.visit.outcome import curl_drop
from pipeline.visit.settings import VisitSettings

MAX_HEAD_BYTES = 300_000
"""Of all header blocks of one answer."""
_TIMED_OUT, _TOO_LARGE = 28, 63
"""Codes of libcurl."""
_STATUS_LINE = re.compile(rb"HTTP/")


class Account(Protocol):
    """Counts the bytes of bodies that are not done with."""

    held_bytes: int

    def may_hold(self, transfer: "Transfer", size: int) -> bool:
        """Tell whether a transfer may take so many bytes now."""


@dataclasses.dataclass(eq=False, slots=True)
class Transfer:
    """A handle of libcurl and the request that it works on."""

    account: Account
    curl: Any
    """What drives it; touched by the client only."""
    request: Request | None = None
    head: bytearray = dataclasses.field(default_factory=bytearray)
    head_bytes: int = 0
    body: io.BytesIO = dataclasses.field(default_factory=io.BytesIO)
    body_bytes: int = 0
    judged: Drop | None = None
    refused: str = ""
    is_full: bool = False
    is_paused: bool = False
    is_headed: bool = False
    """Whether the last header block is whole."""
    addresses: set[str] = dataclasses.field(default_factory=set)
    ip: str = ""
    started_us: int = 0
    began: float = 0.0
    connected: float = 0.0
    first_byte: float = 0.0
    paused_at: float = 0.0
    paused_seconds: float = 0.0

    def begin(self, request: Request) -> None:
        """Begin with a request."""
        self.request = request
        self.head, self.body = bytearray(), io.BytesIO()
        self.head_bytes = self.body_bytes = 0
        self.judged, self.refused, self.ip = None, "", ""
        self.is_full = self.is_paused = self.is_headed = False
        self.addresses = set()
        self.connected = self.first_byte = self.paused_at = self.paused_seconds = 0.0
        self.began = time.monotonic()
        self.started_us = time.time_ns() // 1000

    def resume(self) -> None:
        """Let the clocks go on after a pause."""
        self.is_paused = False
        self.paused_seconds += time.monotonic() - self.paused_at

    def overdue(self, now: float, settings: VisitSettings) -> Drop | None:
        """Return which of our clocks has run out; time spent paused does not count."""
        total = self.request.total_seconds if self.request else 0.0
        if not self.connected:
            if now - self.began > min(settings.connect_s, total):
                return Drop(DropReason.CONNECT_TIMEOUT)
        elif not self.first_byte and now - self.connected > settings.first_byte_s:
            return Drop(DropReason.TIMEOUT, "first-byte")
        is_over = now - self.began - self.paused_seconds > total
        return Drop(DropReason.TIMEOUT, "total") if is_over else None

    def fault(self) -> Drop | None:
        """Return what is wrong with a transfer that libcurl takes for whole."""
        if self.judged is None and not status_of(bytes(self.head)):
            return Drop(DropReason.PROTOCOL, "no status")
        return self.judged

    def failure(self, code: int, message: str) -> tuple[Drop, str]:
        """Return the reason of a failed transfer, and why its body ends, if it does."""
        if self.refused:
            return Drop(DropReason.ADDRESS_REFUSED, self.refused), ""
        if self.judged is not None:
            is_large = self.judged.reason is DropReason.TOO_LARGE
            return self.judged, "length" if is_large else ""
        if code == _TIMED_OUT:
            what = "slow" if "too slow" in message.lower() else "total"
            if not self.connected:
                return Drop(DropReason.CONNECT_TIMEOUT), "time"
            return Drop(DropReason.TIMEOUT, what), "time"
        return curl_drop(code, message), "length" if code == _TOO_LARGE else "disconnect"

    def result(self, drop: Drop | None, truncated: Any, *, keeps_cut: bool) -> Result:
        """Return how the request ended; bodies that nobody wants are let go.

        Args:
            drop: why there is no whole answer.
            truncated: why its body ends early, if it does.
            keeps_cut: whether the beginning of a judged body is wanted, for a recorder.
        """
        request = self.request
        if request is None:
            raise RuntimeError("a transfer ended that never began")
        wants_cut = keeps_cut or request.judge is None
        keeps = drop is None or (bool(truncated) and wants_cut)
        body = self.body.getvalue() if keeps else b""  # shares the buffer
        self.account.held_bytes -= self.body_bytes - len(body)
        self.body = io.BytesIO()
        return Result(
            request=request,
            drop=drop,
            is_full=self.is_full and not self.head and not self.refused,
            status=status_of(bytes(self.head)),
            head=bytes(self.head),
            body=body,
            truncated=truncated if self.is_headed else "",
            ip=self.ip,
            started_us=self.started_us,
            seconds=time.monotonic() - self.began,
        )

    def on_connected(self, ip: str) -> None:
        """Note that the request is about to be sent to an address."""
        self.connected = time.monotonic()
        self.ip = ip

    def on_header(self, line: bytes) -> bool:
        """Take a line of a head; tell whether the transfer may go on."""
        if not self.first_byte:
            self.first_byte = time.monotonic()
        self.head_bytes += len(line)
        if self.head_bytes > MAX_HEAD_BYTES:
            self.judged = Drop(DropReason.PROTOCOL, "head")
            return False
        if self.is_headed:
            if not _STATUS_LINE.match(line):
                return True  # a trailer
            self.head.clear()  # the block before was a 1xx answer
            self.is_headed = False
        self.head += line
        if line in (b"\r\n", b"\n"):
            self.is_headed = True
            return self._judge()
        return True

    def _judge(self) -> bool:
        """Ask whether the body is wanted, once the head of the answer is there."""
        status = status_of(bytes(self.head))
        request = self.request
        if request is None or request.judge is None or status < 200:
            return True
        fields = Headers(bytes(self.head).partition(b"\n")[2])
        length = content_length(fields)
        if length is not None and length > request.max_bytes:
            self.judged = Drop(DropReason.TOO_LARGE, length)
        else:
            self.judged = request.judge(status, fields)
        return self.judged is None

    def on_body(self, data: bytes) -> Literal["kept", "paused", "ended"]:
        """Take a piece of the body, or say that it must wait, or that there is enough."""
        limit = self.request.max_bytes if self.request else 0
        if self.body_bytes + len(data) > limit:
            self._keep(data[: limit - self.body_bytes])
            self.judged = Drop(DropReason.TOO_LARGE, self.body_bytes)
            return "ended"
        if not self.account.may_hold(self, len(data)):
            self.is_paused = True
            self.paused_at = time.monotonic()
            return "paused"
        self._keep(data)
        return "kept"

    def _keep(self, data: bytes) -> None:
        self.body.write(data)
        self.body_bytes += len(data)
        self.account.held_bytes += len(data)
