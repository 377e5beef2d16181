"""What a sample says of the whole: merged pairs, and what caps keep."""

import pathlib

import pytest

from pipeline.config import load_config
from pipeline.planning import sample
from pipeline.workflow import make_plan, run_stages
from tests.toy_site import texts


@pytest.fixture
def config(tmp_path: pathlib.Path) -> pathlib.Path:
    """A list of 3,000 URLs, each there twice, with few texts that all hold some query."""
    known = texts()
    lines = [f"https://a.example/{n % 1500}.jpg,{known[n % 1500 % 40]}" for n in range(3000)]
    (tmp_path / "list.csv").write_text("\n".join(["url,caption", *lines]) + "\n")
    (tmp_path / "queries.txt").write_text("red\nblue\ncircle\n")
    path = tmp_path / "config.toml"
    path.write_text(
        'root = "run"\n[input]\nkind = "urls"\npaths = ["list.csv"]\n[select]\ncap = 100\n'
        '[queries]\nfile = "queries.txt"\n[engine]\nmode = "memory"\n'
        '[fetch]\nsource = "web"\ncontact = "https://a.example/"\n'
    )
    return path


def test_a_sample_foretells_what_caps_and_merging_leave(
    config: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_config(str(config))
    size = (config.parent / "list.csv").stat().st_size
    monkeypatch.setattr(sample, "SAMPLE_BYTES", size * 3 // 4)
    planned = {each.stage: each for each in make_plan(loaded, with_samples=True).stages}
    ran = run_stages(loaded, until="preselect")
    assert [line["stage"] for line in ran["funnel"]] == ["extract", "match", "preselect"]
    for line in ran["funnel"]:
        stage = planned[line["stage"]]
        assert stage.basis == "sampled"
        assert line["rows_out"] / 2 <= stage.rows_out <= 2 * line["rows_out"]
