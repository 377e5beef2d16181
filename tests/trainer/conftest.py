"""A small dataset and a finished training on it, made once; and a model for many steps."""

import json
import pathlib
import shutil

import pytest

from manifests.format import Manifest
from tests.trainer.toy import plan_for, write_dataset
from trainer import jobs
from trainer.model import config

NANO = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 16,
        "layers": 1,
        "width": 16,
        "head_width": 8,
        "patch_size": 8,
        "patch_dropout": 0.5,
    },
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """A dataset of 42 samples in 5 shards; 5.25 batches of 8."""
    return write_dataset(tmp_path_factory.mktemp("toy") / "dataset", 42, 10)


@pytest.fixture(scope="session")
def trained(toy: Manifest, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A RUN of 12 steps, more than two epochs, with checkpoints after 4, 8 and 12."""
    run = tmp_path_factory.mktemp("trained") / "run"
    jobs.train(plan_for(toy, "train.samples=96", "train.checkpoint.every_steps=4"), run)
    return run


@pytest.fixture
def nano(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nano-16` is one of our own models: with patch dropout, and fast enough for many steps."""
    folder = tmp_path_factory.mktemp("models") / "configs"
    shutil.copytree(config.CONFIGS, folder)
    (folder / "nano-16.json").write_text(json.dumps(NANO))
    monkeypatch.setattr(config, "CONFIGS", folder)
    config.add_own_configs.cache_clear()
