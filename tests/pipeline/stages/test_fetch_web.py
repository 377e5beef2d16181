import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.consent.decision import ConsentSettings
from filters.verdict import Drop, DropReason
from manifests.base.errors import ConfigError
from pipeline.engine.stage_dir import StageRecord
from pipeline.fetch.asking.hosts import origins_of
from pipeline.fetch.outcomes import WAITING
from pipeline.fetch.settings import FetchSettings
from pipeline.fetch.web import WebKernel, waiting_rows
from pipeline.records import MATCHED
from pipeline.visit.fetcher import Request
from tests.pipeline.stages.test_fetch import SITE, Run, made, picture, rows_of, stored
from tests.pipeline.visit.replay import Clock, Replay, Reply

__all__ = ["made"]  # the fixture

WEB = FetchSettings(source="web", contact="https://example.org/bot")


@dataclasses.dataclass
class FakeWeb:
    """What hosts answer; by default every URL is a picture of its own."""

    replies: dict[str, Reply | list[Reply]] = dataclasses.field(default_factory=dict)
    asked: list[str] = dataclasses.field(default_factory=list)
    stop_after: int = 10**9

    def __call__(self, request: Request) -> Reply:
        if len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(request.url)
        reply = self.replies.get(request.url)
        if isinstance(reply, list):
            return reply.pop(0) if len(reply) > 1 else reply[0]
        if reply is not None:
            return reply
        if request.kind in ("robots", "tdm"):
            return Reply(404)
        seed = int.from_bytes(hashlib.sha256(request.url.encode()).digest()[:4], "big")
        return Reply(body=picture(seed), headers=("Content-Type: image/png", 'ETag: "e"'))

    @property
    def images(self) -> list[str]:
        return [url for url in self.asked if "robots.txt" not in url and "tdmrep" not in url]


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> FakeWeb:
    fake, clock = FakeWeb(), Clock()
    hosts = "pipeline.fetch.asking.hosts"
    monkeypatch.setattr(f"{hosts}.open_fetcher", lambda settings: Replay(clock, fake))
    monkeypatch.setattr(f"{hosts}.time.monotonic", clock)
    origins_of.cache_clear()
    return fake


def ledger(run: Run) -> dict[bytes, tuple[str, str | None]]:
    """Return reason and value by pair, of the steps that account for their rows."""
    found = {}
    for record in run.engine.records:
        if record.accounts and record.stage == "fetch":
            for path in record.paths("drops"):
                for row in pq.read_table(path).to_pylist():
                    assert row["pair_id"] not in found
                    found[row["pair_id"]] = (row["reason"], row["value"])
    return found


def steps(run: Run) -> list[str]:
    return [record.step for record in run.engine.records if record.stage == "fetch"]


def test_each_pair_gets_the_image_of_its_url(made: Run, web: FakeWeb) -> None:
    ids = {made.pair(f"{number}.png"): number for number in range(3)}
    again = made.pair("0.png", "another text")
    record = made.fetch(WEB)
    rows = {row["pair_id"]: row for row in rows_of(record)}
    assert set(rows) == {*ids, again}
    for pair, number in ids.items():
        row = rows[pair]
        reply = FakeWeb()(Request(key=0, url=f"{SITE}{number}.png", kind="image",
                                  total_seconds=1, max_bytes=1))  # fmt: skip
        assert row["original_sha256"] == hashlib.sha256(reply.body).digest()
        assert hashlib.sha256(stored(record, row)).digest() == row["sha256"]
        assert (row["image_source"], row["http_status"], row["attempts"]) == ("web", 200, 1)
        assert (row["content_type"], row["etag"], row["ip"]) == ("image/png", '"e"', "192.0.2.1")
        assert row["final_url"] == f"{SITE}{number}.png"
    assert sorted(web.images) == sorted(f"{SITE}{number}.png" for number in range(3))
    assert (record.rows_in, record.rows_out) == (4, 4)
    assert steps(made) == ["fetch-r1", "fetch"]


def test_without_a_contact_nothing_is_asked(made: Run, web: FakeWeb) -> None:
    made.pair("x.png")
    with pytest.raises(ConfigError, match=r"fetch\.contact: not set"):
        made.fetch(FetchSettings(source="web"))
    assert web.asked == []


