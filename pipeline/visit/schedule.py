"""Whose turn it is: no host, site or rest is ever overrun, whatever order answers come in.

The clock is an argument everywhere, so that tests need none.
"""

import collections
import dataclasses
import heapq
from typing import Generic, TypeVar

from filters.urls.domain import site_of
from filters.verdict import Drop, DropReason
from pipeline.visit.pace import backoff_seconds, gap_seconds
from pipeline.visit.settings import VisitSettings

T = TypeVar("T")
FULL_ADDRESS_SECONDS = 1.0
"""Wait of a request whose address had no room."""


@dataclasses.dataclass(slots=True)
class _Host(Generic[T]):
    name: str
    site: str
    most_in_flight: int
    delay_seconds: float
    factor: float
    longest_seconds: float
    first: collections.deque[T] = dataclasses.field(default_factory=collections.deque)
    """Consent files, redirects and second tries: before all others."""
    tasks: list[tuple[bytes, int, T]] = dataclasses.field(default_factory=list)
    """A heap by (prio, number)."""
    ready_at: float = 0.0
    in_flight: int = 0
    failures: int = 0
    pause: Drop | None = None
    is_queued: bool = False
    """Whether it is in the heap of hosts, or waits for its site."""

    @property
    def has_tasks(self) -> bool:
        return bool(self.first or self.tasks)

    def next_prio(self) -> bytes:
        return b"" if self.first else self.tasks[0][0]


