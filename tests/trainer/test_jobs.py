"""How a training begins, goes on and is refused; and what others read of it."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from manifests.base.errors import OpenwitError, RefusedError
from manifests.format import Manifest
from tests.trainer.toy import BASE, events, losses, plan_for, write_dataset
from trainer import jobs
from trainer.errors import ResumeRefusedError
from trainer.model import config

NANO = "train.model.name=nano-16"
pytestmark = pytest.mark.usefixtures("nano")


def run_json(run: pathlib.Path) -> dict[str, object]:
    return dict(json.loads((run / "run.json").read_text()))


def test_a_run_has_its_files(trained: pathlib.Path) -> None:
    assert {each.name for each in trained.iterdir()} >= {
        *("config.toml", "run.json", "metrics.jsonl", "checkpoints"),
    }
    assert run_json(trained)["status"] == "finished"
    assert (trained / "checkpoints" / "latest").read_text() == "step_000000012\n"
    start, end = events(trained, "start")[0], events(trained, "end")[0]
    assert (start["steps"], start["samples"], start["model"]) == (12, 42, "micro-64")
    assert (end["step"], end["status"]) == (12, "finished")


def test_the_settings_of_a_run_make_the_same_run(toy: Manifest, tmp_path: pathlib.Path) -> None:
    from trainer.config import load_config
    from trainer.plan import make_plan

    jobs.train(plan_for(toy, NANO, "train.samples=16"), tmp_path / "one")
    again = make_plan(load_config(str(tmp_path / "one" / "config.toml")))
    jobs.train(again, tmp_path / "two")
    assert losses(tmp_path / "one") == losses(tmp_path / "two")


def test_a_finished_run_says_so(toy: Manifest, trained: pathlib.Path) -> None:
    before = (trained / "metrics.jsonl").read_bytes()
    line = jobs.train(plan_for(toy, "train.samples=96"), trained)
    assert line == f"{trained}: already finished: 12 of 12 steps done"
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_a_longer_run_goes_on_from_a_finished_one(toy: Manifest, tmp_path: pathlib.Path) -> None:
    jobs.train(plan_for(toy, NANO, "train.samples=16"), tmp_path / "run")
    jobs.train(plan_for(toy, NANO, "train.samples=32"), tmp_path / "run")
    assert list(losses(tmp_path / "run")) == [1, 2, 3, 4]
    start = events(tmp_path / "run", "start")[1]
    assert start["resumed_from"] == str(tmp_path / "run" / "checkpoints" / "step_000000002")
    assert start["history"] == [{"step": 2, "setting": "samples", "before": 16, "after": 32}]


def test_another_run_can_be_gone_on_from_elsewhere(toy: Manifest, tmp_path: pathlib.Path) -> None:
    every = "train.checkpoint.every_steps=2"
    jobs.train(plan_for(toy, NANO, "train.samples=48", every), tmp_path / "whole")
    jobs.train(
        plan_for(toy, NANO, "train.samples=48"),
        tmp_path / "part",
        resume=str(tmp_path / "whole" / "checkpoints" / "step_000000002"),
    )
    expected = losses(tmp_path / "whole")
    assert losses(tmp_path / "part") == {step: expected[step] for step in (3, 4, 5, 6)}


def test_weights_alone_begin_another_run(toy: Manifest, tmp_path: pathlib.Path) -> None:
    jobs.train(plan_for(toy, NANO, "train.samples=400", "train.optim.lr=1e-2"), tmp_path / "a")
    plan = plan_for(toy, NANO, "train.samples=16", "train.seed=1")
    jobs.train(plan, tmp_path / "cold")
    jobs.train(plan, tmp_path / "warm", init_from=str(tmp_path / "a"))
    assert losses(tmp_path / "warm")[1] < losses(tmp_path / "cold")[1] - 0.1
    with pytest.raises(RefusedError, match="weights of another model"):
        jobs.train(plan_for(toy), tmp_path / "b", init_from=str(tmp_path / "a"))


def test_never_refuses_to_write_over_a_run(toy: Manifest, trained: pathlib.Path) -> None:
    with pytest.raises(RefusedError, match="has checkpoints: choose another --output"):
        jobs.train(plan_for(toy, "train.samples=96"), trained, resume="never")


def test_another_dataset_or_seed_is_refused_with_both_values(
    toy: Manifest, trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    other = write_dataset(tmp_path / "d", 40, 10)
    with pytest.raises(ResumeRefusedError) as caught:
        jobs.train(plan_for(other, "train.seed=7"), trained)
    assert caught.value.exit_code == 6
    assert f"dataset: the checkpoint has '{toy.digest}', this run '{other.digest}'" in str(
        caught.value
    )
    assert "seed: the checkpoint has 0, this run 7" in str(caught.value)
    assert run_json(trained)["status"] == "finished"


def test_a_moved_dataset_is_the_same(
    toy: Manifest, trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shutil.copytree(toy.root, tmp_path / "moved")
    moved = write_dataset(tmp_path / "moved", 42, 10)
    assert "already finished" in jobs.train(plan_for(moved, "train.samples=96"), trained)


@pytest.mark.parametrize("name", ["00000002.tar", "00000001.parquet"])
def test_a_damaged_shard_stops_before_the_first_step(tmp_path: pathlib.Path, name: str) -> None:
    dataset = write_dataset(tmp_path / "d", 24, 10)
    path = pathlib.Path(dataset.root, "shards", name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        OpenwitError, match=rf"{name}: another content: expected \w+, found"
    ) as caught:
        jobs.train(plan_for(dataset, NANO), tmp_path / "run")
    assert caught.value.exit_code == 3
    assert run_json(tmp_path / "run")["status"] == "failed"
    assert str(run_json(tmp_path / "run")["reason"]).count(name) == 1
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_shard_that_goes_away_stops_the_run(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_dataset(tmp_path / "d", 24, 10)
    monkeypatch.setattr(jobs, "verify", lambda *_: pathlib.Path(
        dataset.root, "shards", "00000001.tar").unlink())  # fmt: skip
    with pytest.raises(OpenwitError, match=r"00000001\.tar: cannot be opened") as caught:
        jobs.train(plan_for(dataset, NANO), tmp_path / "run")
    assert caught.value.exit_code == 3


def test_a_damaged_checkpoint_is_passed_over_but_refused_by_path(
    toy: Manifest, trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    latest = run / "checkpoints" / "step_000000012"
    (latest / "optim.safetensors").write_bytes(b"")
    plan = plan_for(toy, "train.samples=96")
    with pytest.raises(ResumeRefusedError, match="is damaged"):
        jobs.train(plan, tmp_path / "other", resume=str(latest))
    jobs.train(plan, run)
    assert events(run, "start")[1]["step"] == 8
    assert losses(run) == losses(trained)
    assert (latest / "optim.safetensors").read_bytes() == (
        trained / "checkpoints" / "step_000000012" / "optim.safetensors"
    ).read_bytes()


def test_a_checkpoint_loads_in_open_clip_as_it_is(
    trained: pathlib.Path,
) -> None:
    import open_clip

    from trainer.model.build import build, load_weights
    from trainer.model.config import ModelConfig

    path = trained / "checkpoints" / "step_000000012" / "model.safetensors"
    theirs = open_clip.create_model("micro-64", pretrained=str(path)).eval()
    ours = build(ModelConfig(name="micro-64"), seed=3, precision="fp32", crop_scale=(0.9, 1))
    from trainer.checkpoint import MODEL, open_checkpoint

    load_weights(ours.towers.module, open_checkpoint(trained).tensors(MODEL), path)
    images = torch.arange(2 * 3 * 64 * 64).remainder(251).reshape(2, 3, 64, 64).to(torch.uint8)
    tokens = ours.tokenize(["red over blue", "pink"])
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (
        theirs.visual.image_mean, theirs.visual.image_std))  # fmt: skip
    with torch.no_grad():
        image_features, text_features = ours.towers(images, tokens)
        expected = theirs.encode_image((images / 255 - mean) / std, normalize=True)
        torch.testing.assert_close(image_features, expected, atol=1e-6, rtol=0)
        expected = theirs.encode_text(tokens, normalize=True)
        torch.testing.assert_close(text_features, expected, atol=1e-6, rtol=0)


def test_chunks_of_a_model_with_batch_norm_are_refused(
    toy: Manifest, tmp_path: pathlib.Path
) -> None:
    nano = json.loads((config.CONFIGS / "nano-16.json").read_text())
    nano["vision_cfg"] = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}
    (config.CONFIGS / "nano-rn.json").write_text(json.dumps(nano))
    plan = plan_for(toy, "train.model.name=nano-rn", "train.micro_batch=4", "train.samples=8")
    with pytest.raises(RefusedError, match="nano-rn has batch norm"):
        jobs.train(plan, tmp_path / "run")
    jobs.train(plan_for(toy, "train.model.name=nano-rn", "train.samples=8"), tmp_path / "whole")


KILLED = """
import os, pathlib, signal, sys
from trainer import checkpoint
from trainer.model import config
from trainer.training import loop

