import dataclasses
import io
import pathlib
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from warcio.archiveiterator import ArchiveIterator

from filters.consent.decision import ConsentSettings
from manifests.base.errors import ConfigError, RefusedError
from pipeline.engine.stage_dir import StageRecord
from pipeline.fetch.asking.hosts import origins_of
from pipeline.fetch.settings import FetchSettings
from pipeline.readers.kinds import InputSettings
from pipeline.stages import extract
from pipeline.stages.crawl import CrawlSettings, archives, run
from pipeline.stages.extract import ExtractSettings
from pipeline.visit.fetcher import Request
from tests.pipeline.visit.replay import Clock, Replay, Reply

SITE = "http://www.example.com/"
POLITE = FetchSettings(contact="https://example.org/bot")
HTML = ("Content-Type: text/html; charset=utf-8",)


def picture() -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (70, 70, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


@dataclasses.dataclass
class Site:
    """Pages by path, and what was asked for."""

    pages: dict[str, Reply | str] = dataclasses.field(default_factory=dict)
    asked: list[str] = dataclasses.field(default_factory=list)
    stop_after: int = 10**9

    def __call__(self, request: Request) -> Reply:
        if len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(request.url)
        page = self.pages.get(request.url.removeprefix(SITE), Reply(404))
        return page if isinstance(page, Reply) else Reply(body=page.encode(), headers=HTML)

    @property
    def paths(self) -> list[str]:
        """Return what was asked for besides consent files."""
        paths = [url.removeprefix(SITE) for url in self.asked]
        return [path for path in paths if "robots.txt" not in path and "tdmrep" not in path]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    made, clock = Site(), Clock()
    origins_of.cache_clear()
    monkeypatch.setattr("pipeline.crawl.visit.open_fetcher", lambda settings: Replay(clock, made))
    monkeypatch.setattr("pipeline.crawl.visit.time.monotonic", clock)
    return made


def links(*paths: str) -> str:
    return "<title>x</title>" + "".join(f'<a href="{path}">x</a>' for path in paths)


def crawl(engine: Any, fetch: FetchSettings = POLITE, **changed: Any) -> list[StageRecord]:
    settings = CrawlSettings(**{"seeds": (SITE,), **changed})
    return run(engine, settings, fetch, ConsentSettings(), ExtractSettings(), str)


def visited(rounds: list[StageRecord]) -> dict[str, dict[str, Any]]:
    rows = [row for each in rounds for path in each.paths("part")
            for row in pq.read_table(path).to_pylist()]  # fmt: skip
    assert len({row["url"] for row in rows}) == len(rows)
    return {row["url"].removeprefix(SITE): row for row in rows}


def drops(engine: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for record in engine.records:
        for reason, count in record.drops.items():
            found[reason] = found.get(reason, 0) + count
    return found


def records(rounds: list[StageRecord]) -> list[tuple[str, str]]:
    """Return kind and URL of all records; digests are checked."""
    found = []
    for each in rounds:
        for path in each.paths("warc"):
            with pathlib.Path(path).open("rb") as file:
                for record in ArchiveIterator(file, check_digests="raise"):
                    url = record.rec_headers.get_header("WARC-Target-URI") or ""
                    record.content_stream().read()
                    found.append((record.rec_type, url.removeprefix(SITE)))
    return found


def test_pages_are_visited_breadth_first_and_once(plain_engine: Any, site: Site) -> None:
    site.pages = {
        "": links("a", "b", "a#x", "http://elsewhere.example/"),
        "a": links("b", "c", ""),
        "b": links("c?utm_source=x"),
        "c": links("d"),
        "d": links(),
    }
    rows = visited(crawl(plain_engine))
    assert {path: row["depth"] for path, row in rows.items()} == {"": 0, "a": 1, "b": 1, "c": 2}
    assert sorted(site.paths) == ["", "a", "b", "c"]


def test_records_are_complete_and_name_what_was_asked(plain_engine: Any, site: Site) -> None:
    site.pages = {"": links("a", "gone"), "a": Reply(301, headers=("Location: /b",)), "b": "b"}
    rounds = crawl(plain_engine)
    found = records(rounds)
    answered = [url for kind, url in found if kind == "response"]
    assert sorted(answered) == [
        *["", ".well-known/tdmrep.json", "a", "b", "gone", "robots.txt"],
    ]
    for kind in ("request", "metadata"):
        assert sorted(url for each, url in found if each == kind) == sorted(answered)
    assert visited(rounds)["a"]["final_url"] == SITE + "b"
    for row in visited(rounds).values():
        with (pathlib.Path(plain_engine.root) / row["warc"]).open("rb") as file:
            file.seek(row["offset"])
            first = next(iter(ArchiveIterator(io.BytesIO(file.read(row["length"])))))
            assert first.rec_type == "response"


def test_extract_takes_what_was_recorded(plain_engine: Any, site: Site) -> None:
    site.pages = {
        "": '<img src="x.png" alt="a red dog"><a href="a">x</a>',
        "x.png": Reply(body=picture(), headers=("Content-Type: image/png",)),
    }
    rounds = crawl(plain_engine, rounds=1, images="site")
    assert [row["kind"] for row in visited(rounds).values()] == ["page", "image"]
    record = extract.run(
        plain_engine,
        ExtractSettings(),
        InputSettings(kind="warc", paths=("crawl",)),
        content_usage_keys=("train-ai",),
        list_entity_passes=0,
        archive_wanted=True,
        units=archives(rounds),
    )
    candidates = [row for path in record.paths("part") for row in pq.read_table(path).to_pylist()]
    images = [row for path in record.paths("images") for row in pq.read_table(path).to_pylist()]
    assert [row["url"] for row in candidates] == [SITE + "x.png"]
    assert [(row["url"], row["kind"]) for row in images] == [(SITE + "x.png", "image")]


def test_robots_and_marks_are_obeyed(plain_engine: Any, site: Site) -> None:
    site.pages = {
        "robots.txt": "User-agent: *\nDisallow: /private",
        "": links("private/x", "noai", "noarchive", "nofollow", "file.pdf"),
        "noai": Reply(body=b"x", headers=(*HTML, "X-Robots-Tag: noai")),
        "noarchive": '<meta name="robots" content="noarchive">' + links("from-noarchive"),
        "nofollow": '<meta name="robots" content="nofollow">' + links("from-nofollow"),
        "file.pdf": Reply(body=b"%PDF", headers=("Content-Type: application/pdf",)),
    }
    rounds = crawl(plain_engine)
    rows = visited(rounds)
    assert {path: row["outcome"] for path, row in rows.items()} == {
        "": None,
        "private/x": "robots_disallowed",
        "noai": "optout_page",
        "noarchive": "optout_page",
        "nofollow": None,
        "file.pdf": "format_refused",
        "from-noarchive": "http_gone",
    }
    assert "private/x" not in site.paths
    kept = {url for kind, url in records(rounds) if kind == "response"}
    assert kept & {"noai", "noarchive", "file.pdf", "nofollow"} == {"nofollow"}


def test_traps_are_bounded_and_counted(plain_engine: Any, site: Site) -> None:
    site.pages = {
        "": links("a/a/a/", "?" + "&".join(f"p{n}=1" for n in range(9)), "same1", "same2", "same3",
                  *(f"cal/{day}" for day in range(10))),
        "same1": links("x"), "same2": links("x"), "same3": links("x"),
    }  # fmt: skip
    crawl(plain_engine, per_shape=4)
    found = drops(plain_engine)
    assert found.pop("trap_same_body") >= 1
    assert found == {"trap_repeat": 1, "trap_query": 1, "trap_shape": 6}


def test_pages_that_refresh_to_each_other_are_visited_once(plain_engine: Any, site: Site) -> None:
    refresh = '<meta http-equiv=refresh content="0; url={}">'
    site.pages = {"": refresh.format("a"), "a": refresh.format("b"), "b": refresh.format("a")}
    rounds = crawl(plain_engine, rounds=5)
    assert site.paths == ["", "a", "b"]
    assert [row["depth"] for row in visited(rounds).values()] == [0, 1, 2]


def test_budgets_keep_the_first_by_hash(plain_engine: Any, site: Site) -> None:
    site.pages = {"": links(*"abcdefgh")}
    few = set(visited(crawl(plain_engine, pages_per_site=3)))
    assert len(few) == 3
    assert drops(plain_engine)["budget_site"] == 6
    plain_engine.records.clear()
    more = set(visited(crawl(plain_engine, pages=5)))
    assert len(more) == 5
    assert few < more
    assert drops(plain_engine)["budget_total"] == 4


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("host", {"dir/", "dir/a", "b"}),
        ("prefix", {"dir/", "dir/a"}),
        ("site", {"dir/", "dir/a", "b", "http://other.example.com/"}),
    ],
)
def test_scopes(plain_engine: Any, site: Site, scope: Any, expected: set[str]) -> None:
    site.pages = {
        "dir/": links("a", "/b", "http://other.example.com/", "http://elsewhere.example/")
    }
    rows = visited(crawl(plain_engine, seeds=(SITE + "dir/",), scope=scope))
    assert set(rows) == expected