def test_every_pair_is_out_or_dropped_with_its_reason(made: Run, web: FakeWeb) -> None:
    web.replies |= {
        f"{SITE}gone.png": Reply(404),
        f"{SITE}denied.png": Reply(403),
        f"{SITE}odd.png": Reply(206),
        f"{SITE}page.png": Reply(body=b"<html>not found</html>"),
        f"{SITE}empty.png": Reply(),
        f"{SITE}coded.png": Reply(body=b"\x1f\x8b\x08junk", headers=("Content-Encoding: gzip",)),
        f"{SITE}marked.png": Reply(body=picture(1), headers=("X-Robots-Tag: noai",)),
        f"{SITE}small.png": Reply(body=picture(2, size=20)),
        f"{SITE}robots.txt": Reply(body=b"User-agent: *\nDisallow: /private/"),
    }
    expected = {
        made.pair("gone.png"): ("http_gone", "404"),
        made.pair("denied.png"): ("http_denied", "403"),
        made.pair("odd.png"): ("http_status", "206"),
        made.pair("page.png"): ("not_image", "html"),
        made.pair("empty.png"): ("empty_body", None),
        made.pair("coded.png"): ("body_encoding", None),
        made.pair("marked.png"): ("optout_image", "x-robots-tag:noai"),
        made.pair("small.png"): ("too_small", "20x20"),
        made.pair("private/x.png"): ("robots_disallowed", None),
        made.pair("x.png", optout=["robots:noai"]): ("optout_page", "robots:noai"),
    }
    kept = made.pair("x.png", "of an unmarked page")
    record = made.fetch(WEB)
    assert [row["pair_id"] for row in rows_of(record)] == [kept]
    assert ledger(made) == expected
    assert record.rows_in == 11


def test_a_round_asks_exactly_what_failed_for_now(made: Run, web: FakeWeb) -> None:
    lost = Reply(drop=Drop(DropReason.TIMEOUT, "total"))
    web.replies |= {
        f"{SITE}late.png": [lost, Reply(body=picture(1))],
        f"{SITE}never.png": lost,
        f"{SITE}gone.png": Reply(404),
    }
    late, never, gone = (made.pair(f"{name}.png") for name in ("late", "never", "gone"))
    ok = made.pair("ok.png")
    record = made.fetch(WEB)
    assert {row["pair_id"] for row in rows_of(record)} == {late, ok}
    assert ledger(made) == {never: ("timeout", "total"), gone: ("http_gone", "404")}
    assert steps(made) == ["fetch-r1", "fetch-r2", "fetch-r3", "fetch"]
    assert web.images.count(f"{SITE}never.png") == 3
    assert web.images.count(f"{SITE}late.png") == 2
    assert web.images.count(f"{SITE}ok.png") == web.images.count(f"{SITE}gone.png") == 1


def test_a_redirect_to_another_site_is_followed_in_the_next_round(made: Run, web: FakeWeb) -> None:
    away = Reply(301, headers=("Location: http://elsewhere.example/y.png",))
    web.replies[f"{SITE}x.png"] = away
    pair = made.pair("x.png")
    record = made.fetch(WEB)
    (row,) = rows_of(record)
    assert (row["pair_id"], row["url"], row["redirects"]) == (pair, f"{SITE}x.png", 1)
    assert row["final_url"] == "http://elsewhere.example/y.png"
    assert made.fetch(dataclasses.replace(WEB, rounds=1, reuse="never")).rows_out == 0
    assert ("redirect_site", "http://elsewhere.example/y.png") in ledger(made).values()


def test_budget_and_fan_out_are_nested_and_need_no_request(made: Run, web: FakeWeb) -> None:
    for number in range(6):
        made.pair(f"{number}.png")
        made.pair(f"{number}.png", "another text")
    kept = []
    for budget in (2, 4):
        settings = dataclasses.replace(WEB, site_budget=budget, pairs_per_url=1, reuse="never")
        web.asked.clear()
        record = made.fetch(settings)
        assert len(web.images) == budget
        kept.append({row["pair_id"] for row in rows_of(record)})
        drops = [made.engine.records[-1].drops]
        assert drops == [{"site_budget": 12 - 2 * budget, "url_fanout": budget}]
    assert kept[0] < kept[1]


def test_digests_of_a_list_are_held_against_the_body(made: Run, web: FakeWeb) -> None:
    body = picture(1)
    web.replies[f"{SITE}x.png"] = Reply(body=body)
    good = made.pair("x.png", "good", expect_sha256=hashlib.sha256(body).digest())
    bad = made.pair("x.png", "bad", expect_md5=b"\0" * 16)
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    assert [row["pair_id"] for row in rows_of(made.fetch(WEB))] == [good]
    assert ledger(made) == {bad: ("hash_mismatch", f"md5:{md5}")}


def test_auto_asks_only_for_what_the_archive_has_not(made: Run, web: FakeWeb) -> None:
    made.archive.add("in.png", picture(1))
    made.archive.add("bad.png", b"<html>")
    made.archive.redirect("moved.png", "/in.png")
    inside, moved, outside = (made.pair(f"{name}.png") for name in ("in", "moved", "out"))
    bad = made.pair("bad.png")
    record = made.fetch(dataclasses.replace(WEB, source="auto"))
    sources = {row["pair_id"]: row["image_source"] for row in rows_of(record)}
    assert sources == {inside: "archive", moved: "archive", outside: "web"}
    assert web.images == [f"{SITE}out.png"]
    assert ledger(made) == {bad: ("not_image", "html")}


