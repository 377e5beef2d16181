"""The way to an origin's consent files: robots.txt, then tdmrep.json, each with its redirects."""

import dataclasses
from typing import Literal

from filters.consent.decision import ConsentSettings
from filters.consent.robots import MAX_ROBOTS_BYTES
from filters.consent.tdmrep import MAX_FILE_BYTES
from filters.verdict import Drop, DropReason
from pipeline.visit.fetcher import Result
from pipeline.visit.origins import Answer
from pipeline.visit.redirects import REDIRECTS, next_url
from pipeline.visit.settings import VisitSettings

MAX_REDIRECTS = 5
"""For a consent file, as RFC 9309 asks at least."""
_OF_ORIGIN = (DropReason.ADDRESS_REFUSED, DropReason.TLS_CERTIFICATE)
"""What ends a request for robots.txt for good, and would so end every other of its origin."""
_PATHS = {"robots": "/robots.txt", "tdm": "/.well-known/tdmrep.json"}


@dataclasses.dataclass(slots=True)
class ConsentTask:
    """A request for a consent file of an origin."""

    origin: str
    kind: Literal["robots", "tdm"]
    url: str
    left_seconds: float
    max_bytes: int
    seen: list[str] = dataclasses.field(default_factory=list)
    robots: Answer = dataclasses.field(default_factory=Answer)
    """What robots.txt gave, once it is there."""


@dataclasses.dataclass(frozen=True, slots=True)
class ConsentFiles:
    """Knows what is asked after what."""

    settings: VisitSettings
    consent: ConsentSettings

    def first(self, origin: str) -> ConsentTask:
        """Return the first request for an origin."""
        return self._task(origin, "robots", MAX_ROBOTS_BYTES + 1)  # so a cut is seen

    def take(self, task: ConsentTask, result: Result | None) -> ConsentTask | tuple[Answer, Answer]:
        """Take an answer; return the next request, or the answers for robots.txt and tdmrep.json.

        Args:
            task: the request.
            result: None if its host may not be asked.
        """
        if result and result.drop is None and result.status in REDIRECTS:
            target = self._target(task, result)
            if isinstance(target, str):
                task.url = target
                task.left_seconds = max(0.1, task.left_seconds - result.seconds)
                return task
            answer = Answer(status=result.status, started_us=result.started_us, is_lost=True)
        else:
            answer = _answer(result)
            if not task.seen and result and result.drop and result.drop.reason in _OF_ORIGIN:
                answer = dataclasses.replace(answer, refused=result.drop)
        if task.kind == "tdm":
            return task.robots, Answer() if answer.is_lost else answer
        if not self.consent.tdm_file or answer.status is None:
            return answer, Answer()
        following = self._task(task.origin, "tdm", MAX_FILE_BYTES)
        following.robots = answer
        return following

    def _task(self, origin: str, kind: Literal["robots", "tdm"], max_bytes: int) -> ConsentTask:
        url = f"{origin}{_PATHS[kind]}"
        return ConsentTask(origin, kind, url, self.settings.total_s, max_bytes)

    def _target(self, task: ConsentTask, result: Result) -> str | Drop:
        task.seen.append(task.url)
        location = result.headers.get("location")
        return next_url(task.url, location, task.seen, MAX_REDIRECTS, downgrade=True)


def _answer(result: Result | None) -> Answer:
    """Return what a request gave; a robots.txt that is too long is read as far as we read."""
    if result is None:
        return Answer()
    is_long = result.drop is not None and result.drop.reason is DropReason.TOO_LARGE
    if result.drop is not None and not (is_long and result.status):
        return Answer(started_us=result.started_us)
    return Answer(
        status=result.status,
        body=result.body,
        cache_control=", ".join(result.headers.all("cache-control")),
        started_us=result.started_us,
    )
