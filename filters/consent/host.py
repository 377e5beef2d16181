"""What an origin's robots.txt and tdmrep.json say, and the verdict on a URL before its request."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from filters.consent.decision import TDM_MARK, ConsentSettings, blocked_by, usage_marks
from filters.consent.robots import PRODUCT, Robots, parse_robots
from filters.consent.tdmrep import TdmRule, tdm_file_match, tdm_file_rules
from filters.verdict import Drop, DropReason

RobotsStatus = Literal["rules", "allow", "disallow", "unreachable"]
_DENIED = (401, 403)
_TOO_MANY = 429


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HostConsent:
    """The consent files of one origin, as read."""

    status: RobotsStatus
    """`rules`: those of the file; the others hold for every path."""
    robots: tuple[Robots, ...] = ()
    """For each token."""
    tdm: tuple[TdmRule, ...] = ()

    @property
    def crawl_delay_seconds(self) -> float:
        """The Crawl-delay of our own group; 0 if there is none."""
        return (self.robots[0].delay_seconds or 0.0) if self.robots else 0.0


def robots_status(status: int | None, settings: ConsentSettings) -> RobotsStatus:
    """Return what the status of the answer to `/robots.txt` means (RFC 9309, section 2.3.1).

    Args:
        status: the HTTP status; None if there was no whole answer.
        settings: `robots_denied` says what 401 and 403 mean.
    """
    if status is None:
        return "unreachable"
    if 200 <= status < 300:
        return "rules"
    if status in _DENIED:
        return settings.robots_denied
    return "allow" if 400 <= status < 500 and status != _TOO_MANY else "unreachable"


def read_robots(body: bytes, settings: ConsentSettings) -> tuple[Robots, ...]:
    """Return the rules for our token and for each of `also_obey`."""
    return tuple(parse_robots(body, (PRODUCT, *settings.also_obey)))


def read_tdm_file(status: int | None, body: bytes) -> tuple[TdmRule, ...]:
    """Return the rules of a `tdmrep.json`; other answers than 200 say nothing."""
    return tuple(tdm_file_rules(body)) if status == 200 else ()


def decide(
    path: str, consent: HostConsent, marks: Sequence[str], settings: ConsentSettings
) -> Drop | None:
    """Return why a URL is not asked for, or None; the first refusal counts.

    Args:
        path: path and query of the URL.
        consent: of its origin.
        marks: of the page that shows it.
        settings: which marks are honoured.
    """
    if verdict := blocked_by(marks, settings):
        return verdict
    if consent.status == "unreachable":
        return Drop(DropReason.ROBOTS_UNREACHABLE)
    if consent.status == "disallow" or any(each.refuses(path) for each in consent.robots):
        return Drop(DropReason.ROBOTS_DISALLOWED)
    found = [TDM_MARK] if tdm_file_match(consent.tdm, path) == 1 else []
    for each in consent.robots:
        found += usage_marks(each.usage_refused(path, settings.content_usage_keys))
    return blocked_by(found, settings, DropReason.OPTOUT_HOST)
