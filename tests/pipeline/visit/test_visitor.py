import collections
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from filters.consent.decision import ConsentSettings
from filters.urls.domain import site_of
from filters.urls.url_key import url_host
from filters.verdict import Drop, DropReason
from pipeline.visit.fetcher import Request
from pipeline.visit.origins import HOUR, Origins
from pipeline.visit.pace import backoff_seconds, priority
from pipeline.visit.settings import SiteGrant, VisitSettings
from pipeline.visit.visitor import Task, Visit, Visitor, image_judge
from tests.pipeline.visit.replay import Clock, Replay, Reply

NOT_FOUND = Reply(status=404, after=0.05)
SITE = "http://example.com"


@dataclasses.dataclass
class World:
    """A clock, a web, and the caches that last between two visitors."""

    replies: Mapping[str, Reply | Sequence[Reply]] = dataclasses.field(default_factory=dict)
    default: Callable[[Request], Reply] = lambda request: Reply(body=b"x")
    settings: VisitSettings = dataclasses.field(default_factory=VisitSettings)
    consent: ConsentSettings = dataclasses.field(default_factory=ConsentSettings)
    clock: Clock = dataclasses.field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.origins = Origins(self.consent)
        self.asked: collections.Counter[str] = collections.Counter()
        self.fetcher = Replay(self.clock, self._reply)

    def _reply(self, request: Request) -> Reply:
        found = self.replies.get(request.url)
        number = self.asked[request.url]
        self.asked[request.url] += 1
        if isinstance(found, Reply):
            return found
        if found:
            return found[min(number, len(found) - 1)]
        if request.kind in ("robots", "tdm"):
            return NOT_FOUND
        return self.default(request)

    def visit(self, *urls: str, **changed: Any) -> dict[str, Visit]:
        visitor = self.visitor(**changed)
        tasks = [
            Task(number, url, priority(url, self.settings.seed), "image")
            for number, url in enumerate(urls)
        ]
        found = list(visitor.run(tasks))
        assert sorted(visit.task.key for visit in found) == list(range(len(urls)))
        return {urls[visit.task.key]: visit for visit in found}

    def visitor(self, **changed: Any) -> Visitor:
        filled = {
            "stays": lambda here, there: site_of(url_host(here)) == site_of(url_host(there)),
            "judges": {"image": image_judge(self.consent)},
            "max_bytes": 1000,
        }
        return Visitor(
            fetcher=self.fetcher,
            clock=self.clock,
            settings=self.settings,
            origins=self.origins,
            **{**filled, **changed},
        )

    @property
    def urls(self) -> list[str]:
        return [logged.url for logged in self.fetcher.log]


def reasons(visits: dict[str, Visit]) -> dict[str, str | None]:
    return {url: visit.drop.reason.value if visit.drop else None for url, visit in visits.items()}


def test_consent_files_come_first_and_once() -> None:
    world = World()
    visits = world.visit(f"{SITE}/a", f"{SITE}/b")
    assert reasons(visits) == {f"{SITE}/a": None, f"{SITE}/b": None}
    assert world.urls[:2] == [f"{SITE}/robots.txt", f"{SITE}/.well-known/tdmrep.json"]
    assert len(world.urls) == 4


def test_an_answer_for_robots_holds_for_a_day() -> None:
    world = World()
    world.visit(f"{SITE}/a")
    world.clock.now += 23 * HOUR
    world.visit(f"{SITE}/b")
    assert world.asked[f"{SITE}/robots.txt"] == 1
    world.clock.now += 2 * HOUR
    world.visit(f"{SITE}/c")
    assert world.asked[f"{SITE}/robots.txt"] == 2


@pytest.mark.parametrize(
    ("header", "hours", "times"),
    [("max-age=60", 0.5, 1), ("max-age=7200", 1.9, 1), ("max-age=7200", 2.1, 2)],
)
def test_max_age_counts_between_an_hour_and_a_day(header: str, hours: float, times: int) -> None:
    robots = Reply(404, headers=(f"Cache-Control: public, {header}",))
    world = World({f"{SITE}/robots.txt": robots})
    world.visit(f"{SITE}/a")
    world.clock.now += hours * HOUR
    world.visit(f"{SITE}/b")
    assert world.asked[f"{SITE}/robots.txt"] == times


