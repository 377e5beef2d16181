"""Evaluations within a training: what they write, and that they change nothing of it."""

import json
import pathlib

import pytest

from manifests.base.errors import ConfigError, OpenwitError, RefusedError
from manifests.format import Manifest
from manifests.report.training import training_section
from tests.trainer.many import run_ranks
from tests.trainer.toy import BASE, events, losses, plan_for, write_dataset
from trainer import jobs
from trainer.config import load_config
from trainer.evals.retrieval import DIRECTIONS
from trainer.plan import Plan, make_plan

pytestmark = pytest.mark.usefixtures("nano")
NANO = "train.model.name=nano-16"


def plan_with_sets(folder: pathlib.Path, toy: Manifest, tables: str, *overrides: str) -> Plan:
    """A training of 4 steps whose file also has the given tables."""
    (folder / "train.toml").write_text(f'[train.data]\nmanifest = "{toy.root}"\n{tables}')
    settings = (*BASE, NANO, "train.samples=32", *overrides)
    return make_plan(load_config(str(folder / "train.toml"), settings))


SETS = """
[[train.eval.sets]]
name = "held_out"
manifest = "held_out"

[[train.eval.sets]]
name = "again"
manifest = "held_out"
"""


@pytest.mark.parametrize("ema", ["0", "0.9"])
def test_a_training_is_the_same_with_evaluations(
    toy: Manifest, tmp_path: pathlib.Path, ema: str
) -> None:
    write_dataset(tmp_path / "held_out", 12, 5, with_queries=True)
    every = ("train.eval.every_steps=3", f"train.ema.decay={ema}")
    plan = plan_with_sets(tmp_path, toy, SETS, *every)
    jobs.train(plan, tmp_path / "with")
    jobs.train(plan_for(toy, NANO, "train.samples=32", every[1]), tmp_path / "without")
    assert losses(tmp_path / "with") == losses(tmp_path / "without")
    found = events(tmp_path / "with", "eval")
    assert [(each["step"], sorted({"held_out", "again"} & set(each))) for each in found] == [
        (3, ["again", "held_out"]),
        (4, ["again", "held_out"]),
    ]
    path = tmp_path / "with" / "eval" / "held_out"
    assert {each.name for each in path.iterdir()} == {"retrieval.json", "queries.parquet"}
    last = json.loads((path / "retrieval.json").read_text())
    assert (last["step"], last["n"]) == (4, 12)
    assert last["weights"] == ("model" if ema == "0" else "ema")
    assert found[-1]["held_out"] == {
        f"{name}_recall_at_1": last[name]["recall_at_1"] for name in DIRECTIONS
    }
    shown = training_section(str(tmp_path / "with"))
    assert {each["title"] for each in shown["evaluations"]} == {
        "again/retrieval",
        "held_out/retrieval",
    }


def train_with_sets(folder: pathlib.Path, toy: Manifest) -> None:
    jobs.train(plan_with_sets(folder, toy, SETS, "train.ema.decay=0.9"), folder / "run")


def test_ranks_measure_together_and_write_once(toy: Manifest, tmp_path: pathlib.Path) -> None:
    write_dataset(tmp_path / "held_out", 12, 5)
    run_ranks(2, train_with_sets, tmp_path, toy)
    assert [each["step"] for each in events(tmp_path / "run", "eval")] == [4]
    path = tmp_path / "run" / "eval" / "held_out" / "retrieval.json"
    assert json.loads(path.read_text())["n"] == 12
    assert set(losses(tmp_path / "run")) == {1, 2, 3, 4}


def test_settings_with_sets_are_written_as_they_are_read(
    toy: Manifest, tmp_path: pathlib.Path
) -> None:
    write_dataset(tmp_path / "held_out", 12, 5)
    plan = plan_with_sets(tmp_path, toy, SETS)
    (tmp_path / "config.toml").write_text("\n".join(plan.lines()))
    again = load_config(str(tmp_path / "config.toml"))
    assert again == plan.settings
    assert again.eval.sets[0].manifest == str(tmp_path / "held_out")


def test_what_is_wrong_with_a_set_is_said_before_the_training(
    toy: Manifest, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(OpenwitError, match="held_out"):
        plan_with_sets(tmp_path, toy, SETS)
    with pytest.raises(ConfigError, match="zero-shot classification needs both"):
        plan_with_sets(tmp_path, toy, f'{SETS}classes = "c.txt"\n')
    with pytest.raises(ConfigError, match="sets must have different names"):
        plan_with_sets(tmp_path, toy, SETS.replace("again", "held_out", 1))
    write_dataset(tmp_path / "held_out", 12, 5)
    files = 'classes = "c.txt"\nlabels = "l.parquet"\n'
    with pytest.raises(RefusedError, match=rf"{tmp_path}/c.txt: cannot be read"):
        plan_with_sets(tmp_path, toy, f"{SETS}{files}")


def test_a_damaged_set_stops_before_the_first_step(toy: Manifest, tmp_path: pathlib.Path) -> None:
    held_out = write_dataset(tmp_path / "held_out", 12, 5)
    path = pathlib.Path(held_out.root, "shards", "00000001.tar")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OpenwitError, match=r"00000001\.tar"):
        jobs.train(plan_with_sets(tmp_path, toy, SETS), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
