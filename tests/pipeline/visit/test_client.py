import contextlib
import os
import pathlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from filters.verdict import Drop, DropReason
from pipeline.visit.client import Client
from pipeline.visit.fetcher import Request, Result
from pipeline.visit.settings import VisitSettings
from tests.pipeline.visit.loopback import Answer, Exchange, Web, answer, certificate, raw, serving

OPEN = ("127.0.0.0/8", "::1/128")
MAX_BYTES = 200_000


def settings(**changed: Any) -> VisitSettings:
    quick = {"connect_s": 1.0, "first_byte_s": 0.5, "total_s": 1.0, "address_connections": 64}
    given = {"contact": "https://example.org/bot", "allow_networks": OPEN, **quick, **changed}
    return VisitSettings(**given)


def ask(
    *urls: str, given: VisitSettings | None = None, keep_framing: bool = False, **changed: Any
) -> list[Result]:
    """Ask for URLs at the same time and return their results in the same order."""
    client = Client(given or settings(), keep_framing=keep_framing)
    found: list[Result] = []
    with contextlib.closing(client):
        for key, url in enumerate(urls):
            filled = {"kind": "image", "total_seconds": 1.0, "max_bytes": MAX_BYTES, **changed}
            client.submit(Request(key=key, url=url, **filled))
        deadline = time.monotonic() + 10
        while len(found) < len(urls) and time.monotonic() < deadline:
            found += client.results(0.2)
        client.results(0.0)
        assert client.held_bytes == 0
    return sorted(found, key=lambda result: result.request.key)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as made:
        yield made


def test_an_answer_comes_as_it_was_sent(web: Web) -> None:
    web.answers["/a?b"] = answer(b"the body", headers=("Content-Type: image/png", "X: \xe9"))
    (result,) = ask(web.url("/a?b"))
    assert (result.drop, result.status, result.body) == (None, 200, b"the body")
    assert result.headers.get("x") == "\xe9"
    assert result.head.startswith(b"HTTP/1.1 200 X\r\nContent-Type: image/png\r\n")
    assert result.head.endswith(b"\r\n\r\n")
    assert result.ip == "127.0.0.1"
    sent = web.log[0].headers
    assert sent["user-agent"].startswith("openwit/")
    assert sent["user-agent"].endswith("(+https://example.org/bot)")
    assert sent["accept-encoding"] == "identity"
    assert {"cookie", "referer", "authorization"}.isdisjoint(sent)


def test_a_connection_is_used_again(web: Web) -> None:
    web.default = answer(b"x")
    with contextlib.closing(Client(settings())) as client:
        for key in range(5):
            request = Request(
                key=key, url=web.url(f"/{key}"), kind="image", total_seconds=1.0, max_bytes=10
            )
            client.submit(request)
            assert [result.status for result in client.results(2.0)] == [200]
    assert web.connections == 1


