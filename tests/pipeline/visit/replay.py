"""A web that answers from a table and a clock that only waiting moves."""

import dataclasses
import heapq
from collections.abc import Callable

from filters.verdict import Drop
from pipeline.visit.fetcher import Request, Result


@dataclasses.dataclass
class Clock:
    """Seconds."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclasses.dataclass(frozen=True)
class Reply:
    """What a request gets."""

    status: int = 200
    headers: tuple[str, ...] = ()
    body: bytes = b""
    after: float = 0.1
    drop: Drop | None = None
    is_full: bool = False


@dataclasses.dataclass(frozen=True)
class Logged:
    """A request that was made."""

    url: str
    start: float
    end: float
    reply: Reply


@dataclasses.dataclass
class Replay:
    """A `Fetcher` without network."""

    clock: Clock
    answer: Callable[[Request], Reply]
    log: list[Logged] = dataclasses.field(default_factory=list)
    running: list[tuple[float, int, Request, Reply]] = dataclasses.field(default_factory=list)
    has_room: bool = True
    most_running: int = 0

    def submit(self, request: Request) -> None:
        reply = self.answer(request)
        end = self.clock.now + reply.after
        heapq.heappush(self.running, (end, request.key, request, reply))
        self.most_running = max(self.most_running, len(self.running))
        if not reply.is_full:
            self.log.append(Logged(request.url, self.clock.now, end, reply))

    def results(self, wait_seconds: float) -> list[Result]:
        until = self.clock.now + wait_seconds
        if self.running and self.running[0][0] <= until:
            self.clock.now = max(self.clock.now, self.running[0][0])
        else:
            self.clock.now = until
        found = []
        while self.running and self.running[0][0] <= self.clock.now:
            _, _, request, reply = heapq.heappop(self.running)
            found.append(_result(request, reply))
        return found

    def close(self) -> None:
        self.running.clear()


def _result(request: Request, reply: Reply) -> Result:
    lines = [f"HTTP/1.1 {reply.status} X", *reply.headers, "", ""]
    head = b"" if reply.drop or reply.is_full else "\r\n".join(lines).encode("latin-1")
    result = Result(
        request=request,
        drop=reply.drop,
        is_full=reply.is_full,
        status=reply.status if head else 0,
        head=head,
        body=b"" if reply.drop else reply.body,
        ip="192.0.2.1",
        started_us=1_000_000,
        seconds=reply.after,
    )
    if head and request.judge:
        drop = request.judge(reply.status, result.headers)
        if drop:
            return dataclasses.replace(result, drop=drop, body=b"")
    return result
