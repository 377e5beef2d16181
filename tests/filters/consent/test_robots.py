import json
import pathlib
import time
from typing import Any

import ada_url
import pytest
from hypothesis import given
from hypothesis import strategies as st
from robots import RobotsParser

from filters.consent.robots import MAX_ROBOTS_BYTES, parse_robots

CASES = json.loads(
    (pathlib.Path(__file__).parents[2] / "golden" / "robots-google.json").read_text("utf-8")
)
NOT_IN_THE_RFC = {"http://foo.com/allowed-slash/"}
"""GoogleOnly_IndexHTMLisDirectory: a rule for index.html that stands for its folder."""


def path_of(url: str) -> str:
    if not url:
        return "/"
    parsed = ada_url.URL(url)
    return f"{parsed.pathname}{parsed.search}"


def allows(text: str | bytes, path: str, agent: str = "openwit") -> bool:
    body = text.encode() if isinstance(text, str) else text
    return not parse_robots(body, [agent])[0].refuses(path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["group"])
def test_googles_cases_hold(case: dict[str, Any]) -> None:
    found = allows(case["robots_txt"], path_of(case["url"]), case["user_agent"])
    is_known = case["group"] == "GoogleOnly_IndexHTMLisDirectory" and case["url"] in NOT_IN_THE_RFC
    assert (found == case["allowed"]) is not is_known


def test_there_are_as_many_cases_as_there_should_be() -> None:
    assert len(CASES) == 129


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbfUser-agent: *\nDisallow: /a",
        "User-agent: *\nDisallow: /a".encode("utf-16"),
        b"User-agent: *\rDisallow: /a\r",
        b"USER-AGENT:*\r\n\r\ndisallow : /a # why",
        b"User-agent: openwit/1.0 bots\nDisallow: /a",
        b"User-agent: other\nUser-agent: OpenWIT\nfoo: bar\nDisallow: /a",
        b"User-agent: *\nSitemap: /x\nDisallow: %2Fa\nDisallow: /%61",
        b"User-agent openwit\nDisallow /a",
        b"User-agent: openwit\n\nUser-agent: x\nDisallow: /b\nUser-agent: openwit\nDisallow: /a",
    ],
)
def test_a_rule_is_found_whatever_the_form_of_the_file(body: bytes) -> None:
    assert not allows(body, "/a")
    assert allows(body, "/c")


@pytest.mark.parametrize(
    ("rule", "path", "matches"),
    [
        ("/a b", "/a%20b", True),
        ("/%C3%A9", "/é", True),
        ("/a%2fb", "/a%2Fb", True),
        ("/a%2Fb", "/a/b", False),
        ("/file-%2A.html", "/file-*.html", True),
        ("/file-%2A.html", "/file-x.html", False),
        ("/x$", "/x", True),
        ("/x$", "/xy", False),
        ("/*?$", "/a?", True),
        ("/*?$", "/a?b", False),
        ("/x%24", "/x$y", True),
        ("//a", "/a", True),
        ("/*a*b*c$", "/xaybzc", True),
        ("/*a*b*c$", "/xaybzcd", False),
        ("/a[bc]", "/ab", False),
        ("*x", "/x", True),
    ],
)
def test_what_a_pattern_matches(rule: str, path: str, matches: bool) -> None:
    assert allows(f"User-agent: *\nDisallow: {rule}", path) is not matches


def test_the_longest_match_decides_and_allow_wins_ties() -> None:
    text = "User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /a/b/c\nAllow: /a/b/c"
    assert not allows(text, "/a")
    assert allows(text, "/a/b")
    assert allows(text, "/a/b/c")
    assert allows("User-agent: *\nDisallow: /", "/robots.txt")


@pytest.mark.parametrize("body", ["<html>Disallow: /", " \n<!DOCTYPE", "", "\0\0", "# only"])
def test_what_is_no_robots_file_has_no_rules(body: str) -> None:
    assert allows(body + "\nUser-agent: *\nDisallow: /a", "/a") is body.lstrip().startswith("<")


