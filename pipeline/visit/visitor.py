"""The loop that visits: consent files first, then tasks, each host at its own pace."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from filters.consent.decision import ConsentSettings, blocked_by
from filters.consent.host import decide
from filters.consent.marks import header_signals
from filters.urls.url_key import url_host
from filters.verdict import Drop, DropReason
from pipeline.readers.headers import Headers
from pipeline.visit.consent_files import ConsentFiles, ConsentTask
from pipeline.visit.fetcher import Fetcher, Judge, Kind, Request, Result
from pipeline.visit.origins import Asked, Origins
from pipeline.visit.outcome import AT_ONCE, HOST_FAILURES, status_drop
from pipeline.visit.pace import retry_after_seconds
from pipeline.visit.redirects import REDIRECTS, check_url, next_url, origin_of, path_of
from pipeline.visit.schedule import Schedule
from pipeline.visit.settings import VisitSettings

TICK_SECONDS = 0.001
IDLE_SECONDS = 0.5
"""The longest wait for answers between two looks at the clock."""


@dataclasses.dataclass(slots=True)
class Task:
    """A URL to visit, and what has become of it so far."""

    key: int
    """The caller's."""
    url: str
    prio: bytes
    kind: Kind
    attempts: int = 0
    redirects: int = 0
    """Before this run."""
    seconds: float = 0.0
    """Of requests so far."""
    seen: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Visit:
    """How a task ended."""

    task: Task
    drop: Drop | None
    """None if `result` is a whole answer of status 200."""
    result: Result | None
    """The last answer; None if nothing was asked."""


@dataclasses.dataclass(slots=True)
class OriginFacts:
    """What was asked of an origin."""

    asked: Asked | None = None
    requests: int = 0
    ok: int = 0
    bytes: int = 0
    paused: str | None = None


def image_judge(consent: ConsentSettings) -> Judge:
    """Return what looks at an image's own headers before its body is taken."""

    def judge(status: int, headers: Headers) -> Drop | None:
        marks = header_signals(headers.all, consent.content_usage_keys).marks
        is_asked = bool(marks) and status == 200
        return blocked_by(marks, consent, DropReason.OPTOUT_IMAGE) if is_asked else None

    return judge


