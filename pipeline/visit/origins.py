"""Consent files by origin: how long an answer holds, and what is known while there is none."""

import collections
import dataclasses
import hashlib
import re

from filters.consent.decision import ConsentSettings
from filters.consent.host import HostConsent, read_robots, read_tdm_file, robots_status
from filters.verdict import Drop

HOUR = 3_600.0
DAY = 24 * HOUR
STALE_SECONDS = 30 * DAY
"""An expired copy holds so long while its origin cannot be reached."""
MAX_ORIGINS = 20_000
"""Kept by one process; provisional."""
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back for one consent file, redirects followed."""

    status: int | None = None
    """None if there was no whole answer."""
    body: bytes = b""
    cache_control: str = ""
    started_us: int = 0
    is_lost: bool = False
    """Whether redirects led too far, in a circle, or where we do not go."""
    refused: Drop | None = None
    """Why no URL of the origin can be asked, if that is so: of its address or certificate."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is known of an origin, and the evidence for it."""

    consent: HostConsent
    robots_status: int | None
    robots_sha256: str | None
    tdm_status: int | None
    asked_us: int
    read_at: float
    expires_at: float
    failures: int = 0
    """Times in a row that robots.txt could not be reached."""
    refused: Drop | None = None
    """Why no URL of the origin is asked, whatever its consent files say."""


class Origins:
    """The answers of one process, those not used for longest forgotten first."""

    def __init__(self, settings: ConsentSettings) -> None:
        """Start without any."""
        self.settings = settings
        self._asked: collections.OrderedDict[str, Asked] = collections.OrderedDict()

    def get(self, origin: str, now: float) -> Asked | None:
        """Return what holds for an origin, or None if it must be asked (again)."""
        found = self._asked.get(origin)
        if found is None or now >= found.expires_at:
            return None
        self._asked.move_to_end(origin)
        return found

    def put(self, origin: str, now: float, robots: Answer, tdm: Answer) -> Asked:
        """Take an origin's answers and return what holds from now on."""
        made = self._asked_now(self._asked.get(origin), now, robots, tdm)
        self._asked[origin] = made
        self._asked.move_to_end(origin)
        if len(self._asked) > MAX_ORIGINS:
            self._asked.popitem(last=False)
        return made

    def _asked_now(self, old: Asked | None, now: float, robots: Answer, tdm: Answer) -> Asked:
        settings = self.settings
        status = "disallow" if robots.is_lost else robots_status(robots.status, settings)
        expires_at = now + holds_seconds(robots.cache_control)
        failures = 0
        if status == "unreachable":
            failures = old.failures + 1 if old else 1
            expires_at = now + min(DAY, HOUR * 2.0 ** min(failures - 1, 5))
            is_usable = old is not None and old.consent.status != "unreachable"
            if old is not None and is_usable and now - old.read_at < STALE_SECONDS:
                return dataclasses.replace(old, expires_at=expires_at, failures=failures)
        is_read = status == "rules"
        return Asked(
            consent=HostConsent(
                status=status,
                robots=read_robots(robots.body, settings) if is_read else (),
                tdm=read_tdm_file(tdm.status, tdm.body),
            ),
            robots_status=robots.status,
            robots_sha256=hashlib.sha256(robots.body).hexdigest() if is_read else None,
            tdm_status=tdm.status,
            asked_us=robots.started_us,
            read_at=now,
            expires_at=expires_at,
            failures=failures,
            refused=robots.refused,
        )


def holds_seconds(cache_control: str) -> float:
    """Return how long an answer holds: its max-age, from an hour to a day; a day without one."""
    found = _MAX_AGE.search(cache_control[:1024])
    return min(DAY, max(HOUR, float(found[1]))) if found else DAY
