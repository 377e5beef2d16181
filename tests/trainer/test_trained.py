"""Exports as open_clip loads them."""

import json
import pathlib
import re
import shutil
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.transforms import Compose

from manifests.base.errors import RefusedError
from manifests.format import Manifest
from tests.trainer.toy import plan_for
from trainer import jobs
from trainer.trained import Trained, Weights, export, open_trained

IMAGES = torch.arange(2 * 3 * 64 * 64).remainder(251).reshape(2, 3, 64, 64).to(torch.uint8)


@pytest.fixture(scope="module")
def siglip(toy: Manifest, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A RUN of two steps with SigLIP's bias, and a moving average."""
    run = tmp_path_factory.mktemp("siglip") / "run"
    settings = ("train.samples=16", "train.loss.kind=siglip", "train.ema.decay=0.5")
    jobs.train(plan_for(toy, *settings), run)
    return run


def check_equal(theirs: Any, ours: Trained, tokens: torch.Tensor) -> None:
    """Features of open_clip's model and of ours differ by 1e-6 at most."""
    theirs = theirs.eval()
    mean, std = (
        torch.tensor(each).view(3, 1, 1)
        for each in (theirs.visual.image_mean, theirs.visual.image_std)
    )
    with torch.no_grad():
        images, texts = ours.model.towers(IMAGES, tokens)
        expected = theirs.encode_image((IMAGES / 255 - mean) / std, normalize=True)
        torch.testing.assert_close(images, expected, atol=1e-6, rtol=0)
        expected = theirs.encode_text(tokens, normalize=True)
        torch.testing.assert_close(texts, expected, atol=1e-6, rtol=0)
    assert theirs.logit_scale == ours.model.towers.logit_scale
    assert theirs.logit_bias == ours.model.towers.logit_bias


@pytest.mark.parametrize("weights", ["model", "ema"])
def test_a_file_loads_in_open_clip(
    siglip: pathlib.Path, tmp_path: pathlib.Path, weights: Weights
) -> None:
    import open_clip

    path = str(tmp_path / "w.safetensors")
    line = export(siglip, path, "open_clip", weights)
    assert line == (
        f'{path}: open_clip.create_model("micro-64", pretrained="{path}", init_logit_bias=0)'
    )
    theirs = open_clip.create_model("micro-64", pretrained=path, init_logit_bias=0)
    ours = open_trained(siglip, weights)
    check_equal(theirs, ours, ours.model.tokenize(["red over blue", "pink"]))
    other = open_trained(siglip, "model" if weights == "ema" else "ema")
    assert other.facts["weights_sha256"] != ours.facts["weights_sha256"]


@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_a_folder_loads_in_open_clip_by_itself(
    trained: pathlib.Path, siglip: pathlib.Path, tmp_path: pathlib.Path, loss: str
) -> None:
    import open_clip

    run, folder = {"clip": trained, "siglip": siglip}[loss], str(tmp_path / "hub")
    assert export(run, folder, "hub").startswith(f"{folder}: open_clip.create_model_from_pre")
    theirs, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenize, ours = open_clip.get_tokenizer(f"local-dir:{folder}"), open_trained(run)
    texts = ["red over blue", "pink"]
    assert torch.equal(tokenize(texts), ours.model.tokenize(texts))
    check_equal(theirs, ours, tokenize(texts))
    picture = Image.linear_gradient("L").convert("RGB")
    assert torch.equal(preprocess(picture), Compose(ours.model.eval_steps)(picture))
    assert {path.name for path in pathlib.Path(folder).iterdir()} == {
        *("README.md", "open_clip_config.json", "open_clip_model.safetensors"),
    }
    card = pathlib.Path(folder, "README.md").read_text()
    assert f"- dataset: `{ours.source.state.identity['dataset']}`" in card


def test_a_folder_that_holds_something_is_left_alone(
    trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(RefusedError, match="is not empty"):
        export(trained, str(tmp_path), "hub")
    with pytest.raises(RefusedError, match=r"must end in \.safetensors"):
        export(trained, str(tmp_path / "weights.bin"), "open_clip")
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}


def test_an_average_that_is_not_there_is_refused(
    trained: pathlib.Path, siglip: pathlib.Path
) -> None:
    with pytest.raises(RefusedError, match="has no moving average: use --weights model"):
        open_trained(trained, "ema")
    assert open_trained(trained).facts["weights"] == "model"
    assert open_trained(siglip).facts["weights"] == "ema"


def test_the_configuration_of_a_folder_is_that_of_the_model(
    trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    from trainer.model.config import CONFIGS

    export(trained, str(tmp_path / "hub"), "hub")
    config = json.loads((tmp_path / "hub" / "open_clip_config.json").read_text())
    assert config["model_cfg"] == json.loads((CONFIGS / "micro-64.json").read_text())


def test_a_checkpoint_of_another_model_is_not_used(
    trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    path = shutil.copytree(trained / "checkpoints" / "step_000000012", tmp_path / "ckpt")
    state = path / "state.json"
    state.write_text(re.sub(r'"model_sha256": "\w{4}', '"model_sha256": "0000', state.read_text()))
    with pytest.raises(RefusedError, match="micro-64 has another configuration now"):
        open_trained(path)