@dataclasses.dataclass(kw_only=True)
class Visitor:
    """Visits tasks until all have ended; used once."""

    fetcher: Fetcher
    clock: Callable[[], float]
    """Seconds, never going back."""
    settings: VisitSettings
    origins: Origins
    max_bytes: int
    """Of a body, as sent."""
    stays: Callable[[str, str], bool]
    """Whether a redirect from one URL to another may be followed here."""
    judges: Mapping[Kind, Judge]
    """By kind of task: what looks at a head before the body is taken."""
    on_exchange: Callable[[Task | ConsentTask, Result], None] | None = None
    """Called with each answer, for a recorder."""

    def __post_init__(self) -> None:
        self._consent = self.origins.settings
        self._schedule: Schedule[Task | ConsentTask] = Schedule(self.settings)
        self._files = ConsentFiles(self.settings, self._consent)
        self._parked: dict[str, list[Task]] = {}
        self._in_flight: dict[int, Task | ConsentTask] = {}
        self._numbers = 0
        self._open_hosts = self.settings.open_hosts()
        self.facts: dict[str, OriginFacts] = collections.defaultdict(OriginFacts)
        """By origin."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Visit]:
        """Yield each task once, when it has ended; a body must be done with at the next."""
        for task in tasks:
            self._schedule.add(url_host(task.url), task.prio, task)
        while self._schedule.count or self._in_flight:
            ended, wake_at = self._start_all()
            yield from ended
            wait = IDLE_SECONDS
            if wake_at is not None:
                # Never less than a tick: a rest that rounding left over would be waited for ever.
                wait = min(wait, max(TICK_SECONDS, wake_at - self.clock()))
            for result in self.fetcher.results(0.0 if ended else wait):
                yield from self._take(result)

    def _start_all(self) -> tuple[list[Visit], float | None]:
        """Start what may start; return what ended without a request, and when to look again."""
        ended: list[Visit] = []
        while len(self._in_flight) < self.settings.max_in_flight and self.fetcher.has_room:
            task, wake_at = self._schedule.take(self.clock())
            if task is None:
                return ended, wake_at
            drop = self._try_start(task)
            if drop is not None and isinstance(task, Task):
                ended.append(Visit(task, drop, None))
        return ended, None

    def _try_start(self, task: Task | ConsentTask) -> Drop | None:
        """Start a task, or park it, or say why it ends."""
        host = url_host(task.url)
        drop = self._schedule.pause_of(host) or check_url(
            task.url, self.settings.ports, self._open_hosts
        )
        if isinstance(task, ConsentTask):
            if drop:
                self._end_file(task, None)
            else:
                self._submit(task, task.kind, task.left_seconds, task.max_bytes, None)
            return None
        if drop:
            return drop
        origin = origin_of(task.url)
        asked = self.origins.get(origin, self.clock())
        if asked is None:
            self._park(origin, task)
            return None
        self.facts[origin].asked = asked
        drop = asked.refused or decide(path_of(task.url), asked.consent, (), self._consent)
        left = self.settings.total_s - task.seconds
        if drop is None and left <= 0:
            drop = Drop(DropReason.TIMEOUT, "total")
        if drop is None:
            task.attempts += 1
            self._submit(task, task.kind, left, self.max_bytes, self.judges.get(task.kind))
        return drop

    def _submit(
        self,
        task: Task | ConsentTask,
        kind: Kind,
        total_seconds: float,
        max_bytes: int,
        judge: Judge | None,
    ) -> None:
        self._numbers += 1
        self._in_flight[self._numbers] = task
        self._schedule.start(url_host(task.url))
        self.fetcher.submit(
            Request(
                key=self._numbers,
                url=task.url,
                kind=kind,
                total_seconds=total_seconds,
                max_bytes=max_bytes,
                judge=judge,
            )
        )

    def _park(self, origin: str, task: Task) -> None:
        """Let a task wait for the consent files of its origin, which the first one asks for."""
        if origin not in self._parked:
            self._parked[origin] = []
            self._add_first(self._files.first(origin))
        self._parked[origin].append(task)

    def _add_first(self, task: Task | ConsentTask) -> None:
        self._schedule.add(url_host(task.url), b"", task, first=True)

    def _take(self, result: Result) -> Iterator[Visit]:
        task = self._in_flight.pop(result.request.key)
        host, now = url_host(task.url), self.clock()
        if result.is_full:
            self._schedule.end_full(host, now)
            if isinstance(task, Task):
                task.attempts -= 1
            self._schedule.put_back(host, task)
            return
        self._schedule.end(host, now, result.seconds)
        facts = self.facts[origin_of(task.url)]
        facts.requests += 1
        facts.bytes += len(result.body)
        if self.on_exchange:
            self.on_exchange(task, result)
        drop = result.drop
        if drop is None and result.status not in REDIRECTS:
            drop = status_drop(result.status)
        self._note_host(host, now, drop, result)
        if isinstance(task, ConsentTask):
            self._end_file(task, result)
            return
        task.seconds += result.seconds
        visit = self._end_or_go_on(task, drop, result)
        if visit is not None:
            facts.ok += visit.drop is None
            yield visit

    def _note_host(self, host: str, now: float, drop: Drop | None, result: Result) -> None:
        """Tell the schedule whether the host is well."""
        if drop is None or drop.reason not in HOST_FAILURES:
            self._schedule.succeed(host)
            return
        headers = result.headers
        asked = retry_after_seconds(headers.all("retry-after"), headers.get("date"))
        self._schedule.fail(host, now, asked, drop.reason)

    def _end_or_go_on(self, task: Task, drop: Drop | None, result: Result) -> Visit | None:
        if drop is not None:
            if drop.reason in AT_ONCE and task.attempts < 2:
                self._add_first(task)
                return None
            return Visit(task, drop, result)
        if result.status not in REDIRECTS:
            return Visit(task, None, result)
        task.seen.append(task.url)
        target = next_url(
            task.url,
            result.headers.get("location"),
            task.seen,
            self.settings.max_redirects - task.redirects,
            downgrade=self.settings.allow_downgrade,
        )
        if isinstance(target, Drop):
            return Visit(task, target, result)
        if not self.stays(task.url, target):
            return Visit(task, Drop(DropReason.REDIRECT_SITE, target), result)
        task.url = target
        task.attempts = 0
        self._add_first(task)
        return None

    def _end_file(self, task: ConsentTask, result: Result | None) -> None:
        """Take the answer for a consent file: ask on, or let the tasks of its origin go."""
        following = self._files.take(task, result)
        if isinstance(following, ConsentTask):
            self._add_first(following)
            return
        asked = self.origins.put(task.origin, self.clock(), *following)
        self._schedule.slow_down(url_host(f"{task.origin}/"), asked.consent.crawl_delay_seconds)
        for parked in self._parked.pop(task.origin):
            self._schedule.add(url_host(parked.url), parked.prio, parked)

    def host_rows(self, site: Callable[[str], str]) -> list[dict[str, Any]]:
        """Return the evidence by origin, as rows of `HOSTS`."""
        rows = []
        for origin, facts in sorted(self.facts.items()):
            host, asked = url_host(f"{origin}/"), facts.asked
            pause = self._schedule.pause_of(host)
            rows.append(
                {
                    "origin": origin,
                    "site": site(host),
                    "robots_status": asked.robots_status if asked else None,
                    "robots_sha256": asked.robots_sha256 if asked else None,
                    "tdm_status": asked.tdm_status if asked else None,
                    "crawl_delay_s": asked.consent.crawl_delay_seconds if asked else 0.0,
                    "requests": facts.requests,
                    "ok": facts.ok,
                    "bytes": facts.bytes,
                    "paused": str(pause.value) if pause else None,
                    "asked_at": asked.asked_us if asked else None,
                }
            )
        return rows