class Schedule(Generic[T]):
    """Tasks by host; gives out the one that may start, or says when one may."""

    def __init__(self, settings: VisitSettings) -> None:
        """Start without tasks."""
        self._settings = settings
        self._hosts: dict[str, _Host[T]] = {}
        self._heap: list[tuple[float, str, bytes, str]] = []
        self._waiting: dict[str, collections.deque[_Host[T]]] = {}
        """Hosts with tasks, by their site, which had no room."""
        self._roomy: set[str] = set()
        """Sites that have room again, and hosts that wait for it."""
        self._site_in_flight: collections.Counter[str] = collections.Counter()
        self._numbers = 0
        self.count = 0
        """Tasks that wait."""

    def add(self, host: str, prio: bytes, task: T, *, first: bool = False) -> None:
        """Put a task in its host's queue, by priority or before all others."""
        entry = self._host(host)
        if first:
            entry.first.append(task)
        else:
            heapq.heappush(entry.tasks, (prio, self._numbers, task))
            self._numbers += 1
        self.count += 1
        self._queue(entry)

    def put_back(self, host: str, task: T) -> None:
        """Put a task that was given out, but not asked, at the very front again."""
        entry = self._host(host)
        entry.first.appendleft(task)
        self.count += 1
        self._queue(entry)

    def pause_of(self, host: str) -> Drop | None:
        """Return why a host is left alone for the rest of the run, or None."""
        return self._host(host).pause

    def take(self, now: float) -> tuple[T | None, float | None]:
        """Return the task whose turn it is, or when the next one may be.

        A task given out counts as nothing until `start`. Tasks of paused hosts are given out at
        once: the caller asks `pause_of` first.

        Returns:
            (task, None), (None, time), or (None, None) if all wait for an answer.
        """
        for site in sorted(self._roomy):
            self._wake_one(site)
        while self._heap:
            ready_at, _, _, name = self._heap[0]
            host = self._hosts[name]
            if ready_at < host.ready_at and host.pause is None:  # it was put off meanwhile
                heapq.heapreplace(self._heap, self._entry(host))
                continue
            if ready_at > now:
                return None, ready_at
            heapq.heappop(self._heap)
            host.is_queued = False
            if not host.has_tasks or (host.pause is None and self._is_full(host)):
                continue
            if host.pause is None and self._is_site_full(host):
                host.is_queued = True
                self._roomy.discard(host.site)
                self._waiting.setdefault(host.site, collections.deque()).append(host)
                continue
            self.count -= 1
            task = host.first.popleft() if host.first else heapq.heappop(host.tasks)[2]
            self._queue(host)
            return task, None
        return None, None

    def start(self, host: str) -> None:
        """Say that a request to a host starts."""
        entry = self._host(host)
        entry.in_flight += 1
        self._site_in_flight[entry.site] += 1

    def end(self, host: str, now: float, seconds: float) -> None:
        """Say that a request has ended, after so long: the host now rests."""
        entry = self._release(host)
        rest = gap_seconds(seconds, entry.delay_seconds, entry.factor, entry.longest_seconds)
        self._put_off(entry, now + rest)

    def end_full(self, host: str, now: float) -> None:
        """Say that a request was not made, for its address had no room."""
        self._put_off(self._release(host), now + FULL_ADDRESS_SECONDS)

    def succeed(self, host: str) -> None:
        """Forget a host's failures."""
        self._host(host).failures = 0

    def fail(self, host: str, now: float, retry_after: float | None, why: str) -> None:
        """Count a failure of a host: it is left alone for longer each time, at last for good."""
        entry, settings = self._host(host), self._settings
        entry.failures += 1
        if entry.failures >= settings.strikes:
            self.pause(host, why)
        if retry_after is not None and retry_after > settings.retry_after_max_s:
            self.pause(host, "retry-after")
        rest = backoff_seconds(host, entry.failures, settings.seed)
        self._put_off(entry, now + max(rest, retry_after or 0.0))

    def pause(self, host: str, why: str) -> None:
        """Leave a host alone for the rest of the run."""
        entry = self._host(host)
        entry.pause = entry.pause or Drop(DropReason.SITE_PAUSED, why)
        self._queue(entry)

    def slow_down(self, host: str, delay_seconds: float) -> None:
        """Take a Crawl-delay: the longest that any origin of the host asks for."""
        entry = self._host(host)
        if delay_seconds > self._settings.crawl_delay_max_s:
            self.pause(host, "crawl-delay")
        entry.delay_seconds = max(entry.delay_seconds, delay_seconds)
        entry.longest_seconds = max(entry.longest_seconds, delay_seconds)

    def _host(self, name: str) -> _Host[T]:
        found = self._hosts.get(name)
        if found is None:
            settings, grant = self._settings, self._settings.grant(name)
            lanes = grant.lanes if grant else 1
            has_delay = grant is not None and grant.delay_s is not None
            delay = (grant.delay_s or 0.0) if grant and has_delay else settings.delay_s
            found = self._hosts[name] = _Host(
                name=name,
                site=site_of(name),
                # More than its address takes would only wait there.
                most_in_flight=min(
                    max(1, grant.connections // lanes) if grant else settings.host_connections,
                    settings.address_connections,
                ),
                delay_seconds=delay * lanes,
                factor=0.0 if has_delay else settings.delay_factor,
                longest_seconds=settings.delay_max_s,
            )
        return found

    def _entry(self, host: _Host[T]) -> tuple[float, str, bytes, str]:
        ready_at = 0.0 if host.pause else host.ready_at
        return ready_at, host.site, host.next_prio(), host.name

    def _queue(self, host: _Host[T]) -> None:
        """Put a host with tasks in the heap, unless a request must end before its next."""
        if host.pause is not None and host.has_tasks:
            heapq.heappush(self._heap, self._entry(host))  # a second entry does no harm
            host.is_queued = True
        elif not host.is_queued and host.has_tasks and not self._is_full(host):
            heapq.heappush(self._heap, self._entry(host))
            host.is_queued = True

    def _is_full(self, host: _Host[T]) -> bool:
        return host.in_flight >= host.most_in_flight

    def _is_site_full(self, host: _Host[T]) -> bool:
        most = max(self._settings.site_connections, host.most_in_flight)
        return self._site_in_flight[host.site] >= most

    def _release(self, name: str) -> _Host[T]:
        host = self._host(name)
        host.in_flight -= 1
        self._site_in_flight[host.site] -= 1
        if host.site in self._waiting:
            self._roomy.add(host.site)
        return host

    def _wake_one(self, site: str) -> None:
        """Queue the host that has waited longest for its site; the others as long as room lasts."""
        waiting = self._waiting[site]
        host = waiting.popleft()
        host.is_queued = False
        self._queue(host)
        if not waiting:
            del self._waiting[site]
            self._roomy.discard(site)

    def _put_off(self, host: _Host[T], until: float) -> None:
        host.ready_at = max(host.ready_at, until)
        self._queue(host)
