"""A crawl in front of a run, and what is said before any host is asked."""

import pathlib
from collections.abc import Iterator

import pytest

from manifests.base.errors import RefusedError
from pipeline.config import LoadedConfig, load_config
from pipeline.fetch.asking.hosts import origins_of
from pipeline.workflow import make_plan, run_stages
from tests.pipeline.stages.test_fetch import picture
from tests.pipeline.visit.loopback import Web, answer, serving

HTML = ("Content-Type: text/html",)
CONFIG = """
root = "run"
[crawl]
seeds = ["http://h.example/"]
rounds = 1
images = "site"
[queries]
file = "queries.txt"
[engine]
mode = "memory"
[fetch]
contact = "https://example.org/bot"
allow_networks = ["127.0.0.0/8"]
connect_to = ["h.example:80:127.0.0.1:{port}"]
delay_s = 0.0
delay_factor = 0.0
"""


@pytest.fixture
def web() -> Iterator[Web]:
    page = b'<img src="a.png" alt="a red dog"><img src="b.png" alt="a red cat">'
    answers = {"/": answer(page, headers=HTML), "/a.png": answer(picture(1))}
    origins_of.cache_clear()
    with serving(Web(answers={**answers, "/b.png": answer(picture(2))})) as made:
        yield made


@pytest.fixture
def config(tmp_path: pathlib.Path, web: Web) -> pathlib.Path:
    (tmp_path / "queries.txt").write_text("red\n")
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(port=web.port))
    return path


def load(config: pathlib.Path, *settings: str) -> LoadedConfig:
    return load_config(str(config), settings)


@pytest.mark.timeout(300)  # 14 jobs of Beam, in this process
def test_a_run_crawls_first_and_a_dataset_in_the_way_is_told_before(
    config: pathlib.Path, web: Web
) -> None:
    assert run_stages(load(config))["samples"] == 2
    asked = len(web.log)
    assert asked == 5  # robots.txt, tdmrep.json, the page and its images
    run_stages(load(config))
    for changed in ("select.cap=7", "crawl.rounds=2", 'crawl.seeds=["http://h.example/x"]'):
        with pytest.raises(RefusedError, match="choose another root"):
            run_stages(load(config, changed))
    assert len(web.log) == asked


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (['queries.file="absent.txt"'], "no such file"),
        (['fetch.contact=""'], r"fetch\.contact: not set"),
        (['crawl.seeds=["absent.txt"]'], "cannot be read"),
    ],
)
def test_what_needs_no_crawl_is_refused_before_it(
    config: pathlib.Path, web: Web, settings: list[str], said: str
) -> None:
    with pytest.raises(RefusedError, match=said):
        run_stages(load(config, *settings))
    assert web.connections == 0
    assert not (config.parent / "run" / "stages").exists()


def test_a_plan_needs_the_crawl(config: pathlib.Path, web: Web) -> None:
    with pytest.raises(RefusedError, match="crawl: not finished"):
        make_plan(load(config))
    assert web.connections == 0