where, configs, target, run, *settings = sys.argv[1:]
config.CONFIGS = pathlib.Path(configs)
write = checkpoint.write_tensors

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def say(line):
    if where == "in a step" and line.startswith("train step 9/"):
        die()

def write_tensors(path, tensors):
    write(path, tensors)
    if where == "in a checkpoint" and "000000008" in str(path) and "optim" in path.name:
        die()

loop.say, checkpoint.write_tensors = say, write_tensors
from trainer.config import load_config
from trainer.plan import make_plan
from trainer.jobs import train
train(make_plan(load_config(target, settings)), pathlib.Path(run))
"""


# Checkpoint 8 may still be being written in step 9.
@pytest.mark.parametrize(("where", "resumed"), [("in a step", {4, 8}), ("in a checkpoint", {4})])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    toy: Manifest, tmp_path: pathlib.Path, where: str, resumed: set[int]
) -> None:
    settings = (NANO, "train.samples=96", "train.checkpoint.every_steps=4")
    whole, run = tmp_path / "whole", tmp_path / "run"
    jobs.train(plan_for(toy, *settings), whole)
    command = [
        *(sys.executable, "-c", KILLED, where, str(config.CONFIGS), f"{toy.root}/manifest.json"),
        *(str(run), *BASE, *settings, "train.data.workers=1"),
    ]
    # Not by a pipe, which the orphaned data worker would keep open for some seconds.
    with (tmp_path / "stderr").open("wb") as errors:
        killed = subprocess.run(command, check=False, stderr=errors)  # noqa: S603 (own words)
    assert killed.returncode == -signal.SIGKILL, (tmp_path / "stderr").read_text()
    assert run_json(run)["status"] == "running"
    jobs.train(plan_for(toy, *settings), run)
    assert events(run, "start")[1]["step"] in resumed
    assert losses(run) == losses(whole)
    for name in ("model.safetensors", "optim.safetensors"):
        path = pathlib.Path("checkpoints", "step_000000012", name)
        assert (run / path).read_bytes() == (whole / path).read_bytes()
    assert run_json(run)["status"] == "finished"
