import dataclasses
import itertools
import pathlib

import pytest

from manifests.base.errors import RefusedError
from pipeline import plan
from pipeline.config import load_config
from pipeline.engine import files
from pipeline.engine.units import Source, Unit
from pipeline.plan import STAGES, MissingStep, Plan, predict
from pipeline.planning.lines import plan_lines
from pipeline.planning.rates import RATES
from pipeline.workflow import make_plan, run_stages
from tests.toy_site import QUERIES, write_archives


def unit(size: int) -> Unit:
    source = Source(role="input", path="/a", name="a", bytes=size, sha256="")
    return Unit(id="a", sources=(source,))


def fresh(input_bytes: int, root: str = "/nowhere/root") -> Plan:
    missing = MissingStep(stage="extract", units_to_do=1, units_to_reuse=0, rows_in=None)
    return predict(
        STAGES,
        [],
        missing=missing,
        inputs=[unit(input_bytes)],
        root=root,
        bucket_bytes=64 << 20,
    )


def test_each_stage_gets_the_rows_that_the_one_before_gives() -> None:
    stages = fresh(100 << 20).stages
    assert [stage.stage for stage in stages] == list(STAGES)
    assert stages[0].rows_out == 100 * RATES["extract"].kept
    for before, after in itertools.pairwise(stages):
        assert after.rows_in == pytest.approx(before.rows_out, abs=1)


def test_what_is_to_come_grows_in_proportion_to_the_input() -> None:
    small, large = fresh(1 << 30).stages, fresh(10 << 30).stages
    for one, ten in zip(small, large, strict=True):
        assert ten.disk_bytes == pytest.approx(10 * one.disk_bytes, rel=0.001)
        start = RATES[one.stage].start_seconds
        grown = 10 * (one.cpu_seconds - start) + start
        assert ten.cpu_seconds == pytest.approx(grown, rel=0.001, abs=1)


def test_a_run_beyond_the_memory_is_refused_with_numbers_and_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan, "available_bytes", lambda: 2 << 30)
    fresh(1 << 20, "s3://bucket/root").refuse()
    with pytest.raises(RefusedError, match=r"dedup: about .* GiB of memory .* 1.6 GiB may be used"):
        fresh(100 << 30, "s3://bucket/root").refuse()


def test_below_a_local_root_a_shuffle_takes_the_memory_of_a_bucket_at_most() -> None:
    large, larger = fresh(100 << 30).stages, fresh(1000 << 30).stages
    assert [stage.memory_bytes for stage in large] == [stage.memory_bytes for stage in larger]
    assert max(stage.memory_bytes for stage in larger) < 1 << 30


def test_a_run_beyond_the_disk_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(plan, "available_bytes", lambda: 1 << 62)
    with pytest.raises(RefusedError, match=r"root: .* of disk are needed, .* are free"):
        fresh(1 << 50, str(tmp_path / "not" / "made")).refuse()
    fresh(1 << 50, "s3://bucket/root").refuse()


@pytest.fixture
def config(tmp_path: pathlib.Path) -> pathlib.Path:
    names = write_archives(tmp_path, archives=2, pictures=12)
    (tmp_path / "queries.txt").write_text("\n".join(QUERIES))
    path = tmp_path / "config.toml"
    path.write_text(
        f'root = "run"\n[input]\nkind = "warc"\npaths = {names}\n'
        '[queries]\nfile = "queries.txt"\n[engine]\nmode = "memory"\n'
    )
    return path


def test_a_plan_is_right_within_a_factor_of_2_tells_what_is_done_and_writes_nothing(
    config: pathlib.Path,
) -> None:
    loaded = load_config(str(config))
    before = make_plan(loaded)
    sampled = make_plan(loaded, with_samples=True)
    assert not (config.parent / "run").exists()
    assert before.stages[0].units_to_do == 2
    assert not any(stage.is_done for stage in before.stages)
    outcome = run_stages(loaded, until="match")
    assert [line["stage"] for line in outcome["funnel"]] == ["extract", "match"]
    assert outcome["dataset"] is None
    during = make_plan(loaded)
    assert [stage.stage for stage in during.stages if stage.is_done] == ["extract", "match"]
    assert during.stages[1].rows_out == outcome["funnel"][1]["rows_out"]
    assert during.stages[2].units_to_do == 1
    ran = run_stages(loaded)
    rows = {line["stage"]: line["rows_out"] for line in ran["funnel"]}
    assert {stage.basis for stage in sampled.stages[:3]} == {"sampled"}
    for stage in sampled.stages:
        assert rows[stage.stage] / 2 <= stage.rows_out <= 2 * rows[stage.stage]
    assert all(stage.is_done for stage in make_plan(loaded).stages)
    reseeded = load_config(str(config), ["select.seed=7", "shards.replace=true"])
    again = [stage.stage for stage in make_plan(reseeded).stages if stage.is_done]
    assert again == ["extract", "match"]