def robots(text: str) -> Reply:
    return Reply(body=text.encode())


ROBOTS: list[tuple[Reply, str | None]] = [
    (robots("User-agent: *\nDisallow: /"), "robots_disallowed"),
    (robots("User-agent: openwit\nAllow: /\nUser-agent: *\nDisallow: /"), None),
    (robots("<html>Disallow: /"), None),
    (robots(""), None),
    (Reply(404), None),
    (Reply(410), None),
    (Reply(401), "robots_disallowed"),
    (Reply(403), "robots_disallowed"),
    (Reply(429), "robots_unreachable"),
    (Reply(500), "robots_unreachable"),
    (Reply(503), "robots_unreachable"),
    (Reply(304), "robots_unreachable"),
    (Reply(drop=Drop(DropReason.DNS)), "robots_unreachable"),
    (Reply(drop=Drop(DropReason.TIMEOUT, "total")), "robots_unreachable"),
    (Reply(drop=Drop(DropReason.ADDRESS_REFUSED, "127.0.0.1")), "address_refused"),
    (Reply(drop=Drop(DropReason.TLS_CERTIFICATE)), "tls_certificate"),
    (Reply(301, headers=("Location: /robots.txt",)), "robots_disallowed"),
    (Reply(301, headers=("Location: ftp://example.com/",)), "robots_disallowed"),
    (Reply(301), "robots_disallowed"),
]


@pytest.mark.parametrize(("reply", "expected"), ROBOTS)
def test_what_the_answer_for_robots_means(reply: Reply, expected: str | None) -> None:
    world = World({f"{SITE}/robots.txt": reply})
    assert reasons(world.visit(f"{SITE}/a")) == {f"{SITE}/a": expected}
    assert (f"{SITE}/a" in world.urls) is (expected is None)


def test_an_origin_that_is_refused_is_asked_once() -> None:
    refused = Reply(drop=Drop(DropReason.ADDRESS_REFUSED, "127.0.0.1"))
    world = World({f"{SITE}/robots.txt": refused})
    visits = reasons(world.visit(*(f"{SITE}/{n}" for n in range(5))))
    assert set(visits.values()) == {"address_refused"}
    assert world.urls == [f"{SITE}/robots.txt"]


def test_denied_robots_may_be_read_as_the_rfc_has_it() -> None:
    consent = ConsentSettings(robots_denied="allow")
    world = World({f"{SITE}/robots.txt": Reply(403)}, consent=consent)
    assert reasons(world.visit(f"{SITE}/a")) == {f"{SITE}/a": None}


def chain(length: int, last: Reply) -> dict[str, Reply]:
    """Return redirects from robots.txt over so many hosts to the last answer."""
    urls = [f"{SITE}/robots.txt", *(f"http://h{n}.example/r" for n in range(length))]
    hops = {
        url: Reply(301, headers=(f"Location: {target}",))
        for url, target in itertools.pairwise(urls)
    }
    return {**hops, urls[-1]: last}


@pytest.mark.parametrize(("length", "expected"), [(5, None), (6, "robots_disallowed")])
def test_robots_may_be_five_redirects_away(length: int, expected: str | None) -> None:
    world = World(chain(length, robots("User-agent: *\nDisallow: /b")))
    visits = reasons(world.visit(f"{SITE}/a", f"{SITE}/b"))
    assert visits == {f"{SITE}/a": expected, f"{SITE}/b": "robots_disallowed"}


def test_unreachable_robots_are_asked_again_after_an_hour_then_two() -> None:
    world = World({f"{SITE}/robots.txt": Reply(500)})
    times = []
    for hours in (0, 0.5, 0.6, 1.5, 0.6):
        world.clock.now += hours * HOUR
        world.visit(f"{SITE}/a")
        times.append(world.asked[f"{SITE}/robots.txt"])
    assert times == [1, 1, 2, 2, 3]