def test_include_and_exclude_are_patterns_of_paths(plain_engine: Any, site: Site) -> None:
    site.pages = {"": links("en/a", "en/b.php", "de/a")}
    rows = visited(crawl(plain_engine, include=("/en/", "/$"), exclude=("*.php$",)))
    assert set(rows) == {"", "en/a"}


@pytest.mark.parametrize("stop_after", [2, 4, 7, 9])
def test_a_killed_crawl_asks_no_page_again(plain_engine: Any, site: Site, stop_after: int) -> None:
    seeds = tuple(SITE + name for name in "abcdefgh")
    site.pages = dict.fromkeys("abcdefgh", "a page")
    fetch = dataclasses.replace(POLITE, segment_s=0.001, max_in_flight=1)
    site.stop_after = stop_after
    with pytest.raises(KeyboardInterrupt):
        crawl(plain_engine, fetch, seeds=seeds)
    site.stop_after = 10**9
    rounds = crawl(plain_engine, fetch, seeds=seeds)
    assert set(visited(rounds)) == {*"abcdefgh"}
    again = [path for path in set(site.paths) if site.paths.count(path) > 1]
    assert len(again) <= 1
    kept = [url for kind, url in records(rounds) if kind == "response"]
    assert {*"abcdefgh"} <= {*kept}


def test_a_crawl_says_who_it_is(plain_engine: Any, site: Site) -> None:
    with pytest.raises(ConfigError, match=r"fetch\.contact: not set"):
        crawl(plain_engine, FetchSettings())
    assert site.asked == []


def test_seeds_come_from_files_too(plain_engine: Any, site: Site, tmp_path: pathlib.Path) -> None:
    listed = tmp_path / "seeds.txt"
    listed.write_text(f"# seeds\n{SITE}a\n\n{SITE}b\n")
    assert set(visited(crawl(plain_engine, seeds=(str(listed), SITE + "c")))) == {"a", "b", "c"}
    listed.write_text("not a url\n")
    with pytest.raises(RefusedError, match=r"crawl\.seeds: 'not a url'"):
        crawl(plain_engine, seeds=(str(listed),))
    with pytest.raises(RefusedError, match="cannot be read"):
        crawl(plain_engine, seeds=(str(tmp_path / "none"),))
