"""The whole stage against a web on loopback that does what it should not; its log is the judge.

127.5.0.1 stands for all of the public web, 127.0.0.1 and ::1 for what must never be reached.
"""

import gzip
import itertools
import pathlib
import re
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import brotli
import pycurl
import pytest
import zstandard

from filters.urls.url_key import join_url
from pipeline.fetch.asking.hosts import origins_of
from pipeline.fetch.settings import FetchSettings
from pipeline.visit.client import Client
from pipeline.visit.fetcher import Request
from pipeline.visit.settings import VisitSettings
from tests.pipeline.stages.test_fetch import Run, made, picture
from tests.pipeline.stages.test_fetch_web import ledger
from tests.pipeline.visit.loopback import Answer, Exchange, Web, answer, certificate, raw, serving
from tests.pipeline.visit.test_client import HOSTILE

__all__ = ["made"]  # the fixture

PUBLIC = "127.5.0.1"
MAX_BYTES = 200_000
TOTAL_S = 1.0

# By port and name: the addresses of the first request, of the second, ...; the last ones stay.
Names = Mapping[str, list[str]]


class NamingClient(Client):
    """A client whose DNS is the test's."""

    def __init__(self, settings: VisitSettings, names: Names) -> None:
        self._names = {name: iter([*found, *itertools.repeat(found[-1], 99)])
                       for name, found in names.items()}  # fmt: skip
        self._lines: list[str] = []
        self._handles: list[Any] = []
        super().__init__(settings)

    def new_handle(self) -> Any:
        curl = super().new_handle()
        curl.setopt(pycurl.RESOLVE, self._lines)
        self._handles.append(curl)
        return curl

    def submit(self, request: Request) -> None:
        place = request.url.partition("://")[2].partition("/")[0]
        if place in self._names:
            self._lines = [f"{place}:{next(self._names[place])}"]
            for curl in self._handles:
                curl.setopt(pycurl.RESOLVE, self._lines)
        super().submit(request)


@pytest.fixture
def public() -> Iterator[Web]:
    origins_of.cache_clear()
    with serving(Web(), PUBLIC) as web:
        yield web


@pytest.fixture
def inner() -> Iterator[Web]:
    """What nobody outside may reach; it would give its secret to whoever asks."""
    with serving(Web(default=answer(picture(1)))) as web:
        yield web


def settings(*webs: Web, **changed: Any) -> FetchSettings:
    quick: dict[str, Any] = {
        "connect_s": 1.0, "first_byte_s": 0.5, "total_s": TOTAL_S, "max_bytes": MAX_BYTES,
        "delay_s": 0.0, "delay_factor": 0.0, "address_connections": 64, "rounds": 1,
        "allow_networks": (f"{PUBLIC}/32",), "ports": (80, *(web.port for web in webs)),
    }  # fmt: skip
    return FetchSettings(source="web", contact="https://example.org/bot", **{**quick, **changed})


def hosts(names: list[str], web: Web) -> tuple[str, ...]:
    """Return `connect_to` for names that a web answers under."""
    return tuple(f"{name}:80:{PUBLIC}:{web.port}" for name in names)


def outcomes(made: Run, given: FetchSettings, *urls: str) -> dict[str, tuple[str, str | None]]:
    """Fetch URLs and return reason and value of each; ("ok", None) for an image."""
    pairs = {url: made.pair(url, url=str(join_url("", url))) for url in urls}
    made.fetch(given)
    lost = ledger(made)
    return {url: lost.get(pair, ("ok", None)) for url, pair in pairs.items()}


def coded(body: bytes, *codings: str) -> Answer:
    headers = tuple(f"Content-Encoding: {coding}" for coding in codings)
    return answer(body, headers=(*headers, "Content-Type: image/jpeg"))


def moved(target: str) -> Answer:
    return answer(status=302, headers=(f"Location: {target}",))


