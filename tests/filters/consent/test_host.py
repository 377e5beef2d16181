import pytest

from filters.consent.decision import ConsentSettings
from filters.consent.host import HostConsent, decide, read_robots, read_tdm_file, robots_status
from filters.verdict import Drop, DropReason

SETTINGS = ConsentSettings()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, "rules"),
        (204, "rules"),
        (404, "allow"),
        (410, "allow"),
        (401, "disallow"),
        (403, "disallow"),
        (429, "unreachable"),
        (500, "unreachable"),
        (503, "unreachable"),
        (100, "unreachable"),
        (None, "unreachable"),
    ],
)
def test_what_a_status_of_robots_means(status: int | None, expected: str) -> None:
    assert robots_status(status, SETTINGS) == expected


def test_the_first_refusal_counts() -> None:
    tdm = read_tdm_file(200, b'[{"location": "/", "tdm-reservation": 1}]')
    denied = HostConsent(
        status="rules", robots=read_robots(b"User-agent: *\nDisallow: /", SETTINGS), tdm=tdm
    )
    open_ = HostConsent(status="allow", tdm=tdm)
    marks = ["robots:noai"]
    assert decide("/", denied, marks, SETTINGS) == Drop(DropReason.OPTOUT_PAGE, "robots:noai")
    assert decide("/", denied, [], SETTINGS) == Drop(DropReason.ROBOTS_DISALLOWED)
    assert decide("/", open_, [], SETTINGS) == Drop(DropReason.OPTOUT_HOST, "tdm:1")
    lax = ConsentSettings(honour=("robots:noai",))
    assert decide("/", open_, [], lax) is None
    unreachable = HostConsent(status="unreachable")
    assert decide("/", unreachable, [], SETTINGS) == Drop(DropReason.ROBOTS_UNREACHABLE)


def test_further_tokens_are_obeyed_alike() -> None:
    settings = ConsentSettings(also_obey=("GPTBot",))
    body = b"User-agent: GPTBot\nDisallow: /a\nUser-agent: openwit\nAllow: /\nCrawl-delay: 3"
    consent = HostConsent(status="rules", robots=read_robots(body, settings))
    assert decide("/a", consent, [], settings) == Drop(DropReason.ROBOTS_DISALLOWED)
    assert decide("/b", consent, [], settings) is None
    assert consent.crawl_delay_seconds == 3.0


@pytest.mark.parametrize("token", ["", "a b", "bot/1"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="also_obey must be letters"):
        ConsentSettings(also_obey=(token,))


def test_only_a_whole_answer_is_a_tdm_file() -> None:
    body = b'[{"location": "/", "tdm-reservation": 1}]'
    assert read_tdm_file(404, body) == ()
    assert read_tdm_file(None, body) == ()