def chunks(*parts: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed


def test_chunks_are_joined_unless_the_framing_is_kept(web: Web) -> None:
    web.answers["/x"] = raw(chunks(b"ab", b"c", b""))
    assert ask(web.url("/x"))[0].body == b"abc"
    kept = ask(web.url("/x"), keep_framing=True)[0]
    assert (kept.drop, kept.body) == (None, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")


def slow(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n\r\n")
    exchange.drip(b"x", 0.1)


def endless(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n\r\n")
    exchange.drip(b"x" * 50_000, 0.001)


def endless_chunks(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    exchange.drip(b"c350\r\n" + b"x" * 50_000 + b"\r\n", 0.001)


def interim_flood(exchange: Exchange) -> None:
    exchange.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0.001)


def silent(exchange: Exchange) -> None:
    exchange.silence()


def reset(exchange: Exchange) -> None:
    exchange.socket.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
    )
    os.close(exchange.socket.detach())


OK = b"HTTP/1.1 200 OK\r\n"
HOSTILE: list[tuple[str, Answer, set[Drop]]] = [
    ("a byte now and then", slow, {Drop(DropReason.TIMEOUT, "total")}),
    ("silence", silent, {Drop(DropReason.TIMEOUT, "first-byte")}),
    ("an endless body", endless, {Drop(DropReason.TOO_LARGE, MAX_BYTES)}),
    ("endless chunks", endless_chunks, {Drop(DropReason.TOO_LARGE, MAX_BYTES)}),
    (
        "a length above the limit",
        answer(b"x" * (MAX_BYTES + 1)),
        {Drop(DropReason.TOO_LARGE, MAX_BYTES + 1)},
    ),
    (
        "a length that is no number",
        raw(OK + b"Content-Length: zehn\r\n\r\nx"),
        {Drop(DropReason.PROTOCOL, 8)},
    ),
    (
        "a negative length",
        raw(OK + b"Content-Length: -5\r\n\r\nx"),
        {Drop(DropReason.PROTOCOL, 8)},
    ),
    (
        "a length too great",
        raw(OK + b"Content-Length: 10\r\n\r\nx"),
        {Drop(DropReason.CONNECTION_LOST)},
    ),
    (
        "bad chunks",
        raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx"),
        {Drop(DropReason.PROTOCOL, 56)},
    ),
    ("HTTP/0.9", raw(b"<html>no head</html>"), {Drop(DropReason.PROTOCOL, 1)}),
    (
        "a head of 1 MB",
        raw(OK + b"X: y\r\n" * 170_000 + b"\r\n"),
        {Drop(DropReason.PROTOCOL, "head"), Drop(DropReason.PROTOCOL, 100)},
    ),
    ("a flood of 1xx", interim_flood, {Drop(DropReason.PROTOCOL, "head")}),
    ("a reset", reset, {Drop(DropReason.CONNECTION_LOST)}),
    ("nothing", raw(b""), {Drop(DropReason.CONNECTION_LOST)}),
]


@pytest.mark.parametrize(
    ("name", "hostile", "expected"), HOSTILE, ids=[each[0] for each in HOSTILE]
)
def test_a_hostile_server_ends_as_listed(
    web: Web, name: str, hostile: Answer, expected: set[Drop]
) -> None:
    web.answers["/x"] = hostile
    began = time.monotonic()
    (result,) = ask(web.url("/x"), judge=lambda status, headers: None)
    assert result.drop in expected
    assert time.monotonic() - began < 2.0  # total_s + 1


def test_a_server_that_takes_no_connection(web: Web) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (result,) = ask(f"http://127.0.0.1:{port}/")
    assert result.drop == Drop(DropReason.CONNECT)


def test_a_handshake_that_never_ends_is_a_connect_timeout(web: Web) -> None:
    web.default = silent
    (result,) = ask(web.url("/").replace("http:", "https:"))
    assert result.drop in {Drop(DropReason.CONNECT_TIMEOUT), Drop(DropReason.TLS)}


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.1", "localhost"])
def test_no_connection_is_made_to_an_address_that_is_not_public(web: Web, host: str) -> None:
    (result,) = ask(f"http://{host}:{web.port}/", given=settings(allow_networks=()))
    assert result.drop is not None
    assert result.drop.reason is DropReason.ADDRESS_REFUSED
    assert web.connections == 0


def test_a_mapped_address_is_judged_by_the_one_inside(web: Web) -> None:
    url = f"http://[::ffff:127.0.0.1]:{web.port}/"
    (result,) = ask(url, given=settings(allow_networks=()))
    assert result.drop is not None
    assert result.drop.reason is DropReason.ADDRESS_REFUSED
    assert web.connections == 0


def test_a_name_that_leads_to_loopback_is_refused(web: Web) -> None:
    given = settings(allow_networks=(), connect_to=(f"rebind.example:80:127.0.0.1:{web.port}",))
    (result,) = ask("http://rebind.example/", given=given)
    assert result.drop == Drop(DropReason.ADDRESS_REFUSED, "127.0.0.1")
    assert web.connections == 0


def test_a_name_may_be_served_by_another_place(web: Web) -> None:
    web.default = answer(b"mirror")
    given = settings(connect_to=(f"www.example.com:80:127.0.0.1:{web.port}",))
    (result,) = ask("http://www.example.com/x", given=given)
    assert result.body == b"mirror"
    assert web.log[0].host == "www.example.com"


def test_environment_proxies_are_not_used(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    web.default = answer(b"direct")
    assert ask(web.url("/"))[0].body == b"direct"


@pytest.mark.parametrize("days", [30, -1])
def test_certificates_nobody_vouches_for_are_refused(tmp_path: pathlib.Path, days: int) -> None:
    context, _ = certificate(tmp_path, days=days)
    with serving(Web(context=context, default=answer(b"secret"))) as web:
        (result,) = ask(web.url("/"))
        assert result.drop == Drop(DropReason.TLS_CERTIFICATE)
        assert web.log == []
        (lax,) = ask(web.url("/"), given=settings(tls_verify=False))
        assert lax.body == b"secret"


def test_a_certificate_for_another_address_is_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, pem = certificate(tmp_path, name="127.0.0.2")
    monkeypatch.setattr("certifi.where", lambda: str(pem))
    with serving(Web(context=context, default=answer(b"secret")), "127.0.0.2") as web:
        assert ask(web.url("/"))[0].body == b"secret"
    with serving(Web(context=context, default=answer(b"secret"))) as web:
        assert ask(web.url("/"))[0].drop == Drop(DropReason.TLS_CERTIFICATE)


def test_a_judge_ends_an_answer_before_its_body(web: Web) -> None:
    web.answers["/x"] = answer(b"body" * 1000, headers=("X-Robots-Tag: noai",))
    drop = Drop(DropReason.OPTOUT_IMAGE, "mark")
    (result,) = ask(web.url("/x"), judge=lambda status, headers: drop)
    assert (result.drop, result.body) == (drop, b"")


def test_at_most_so_many_requests_go_to_one_address(web: Web) -> None:
    web.default = answer(b"x", after=0.1)
    results = ask(*[web.url(f"/{n}") for n in range(6)], given=settings(address_connections=2))
    assert [result.is_full for result in results].count(True) == 4
    assert [result.status for result in results].count(200) == 2
    assert web.connections == 2


def test_bodies_hold_no_more_than_the_buffer_and_one(web: Web) -> None:
    size = 100_000
    web.default = answer(b"x" * size)
    given = settings(buffer_bytes=150_000, total_s=5.0)
    client, most = Client(given), 0
    bodies: list[bytes] = []
    with contextlib.closing(client):
        for key in range(8):
            request = Request(
                key=key, url=web.url(f"/{key}"), kind="image", total_seconds=5.0, max_bytes=size
            )
            client.submit(request)
        deadline = time.monotonic() + 10
        while len(bodies) < 8 and time.monotonic() < deadline:
            bodies += [result.body for result in client.results(0.2)]
            most = max(most, client.held_bytes)
    assert [len(body) for body in bodies] == [size] * 8
    assert most <= 150_000 + size


def test_an_idle_client_waits_without_work(web: Web) -> None:
    web.default = answer(b"x", after=0.4)
    began = time.process_time()
    ask(web.url("/"))
    assert time.process_time() - began < 0.2