def test_what_is_beyond_the_cap_is_not_read_and_its_last_line_is_whole() -> None:
    head = b"User-agent: *\nDisallow: /a\n"
    filler = b"#" * (MAX_ROBOTS_BYTES - len(head) - 12) + b"\n"
    body = head + filler + b"Disallow: /" + b"b" * 20
    assert not allows(body, "/a")
    assert allows(body, "/bb")


def test_a_crawl_delay_between_two_agents_does_not_part_them() -> None:
    text = "User-agent: *\nCrawl-delay: 2\nUser-agent: other\nDisallow: /search/\n"
    assert not allows(text, "/search/")
    (found,) = parse_robots(text.encode())
    assert found.delay_seconds == 2


def test_crawl_delay_and_usage_are_those_of_our_group() -> None:
    text = (
        "User-agent: *\nCrawl-delay: 99\nUser-agent: openwit\nCrawl-delay: 2.5\ncrawl-delay: x\n"
        "Content-Usage: train-ai=n\nContent-Usage: /ok/ train-ai=y\nContent-Usage: /bad ]["
    )
    (found,) = parse_robots(text.encode())
    assert found.delay_seconds == 2.5
    assert found.usage_refused("/test", ["train-ai"]) == ["train-ai"]
    assert found.usage_refused("/ok/test", ["train-ai"]) == []
    assert found.usage_refused("/bad", ["train-ai", "search"]) == ["train-ai"]


HEAD = b"User-agent: *\n"
HOSTILE = {
    "rules of 100 stars": b"".join(b"Disallow: /" + b"*a" * 99 + b"*%d\n" % n for n in range(3000)),
    "rules of 20 stars": b"".join(b"Disallow: /*" + b"a*" * 20 + b"%d\n" % n for n in range(9000)),
    "one rule of stars": b"Disallow: " + b"*" * 500_000,
    "blanks": b" " * 500_000,
    "many rules": b"".join(b"allow:/%x\n" % n for n in range(40_000)),
    "many agents": b"".join(b"user-agent:a%d\n" % n for n in range(12_000))
    + b"disallow:/a\n" * 12_000,
    "escapes": b"Disallow: /" + b"%41" * 160_000,
    "line ends": b"\r" * 500_000,
    "usage": b"content-usage: /a train-ai=n\n" * 17_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_cost_little(name: str) -> None:
    began = time.process_time()
    (found,) = parse_robots(HEAD + HOSTILE[name])
    read = time.process_time() - began
    asked = []
    for _ in range(5):  # the best of them: a busy machine must not fail a law
        began = time.process_time()
        found.refuses("/" + "a" * 2_000)
        found.usage_refused("/" + "a" * 2_000, ["train-ai"])
        asked.append(time.process_time() - began)
    assert read < 1.0  # 0.5 s on a quiet core
    assert min(asked) < 0.1  # 0.02 s


@given(st.binary(max_size=400), st.text(max_size=60))
def test_no_bytes_raise(body: bytes, path: str) -> None:
    (found,) = parse_robots(body)
    found.refuses("/" + path.encode("utf-8", "ignore").decode())
    found.usage_refused("/", ["train-ai"])


PATHS = st.text(alphabet="ab/.", min_size=1, max_size=6).map("/".__add__)
RULES = st.lists(st.tuples(st.booleans(), st.text("ab/*", max_size=6).map("/".__add__)), max_size=5)


@given(RULES, PATHS)
def test_it_never_allows_what_robotspy_forbids_on_clean_files(
    rules: list[tuple[bool, str]], path: str
) -> None:
    clean = [(allow, rule.replace("//", "/").replace("//", "/")) for allow, rule in rules]
    path = path.replace("//", "/").replace("//", "/").replace("//", "/")
    lines = [f"{'Allow' if allow else 'Disallow'}: {rule}" for allow, rule in clean]
    text = "\n".join(["User-agent: *", *lines, ""])
    oracle = RobotsParser.from_string(text).can_fetch("openwit", f"https://h{path}")
    assert oracle or not allows(text, path)