def test_an_expired_copy_holds_while_the_origin_is_unreachable() -> None:
    rules = robots("User-agent: *\nDisallow: /b")
    world = World({f"{SITE}/robots.txt": [rules, Reply(500)]})
    world.visit(f"{SITE}/a")
    world.clock.now += 29 * 24 * HOUR
    visits = reasons(world.visit(f"{SITE}/a", f"{SITE}/b"))
    assert visits == {f"{SITE}/a": None, f"{SITE}/b": "robots_disallowed"}
    world.clock.now += 2 * 24 * HOUR
    assert reasons(world.visit(f"{SITE}/a")) == {f"{SITE}/a": "robots_unreachable"}


TDM = f"{SITE}/.well-known/tdmrep.json"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (robots('[{"location": "/a", "tdm-reservation": 1}]'), "optout_host"),
        (robots('[{"location": "/b", "tdm-reservation": 1}]'), None),
        (robots('{"location": "/a", "tdm-reservation": 1}'), None),
        (robots("[" * 100_000), None),
        (Reply(500), None),
        (Reply(301, headers=(f"Location: {TDM}",)), None),
    ],
)
def test_what_a_tdm_file_says_holds_for_its_paths(reply: Reply, expected: str | None) -> None:
    world = World({TDM: reply})
    assert reasons(world.visit(f"{SITE}/a")) == {f"{SITE}/a": expected}


def test_content_usage_lines_of_robots_opt_out_by_the_longest_path() -> None:
    text = "User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: /ok/ train-ai=y\nAllow: /"
    world = World({f"{SITE}/robots.txt": robots(text)})
    visits = world.visit(f"{SITE}/test", f"{SITE}/ok/test")
    assert reasons(visits) == {f"{SITE}/test": "optout_host", f"{SITE}/ok/test": None}
    drop = visits[f"{SITE}/test"].drop
    assert drop is not None
    assert drop.value == "content-usage:train-ai=n"


def test_an_images_own_headers_opt_out() -> None:
    world = World({f"{SITE}/a": Reply(headers=("X-Robots-Tag: noai",), body=b"x")})
    visit = world.visit(f"{SITE}/a")[f"{SITE}/a"]
    assert visit.drop == Drop(DropReason.OPTOUT_IMAGE, "x-robots-tag:noai")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://example.com:8080/a", ("url_port", 8080)),
        ("http://localhost/a", ("url_host", "localhost")),
        ("http://a.internal/a", ("url_host", "a.internal")),
        ("http://router/a", ("url_host", "router")),
    ],
)
def test_some_urls_are_never_asked(url: str, expected: tuple[str, object]) -> None:
    world = World()
    drop = world.visit(url)[url].drop
    assert drop is not None
    assert (drop.reason.value, drop.value) == expected
    assert world.urls == []


def redirect(target: str) -> Reply:
    return Reply(302, headers=(f"Location: {target}",))


@pytest.mark.parametrize(
    ("target", "expected", "value"),
    [
        ("/b", None, None),
        ("http://www.example.com/b", None, None),
        ("http://other.example/b", "redirect_site", "http://other.example/b"),
        ("file:///etc/passwd", "redirect_refused", "file:///etc/passwd"),
        ("http://u:p@example.com/", "redirect_refused", "http://u:p@example.com/"),
        ("/a", "redirect_limit", f"{SITE}/a"),
        ("http://www.example.com/denied", "robots_disallowed", None),
        ("http://example.com:81/", "url_port", 81),
    ],
)
def test_where_redirects_lead(target: str, expected: str | None, value: str | None) -> None:
    denied = robots("User-agent: *\nDisallow: /denied")
    world = World({f"{SITE}/a": redirect(target), "http://www.example.com/robots.txt": denied})
    visit = world.visit(f"{SITE}/a")[f"{SITE}/a"]
    assert reasons({"": visit}) == {"": expected}
    assert (visit.drop.value if visit.drop else None) == value


def test_https_does_not_lead_to_http() -> None:
    url = "https://example.com/a"
    world = World({url: redirect(f"{SITE}/b")})
    assert reasons(world.visit(url)) == {url: "redirect_refused"}