def png(width: int, height: int) -> bytes:
    """Return a PNG of one colour, 1 bit a pixel."""
    rows = zlib.compress((b"\0" + bytes((width + 7) // 8)) * min(height, 100))
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def gif(frames: int) -> bytes:
    """Return a GIF of 80 x 80 px, each frame of which sets one pixel."""
    head = b"GIF89a" + struct.pack("<HH", 80, 80) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02\x44\x01\0"
    return head + frame * frames + b";"


ZEROS = bytes(50 << 20)
GZIP = gzip.compress(ZEROS)
CASES: list[tuple[str, Answer, set[str]]] = [
    ("good", answer(picture(1)), {"ok"}),
    ("gzip-coded-image", coded(gzip.compress(picture(1)), "gzip"), {"ok"}),
    ("gzip-bomb", coded(GZIP, "gzip"), {"body_encoding", "too_large"}),
    ("br-bomb", coded(brotli.compress(ZEROS, quality=1), "br"), {"body_encoding", "too_large"}),
    ("deflate-bomb", coded(zlib.compress(ZEROS), "deflate"), {"body_encoding", "too_large"}),
    ("zstd-bomb", coded(zstandard.compress(ZEROS), "zstd"), {"body_encoding", "too_large"}),
    ("nested-bomb", coded(gzip.compress(GZIP), "gzip", "gzip"), {"body_encoding", "too_large"}),
    ("page-as-jpg", answer(b"<html>no", headers=("Content-Type: image/jpeg",)), {"not_image"}),
    ("line", answer(png(2000, 1)), {"too_small"}),
    ("huge", answer(png(16_000, 16_000)), {"too_many_pixels"}),
    ("frames", answer(gif(10_000)), {"ok"}),
    ("half", answer(picture(1)[:-3000]), {"truncated_image"}),
    ("file", moved("file:///etc/passwd"), {"redirect_refused"}),
    ("userinfo", moved("http://a:b@good.example/"), {"redirect_refused"}),
    ("loop", moved("http://loop.example/x"), {"redirect_limit"}),
    ("retry-minus", answer(status=429, headers=("Retry-After: -1",)), {"http_busy"}),
    ("retry-float", answer(status=503, headers=("Retry-After: 1e9",)), {"http_busy"}),
    (
        "retry-9999",
        answer(
            status=503,
            headers=(
                "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT",
                "Date: Thu, 26 Nov 2026 12:00:00 GMT",
            ),
        ),
        {"site_paused", "http_busy"},
    ),
]


def test_every_hostile_answer_ends_as_listed_and_in_time(made: Run, public: Web) -> None:
    cases: dict[str, tuple[Answer, set[str]]] = {
        f"{name}.example": (given, expected) for name, given, expected in CASES
    }
    for number, (_, given, drops) in enumerate(HOSTILE):
        cases[f"client{number}.example"] = given, {drop.reason.value for drop in drops}
    public.answers |= {f"{host}/x": given for host, (given, _) in cases.items()}
    began = time.monotonic()
    found = outcomes(
        made,
        settings(public, connect_to=hosts(list(cases), public)),
        *(f"http://{host}/x" for host in cases),
    )
    # Second tries wait for a back-off of 2.5 to 5 s; all hosts go side by side.
    assert time.monotonic() - began < 3 * (TOTAL_S + 1) + 10
    wrong = {
        host: found[f"http://{host}/x"]
        for host, (_, expected) in cases.items()
        if found[f"http://{host}/x"][0] not in expected
    }
    assert wrong == {}


SPELLED = [
    *("http://2130706433:{port}/x", "http://0x7f.1:{port}/x", "http://0177.0.0.1:{port}/x"),
    *("http://[::ffff:127.0.0.1]:{port}/x", "http:\\\\127.0.0.1:{port}\\x"),
    "http://127.1:{port}/x",
]


def test_no_spelling_of_a_refused_address_gets_a_byte(made: Run, public: Web, inner: Web) -> None:
    urls = [spelled.format(port=inner.port) for spelled in SPELLED]
    found = outcomes(made, settings(public, inner), *urls)
    assert {reason for reason, _ in found.values()} == {"address_refused"}
    assert inner.connections == 0


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["127.0.0.1"], ("address_refused", "127.0.0.1")),  # as a CNAME to localhost gives it
        ([PUBLIC, PUBLIC, "127.0.0.1"], ("address_refused", "127.0.0.1")),  # rebinding
        ([f"{PUBLIC},[::1]"], ("address_refused", "::1")),
        ([f"[::1],{PUBLIC}"], ("address_refused", "::1")),
        ([f"127.0.0.1,{PUBLIC}"], ("address_refused", "127.0.0.1")),
        ([PUBLIC], ("ok", None)),
    ],
)
def test_what_a_name_leads_to_is_judged_at_each_connection(
    made: Run,
    public: Web,
    inner: Web,
    monkeypatch: pytest.MonkeyPatch,
    addresses: list[str],
    expected: tuple[str, str | None],
) -> None:
    # Every answer says that it ends its connection, so each request asks the DNS again.
    body = picture(1)
    public.default = raw(b"HTTP/1.1 404 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    head = b"HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    public.answers["/x"] = raw(head + body)
    names = {f"name.example:{public.port}": addresses}
    monkeypatch.setattr(
        "pipeline.fetch.asking.hosts.open_fetcher", lambda given: NamingClient(given, names)
    )
    with serving(Web(), "::1") as six:
        url = f"http://name.example:{public.port}/x"
        assert outcomes(made, settings(public), url) == {url: expected}
        assert six.connections == inner.connections == 0
    if expected[0] == "address_refused":
        assert "/x" not in public.paths


def test_redirects_lead_to_no_refused_address(made: Run, public: Web, inner: Web) -> None:
    targets = ["http://169.254.169.254/latest/meta-data/", inner.url("/x")]
    names = [f"h{number}.example" for number in range(len(targets))]
    for name, target in zip(names, targets, strict=True):
        public.answers[f"{name}/x"] = moved(target)
    given = settings(public, inner, connect_to=hosts(names, public), rounds=3)
    found = outcomes(made, given, *(f"http://{name}/x" for name in names))
    assert [*found.values()] == [
        ("address_refused", "169.254.169.254"),
        ("address_refused", "127.0.0.1"),
    ]
    assert inner.connections == 0


def test_robots_may_not_lead_to_a_refused_address_either(
    made: Run, public: Web, inner: Web
) -> None:
    public.answers["/robots.txt"] = moved(inner.url("/robots.txt"))
    given = settings(public, inner, connect_to=hosts(["h.example"], public))
    found = outcomes(made, given, "http://h.example/x")
    assert found == {"http://h.example/x": ("robots_unreachable", None)}
    assert inner.connections == 0


def silent(exchange: Exchange) -> None:
    exchange.silence()


def robots(body: bytes, status: int = 200) -> Answer:
    return answer(body, status)


RULES = b"User-agent: *\nDisallow: /x\n"
ROBOTS: list[tuple[str, Answer, str]] = [
    ("404", robots(b"", 404), "ok"),
    ("403", robots(b"", 403), "robots_disallowed"),
    ("429", robots(b"", 429), "robots_unreachable"),
    ("503", robots(b"", 503), "robots_unreachable"),
    ("silence", silent, "robots_unreachable"),
    ("html", robots(b"<html>" + RULES), "ok"),
    ("bom", robots(b"\xef\xbb\xbf" + RULES), "robots_disallowed"),
    ("utf16", robots(RULES.decode().encode("utf-16")), "robots_disallowed"),
    ("cr", robots(RULES.replace(b"\n", b"\r")), "robots_disallowed"),
    ("600-kib", robots(RULES + b"#" * (600 << 10)), "robots_disallowed"),
    ("late-rule", robots(b"#" * (600 << 10) + b"\n" + RULES), "ok"),
    (
        "stars",
        robots(b"User-agent: *\n" + b"Disallow: " + b"/*a" * 100 + b"b\n" + RULES[14:] * 9_999),
        "robots_disallowed",
    ),
]


def test_every_robots_file_means_what_the_specification_says(made: Run, public: Web) -> None:
    names = {f"r{name}.example": (given, expected) for name, given, expected in ROBOTS}
    public.answers["/x"] = answer(picture(1))
    public.answers |= {f"{host}/robots.txt": given for host, (given, _) in names.items()}
    given = settings(public, connect_to=hosts(list(names), public))
    found = outcomes(made, given, *(f"http://{host}/x" for host in names))
    assert {url: reason for url, (reason, _) in found.items()} == {
        f"http://{host}/x": expected for host, (_, expected) in names.items()
    }
    asked = {each.host for each in public.log if each.path == "/x"}
    assert asked == {host for host, (_, expected) in names.items() if expected == "ok"}


RESERVED = b'[{"location": "/x", "tdm-reservation": 1}]'
TDM: list[tuple[str, bytes, str]] = [
    ("reserved", RESERVED, "optout_host"),
    ("other-path", RESERVED.replace(b"/x", b"/y"), "ok"),
    ("bad", RESERVED[:-2], "ok"),
    ("object", RESERVED[1:-1], "ok"),
    ("deep", b"[" * 200_000, "ok"),
    ("large", RESERVED[:-1] + b" " * (1 << 20) + b"]", "ok"),
]


def test_every_tdm_file_means_what_the_specification_says(made: Run, public: Web) -> None:
    names = {f"t{name}.example": (body, expected) for name, body, expected in TDM}
    public.answers["/x"] = answer(picture(1))
    for host, (body, _) in names.items():
        public.answers[f"{host}/.well-known/tdmrep.json"] = answer(body)
    given = settings(public, connect_to=hosts(list(names), public))
    found = outcomes(made, given, *(f"http://{host}/x" for host in names))
    assert {url: reason for url, (reason, _) in found.items()} == {
        f"http://{host}/x": expected for host, (_, expected) in names.items()
    }


@pytest.mark.parametrize(("name", "days"), [(PUBLIC, 30), (PUBLIC, -1)])
def test_a_bad_certificate_is_final_and_nothing_is_sent(
    made: Run, tmp_path: pathlib.Path, name: str, days: int
) -> None:
    origins_of.cache_clear()
    context, _ = certificate(tmp_path, name=name, days=days)
    with serving(Web(context=context), PUBLIC) as web:
        found = outcomes(made, settings(web, rounds=3), web.url("/x"), web.url("/y"))
        assert {reason for reason, _ in found.values()} == {"tls_certificate"}
        assert web.log == []
        assert web.connections == 1  # for robots.txt; its failure holds for the origin


def test_what_changed_since_it_was_listed_is_a_mismatch(made: Run, public: Web) -> None:
    public.answers["/x"] = answer(picture(1))
    made.pair("x", url=public.url("/x"), expect_sha256=bytes(32))
    made.fetch(settings(public))
    assert [reason for reason, _ in ledger(made).values()] == ["hash_mismatch"]


def test_the_documentation_names_tests_for_every_line() -> None:
    root = pathlib.Path(__file__).parents[3]
    text = (root / "docs" / "fetching.md").read_text("utf-8")
    table = text.partition("## What hostile input")[2].partition("\n## ")[0]
    cells = [line.split("|")[-2] for line in table.splitlines() if line.startswith("| ")][1:]
    named = [re.findall(r"`(test_\w+)`", cell) for cell in cells]
    assert all(names or cell == " the same " for names, cell in zip(named, cells, strict=True))
    tests = "".join(path.read_text("utf-8") for path in root.glob("tests/**/test_*.py"))
    assert [name for names in named for name in names if f"def {name}(" not in tests] == []