def test_a_plan_shows_what_caps_keep_before_anything_is_downloaded(config: pathlib.Path) -> None:
    loaded = load_config(str(config), ["select.cap=2"])
    assert make_plan(loaded, with_samples=True).caps == ()
    matched = run_stages(loaded, until="match")["funnel"][-1]["rows_out"]
    made = make_plan(loaded, with_samples=True)
    assert [(each.cap, each.is_set) for each in made.caps] == [
        (1, False),
        (2, True),
        (4, False),
        (20, False),
    ]
    kept = [each.pairs for each in made.caps]
    assert kept == sorted(kept)
    assert 0 < kept[0] < kept[-1] == matched
    lines = plan_lines(made.to_json())
    assert any(line.split()[:3] == ["2", "(set)", str(kept[1])] for line in lines)
    stages = {each.stage: each.is_done for each in made.stages}
    assert (stages["match"], stages["fetch"]) == (True, False)


def test_a_dataset_that_would_be_in_the_way_is_told_before_any_work(config: pathlib.Path) -> None:
    run_stages(load_config(str(config)))
    loaded = load_config(str(config), ["select.cap=7", "fetch.image_size=64"])
    with pytest.raises(RefusedError, match=r"other .* \(fetch.image_size, select.cap\): choose"):
        run_stages(loaded)
    (name,) = write_archives(config.parent / "more", archives=1, pictures=3)
    config.write_text(config.read_text().replace("paths = [", f"paths = ['more/{name}', "))
    with pytest.raises(RefusedError, match=r"\(inputs\): choose another root"):
        run_stages(load_config(str(config)))
    assert make_plan(load_config(str(config)), until="balance").refusals == ()
    run_stages(load_config(str(config), ["shards.replace=true"]))


def test_more_pairs_than_the_strict_rule_takes_are_refused_before_any_work(
    config: pathlib.Path,
) -> None:
    changes = ["balance.mode='strict'", "balance.strict_max_pairs=1"]
    loaded = load_config(str(config), changes)
    with pytest.raises(RefusedError, match=r"strict_max_pairs: about \d+ pairs .* at most 1 are"):
        run_stages(loaded)
    assert make_plan(loaded, until="dedup").refusals == ()
    assert make_plan(load_config(str(config), changes[1:])).refusals == ()


def test_an_input_that_is_added_is_one_unit_to_do(config: pathlib.Path) -> None:
    run_stages(load_config(str(config)), until="extract")
    (name,) = write_archives(config.parent / "more", archives=1, pictures=3)
    text = config.read_text().replace("paths = [", f"paths = ['more/{name}', ")
    config.write_text(text)
    first = make_plan(load_config(str(config))).stages[0]
    assert (first.units_to_do, first.units_to_reuse) == (1, 2)


def test_lines_for_people_name_each_stage_and_each_refusal() -> None:
    made = dataclasses.replace(fresh(1 << 20), refusals=("too much",))
    lines = plan_lines(made.to_json())
    assert [line.split()[0] for line in lines[1 : len(STAGES) + 1]] == list(STAGES)
    assert lines[-1] == "cannot run: too much"


def test_a_stage_that_is_not_there_is_refused(config: pathlib.Path) -> None:
    loaded = load_config(str(config))
    with pytest.raises(RefusedError, match="--until mach: not a stage: known are extract"):
        make_plan(loaded, until="mach")
    with pytest.raises(RefusedError, match="--force mach"):
        run_stages(loaded, force="mach")
    assert files.size_bytes(str(config.parent / "run")) is None