def test_redirects_are_followed_so_often() -> None:
    hops = {f"{SITE}/{n}": redirect(f"/{n - 1}") for n in range(1, 7)}
    world = World(hops)
    visits = reasons(world.visit(f"{SITE}/5", f"{SITE}/6"))
    assert visits == {f"{SITE}/5": None, f"{SITE}/6": "redirect_limit"}


def test_a_busy_host_gets_a_second_chance_after_a_rest() -> None:
    world = World({f"{SITE}/a": [Reply(503), Reply(body=b"x")]})
    visit = world.visit(f"{SITE}/a")[f"{SITE}/a"]
    assert (visit.drop, visit.task.attempts) == (None, 2)
    first, second = (logged for logged in world.fetcher.log if logged.url == f"{SITE}/a")
    assert second.start - first.end >= backoff_seconds("example.com", 1, 0)


def test_retry_after_is_obeyed() -> None:
    busy = Reply(429, headers=("Retry-After: 77", "Retry-After: 99", "Retry-After: -1"))
    world = World({f"{SITE}/a": [busy, Reply(body=b"x")]})
    world.visit(f"{SITE}/a")
    first, second = (logged for logged in world.fetcher.log if logged.url == f"{SITE}/a")
    assert 99 <= second.start - first.end < 101


def test_a_host_that_fails_three_times_is_left_alone() -> None:
    world = World(default=lambda request: Reply(503))
    visits = reasons(world.visit(*[f"{SITE}/{n}" for n in range(5)]))
    assert sorted(str(reason) for reason in visits.values()) == [
        *["http_busy"],
        *["site_paused"] * 4,
    ]
    assert len([url for url in world.urls if "robots" not in url and "tdm" not in url]) == 3


@pytest.mark.parametrize("value", ["7200", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_long_retry_after_pauses_the_host(value: str) -> None:
    date = "Date: Thu, 26 Nov 2026 12:00:00 GMT"
    busy = Reply(503, headers=(f"Retry-After: {value}", date))
    world = World({f"{SITE}/a": busy})
    assert set(reasons(world.visit(f"{SITE}/a", f"{SITE}/b")).values()) <= {"site_paused", None}
    assert world.asked[f"{SITE}/a"] == 1


def test_crawl_delay_is_obeyed_and_a_long_one_pauses() -> None:
    world = World({f"{SITE}/robots.txt": robots("User-agent: *\nCrawl-delay: 40")})
    world.visit(f"{SITE}/a", f"{SITE}/b")
    starts = [logged.start for logged in world.fetcher.log][2:]
    assert starts[1] - starts[0] >= 40
    world = World({f"{SITE}/robots.txt": robots("User-agent: *\nCrawl-delay: 121")})
    visit = world.visit(f"{SITE}/a")[f"{SITE}/a"]
    assert visit.drop == Drop(DropReason.SITE_PAUSED, "crawl-delay")


def test_a_full_address_is_asked_later_and_counts_no_attempt() -> None:
    world = World({f"{SITE}/a": [Reply(is_full=True), Reply(is_full=True), Reply(body=b"x")]})
    visit = world.visit(f"{SITE}/a")[f"{SITE}/a"]
    assert (visit.drop, visit.task.attempts) == (None, 1)


def test_a_slow_host_does_not_hold_up_the_others() -> None:
    def answer(request: Request) -> Reply:
        return Reply(body=b"x", after=20.0 if "slow" in request.url else 0.1)

    world = World(default=answer)
    fast = [f"http://h{n}.example/{m}" for n in range(20) for m in range(5)]
    world.visit("http://slow.example/0", "http://slow.example/1", *fast)
    ends = [logged.end for logged in world.fetcher.log if "slow" not in logged.url]
    assert max(ends) < 5 * 1.2 + 5


def test_a_grant_lifts_the_gap_and_is_shared_by_lanes() -> None:
    grant = SiteGrant(match="*.example.com", reason="ours", connections=4, lanes=2, delay_s=0.5)
    world = World(settings=VisitSettings(site=(grant,)))
    world.visit(*[f"http://a.example.com/{n}" for n in range(6)])
    assert world.fetcher.most_running == 2
    starts = sorted(logged.start for logged in world.fetcher.log)[2:]
    assert starts[-1] < 6.0
