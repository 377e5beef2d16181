"""The engine "img2dataset" with the real package, which `make img2dataset` installs apart."""

import pathlib
import sys
from collections.abc import Iterator

import pytest

from manifests.base.errors import ConfigError
from pipeline.fetch.asking.hosts import origins_of
from pipeline.fetch.settings import FetchSettings
from tests.pipeline.stages.test_fetch import Run, made, picture, rows_of
from tests.pipeline.stages.test_fetch_web import ledger
from tests.pipeline.visit.loopback import Web, answer, serving

__all__ = ["made"]  # the fixture

PYTHON = pathlib.Path(sys.prefix, "img2dataset", "bin", "python")


def settings(web: Web) -> FetchSettings:
    return FetchSettings(
        source="web",
        engine="img2dataset",
        trusted=True,
        contact="https://example.org/bot",
        allow_networks=("127.0.0.0/8",),
        ports=(web.port,),
        rounds=1,
        total_s=5.0,
        delay_s=60.0,
    )


@pytest.fixture
def web() -> Iterator[Web]:
    origins_of.cache_clear()
    with serving() as served:
        yield served


def test_it_needs_lists_that_are_trusted() -> None:
    with pytest.raises(ValueError, match="trusted"):
        FetchSettings(source="web", engine="img2dataset")


def test_without_the_package_nothing_is_asked(
    made: Run, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.fetch.img2dataset.downloader.MODULE", "img2dataset_is_absent")
    made.pair("x", url=web.url("/x"))
    with pytest.raises(ConfigError, match=r"pip install 'openwit\[img2dataset\]'"):
        made.fetch(settings(web))
    assert web.connections == 0


@pytest.mark.peer
@pytest.mark.skipif(not PYTHON.exists(), reason="img2dataset is not installed: make img2dataset")
@pytest.mark.timeout(300)  # it takes 5 s to start on a free machine
def test_its_bodies_and_messages_become_rows_and_drops(
    made: Run, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.fetch.img2dataset.downloader.PYTHON", str(PYTHON))
    body = picture(1)
    web.answers = {
        "/robots.txt": answer(b"User-agent: openwit\nDisallow: /private/"),
        "/good.png": answer(body),
        "/html.png": answer(b"<html>no</html>"),
        "/marked.png": answer(body, headers=("X-Robots-Tag: noai",)),
        "/busy.png": answer(b"", 503),
    }
    names = ("good.png", "html.png", "marked.png", "busy.png", "gone.png", "private/x.png")
    ids = {name: made.pair(name, url=web.url(f"/{name}")) for name in names}
    record = made.fetch(settings(web))
    (row,) = rows_of(record)
    assert (row["pair_id"], row["image_source"]) == (ids["good.png"], "web")
    assert row["original_bytes"] == len(body)
    assert {made_of: reason for made_of, (reason, _) in ledger(made).items()} == {
        ids["html.png"]: "not_image",
        ids["marked.png"]: "optout_image",
        ids["busy.png"]: "http_busy",
        ids["gone.png"]: "http_gone",
        ids["private/x.png"]: "robots_disallowed",
    }
    assert "/private/x.png" not in web.paths
