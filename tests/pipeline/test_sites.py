import pathlib

import pytest

from pipeline.config import load_config
from pipeline.fetch.settings import FetchSettings
from pipeline.planning.lines import plan_lines
from pipeline.sites import largest_sites
from pipeline.visit.settings import SiteGrant
from pipeline.workflow import make_plan, run_stages
from tests.pipeline.stages.test_fetch import Run, made

__all__ = ["made"]  # the fixture


def test_sites_are_ranked_and_their_rests_counted(made: Run) -> None:
    for host, count in (("a.large.example", 6), ("b.large.example", 2), ("small.example", 1)):
        for number in range(count):
            made.pair(f"{number}.png", url=f"http://{host}/{number}.png")
    made.pair("0.png", "another text", url="http://small.example/0.png")
    pairs = made.upstream("preselect", part=made.pairs)
    settings = FetchSettings(source="web", contact="a@example.org", delay_s=3600.0)
    large, small = largest_sites(pairs, settings)
    assert (large.site, large.urls, large.over_budget, large.hours) == ("large.example", 8, 0, 6.0)
    assert (small.site, small.urls, small.hours) == ("small.example", 1, 1.0)
    grant = SiteGrant(match="*.large.example", reason="ours", delay_s=1800.0, budget=4)
    granted = FetchSettings(source="web", contact="a@example.org", site=(grant,))
    large = largest_sites(pairs, granted)[0]
    assert (large.over_budget, large.hours) == (4, 1.5)


@pytest.mark.timeout(200)  # six jobs of Beam, in this process
def test_a_plan_names_the_sites_that_fetch_would_ask(tmp_path: pathlib.Path) -> None:
    (tmp_path / "queries.txt").write_text("red\n")
    rows = [f"http://h{n % 3}.example/{n}.jpg,a red dog {n}" for n in range(12)]
    (tmp_path / "list.csv").write_text("\n".join(["url,caption", *rows]))
    config = tmp_path / "config.toml"
    config.write_text(
        'root = "run"\n[input]\nkind = "urls"\npaths = ["list.csv"]\n[queries]\n'
        'file = "queries.txt"\n[engine]\nmode = "memory"\n[fetch]\nsource = "web"\n'
        'contact = "a@example.org"\n'
    )
    loaded = load_config(str(config))
    assert make_plan(loaded, with_samples=True).sites == ()
    run_stages(loaded, until="preselect")
    made = make_plan(loaded, with_samples=True)
    assert [site.site for site in made.sites] == ["h0.example", "h1.example", "h2.example"]
    assert "the largest sites that fetch would ask" in "\n".join(plan_lines(made.to_json()))