def shown(record: StageRecord) -> list[dict[str, Any]]:
    """Return the rows without what depends on time and arrival."""
    rows = sorted(rows_of(record), key=lambda row: row["pair_id"])
    for row in rows:
        for name in ("fetched_at", "attempts", "blob", "blob_offset"):
            del row[name]
    return rows


def test_the_number_of_buckets_changes_nothing_but_places(made: Run, web: FakeWeb) -> None:
    for number in range(12):
        made.pair(f"{number}.png", url=f"http://h{number}.example/{number}.png")
    whole = shown(made.fetch(dataclasses.replace(WEB, reuse="never")))
    made.engine.bucket_bytes = 1 << 14
    made.engine.root += "-b"
    assert shown(made.fetch(dataclasses.replace(WEB, reuse="never"))) == whole
    assert len(made.engine.records[-2].units) == 8


def test_the_evidence_of_consent_is_kept(made: Run, web: FakeWeb) -> None:
    text = b"User-agent: *\nCrawl-delay: 2"
    web.replies[f"{SITE}robots.txt"] = Reply(body=text)
    made.pair("x.png")
    made.fetch(WEB)
    (path,) = made.engine.records[-2].paths("hosts")
    (row,) = pq.read_table(path).to_pylist()
    assert (row["origin"], row["site"]) == ("http://example.com", "example.com")
    assert (row["robots_status"], row["tdm_status"]) == (200, 404)
    assert row["robots_sha256"] == hashlib.sha256(text).hexdigest()
    assert (row["crawl_delay_s"], row["requests"], row["ok"]) == (2.0, 3, 1)


@pytest.mark.parametrize("stop_after", [3, 9, 13])
def test_a_killed_unit_asks_no_url_again_that_it_has_saved(
    made: Run, web: FakeWeb, stop_after: int
) -> None:
    for number in range(12):
        made.pair(f"{number}.png")
    settings = dataclasses.replace(WEB, segment_bytes=1, max_in_flight=1, reuse="never")
    web.stop_after = stop_after
    with pytest.raises(KeyboardInterrupt):
        made.fetch(settings)
    web.stop_after = 10**9
    record = made.fetch(settings)
    assert record.rows_out == 12
    repeated = [url for url in set(web.images) if web.images.count(url) > 1]
    assert len(repeated) <= 1
    for row in rows_of(record):
        assert hashlib.sha256(stored(record, row)).digest() == row["sha256"]
    folder = pathlib.Path(record.root, made.engine.records[-2].folder)
    assert not list(folder.glob("journal-*"))
    assert not list(folder.glob("segment-*"))


def test_an_image_that_ends_the_process_twice_is_given_up(
    made: Run, web: FakeWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = made.pair("bad.png"), made.pair("good.png")
    web.replies[f"{SITE}bad.png"] = Reply(body=b"bad")
    real: Callable[..., Any] = __import__(
        "pipeline.fetch.collect"
    ).fetch.collect.prepared_or_dropped

    def crash(body: bytes, *others: Any) -> Any:
        if body == b"bad":
            raise KeyboardInterrupt
        return real(body, *others)

    monkeypatch.setattr("pipeline.fetch.asking.store.prepared_or_dropped", crash)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            made.fetch(WEB)
    record = made.fetch(WEB)
    assert [row["pair_id"] for row in rows_of(record)] == [good]
    assert ledger(made) == {bad: ("decoder_crash", None)}


def test_rounds_add_up(made: Run, web: FakeWeb) -> None:
    late = [Reply(drop=Drop(DropReason.TIMEOUT, "total")), Reply(body=picture(7))]
    for number in range(4):
        made.pair(f"{number}.png")
    web.replies[f"{SITE}3.png"] = late
    assert made.fetch(dataclasses.replace(WEB, rounds=1)).rows_out == 3
    first = made.engine.records[-2]
    made.fetch(dataclasses.replace(WEB, rounds=2))
    again = [record for record in made.engine.records if record.step == "fetch-r1"]
    assert again[1].spec == first.spec
    assert json.loads(json.dumps(first.parameters)) == again[1].parameters


def test_golden_key_and_bucket() -> None:
    kernel = WebKernel(buckets=16, settings=WEB, consent=ConsentSettings())
    urls = pa.array(["http://example.com/a.jpg", "https://img.example.com/b.jpg"])
    assert {kernel.key_of(url) for url in urls.to_pylist()} == {"example.com\0" + "0"}
    digest = hashlib.blake2b(b"example.com\0" + b"0", digest_size=8).hexdigest()
    assert digest == "e4a69c537fb91ec1"
    batch = waiting_rows(pa.RecordBatch.from_pylist([], schema=MATCHED), 0)
    assert batch.schema == WAITING
    assert kernel.url_buckets(urls).tolist() == [14, 14]
