import pathlib

import pytest

from manifests.base.errors import ConfigError, RefusedError
from manifests.format import Manifest
from tests.trainer.toy import plan_for
from trainer.checkpoint import State
from trainer.config import load_config
from trainer.errors import ResumeRefusedError
from trainer.plan import changed_settings, make_plan

STATE = State(
    step=10,
    identity={"dataset": "sha256:aa", "seed": 0, "data.crop_scale": [0.9, 1.0]},
    position={},
    coverage={},
    bad={},
    config={"threads": 1, "optim": {"lr": 0.1}, "data": {"workers": 4, "max_pixels": 9}},
)


def test_a_dataset_too_small_for_the_batch_is_refused(toy: Manifest) -> None:
    with pytest.raises(ConfigError, match="global_batch must be from 1 to 21 for 42 samples"):
        plan_for(toy, "train.global_batch=22")


def test_an_unknown_model_or_manifest_is_refused(toy: Manifest, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="'micro-65' is not a model configuration: did you mean"):
        plan_for(toy, "train.model.name=micro-65")
    with pytest.raises(RefusedError, match="no such file: name a dataset's folder"):
        make_plan(load_config(str(tmp_path / "manifest.json")))


def test_a_plan_says_what_it_comes_to(toy: Manifest) -> None:
    lines = plan_for(toy, "train.epochs=4", "train.micro_batch=4").lines()
    assert lines[:3] == ["[train]", "seed = 0", "epochs = 4"]
    assert lines[-2:] == [
        f"# 42 samples in 5 shards, {toy.digest}",
        "# 21 steps of 8 samples in 2 chunks, 4.00 epochs; 1 process",
    ]


def test_each_difference_of_identity_is_named_with_both_values() -> None:
    identity = {"dataset": "sha256:bb", "seed": 1, "data.crop_scale": [0.9, 1.0]}
    with pytest.raises(ResumeRefusedError) as caught:
        changed_settings(STATE, identity, {})
    first, second = str(caught.value).split("\n")
    assert first.startswith("dataset: the checkpoint has 'sha256:aa', this run 'sha256:bb': ")
    assert second.startswith("seed: the checkpoint has 0, this run 1: ")
    assert "--init-from" in first


def test_changed_settings_are_history_unless_they_change_no_result() -> None:
    config = {"threads": 2, "optim": {"lr": 0.2}, "data": {"workers": 0, "max_pixels": 9}}
    assert changed_settings(STATE, STATE.identity, config) == (
        {"step": 10, "setting": "optim.lr", "before": 0.1, "after": 0.2},
    )
