"""Our gradients beside open_clip's losses, given the whole batch in one process."""

import importlib
import types
from typing import Any

import open_clip
import pytest
import torch
from open_clip.loss import SigLipLoss
from torch import Tensor

from trainer.losses.accum import backward
from trainer.losses.config import Kind, LossConfig
from trainer.losses.contrastive import LossOutput, batch_loss
from trainer.losses.gather import Gather
from trainer.model.build import build
from trainer.model.config import ModelConfig
from trainer.model.towers import Towers

ROWS = 32
Gradients = dict[str, Tensor]


def make_towers(kind: Kind) -> Towers:
    model = build(ModelConfig(name="micro-64"), seed=0, precision="fp32", crop_scale=(0.9, 1),
                  siglip=kind == "siglip")  # fmt: skip
    return model.towers


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (ROWS, 3, 64, 64), dtype=torch.uint8, generator=generator)
    return images, torch.randint(1, 49408, (ROWS, 24), generator=generator)


def gradients_of(module: torch.nn.Module) -> Gradients:
    named = module.named_parameters()
    return {name: each.grad.clone() for name, each in named if each.grad is not None}


def theirs(kind: Kind, images: Tensor, tokens: Tensor) -> tuple[float, Gradients]:
    """The loss and the gradients as open_clip computes them."""
    towers = make_towers(kind)
    loss = open_clip.ClipLoss() if kind == "clip" else SigLipLoss()
    total = loss(**towers.module(towers.normalise(images), tokens))
    total.backward()
    return float(total.detach()), gradients_of(towers.module)


def ours(
    kind: Kind, images: Tensor, tokens: Tensor, chunks: int, row_chunk: int
) -> tuple[float, Gradients]:
    towers, size = make_towers(kind), ROWS // chunks

    def encode(chunk: int) -> tuple[Tensor, Tensor]:
        here = slice(chunk * size, (chunk + 1) * size)
        return towers(images[here], tokens[here])

    def loss(image_features: Tensor, text_features: Tensor) -> LossOutput:
        settings, valid = LossConfig(kind=kind, row_chunk=row_chunk), torch.ones(ROWS).bool()
        scale, bias = towers.logit_scale.exp(), towers.logit_bias
        return batch_loss(settings, Gather(), image_features, text_features, valid, scale, bias)

    output = backward(encode, chunks, loss)
    return float(output.loss.detach()), gradients_of(towers.module)


def relative_errors(found: Gradients, expected: Gradients) -> dict[str, float]:
    assert set(found) == set(expected)
    return {
        name: float((found[name] - each).norm() / each.norm().clamp(min=1e-9))
        for name, each in expected.items()
    }


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_gradients_are_those_of_open_clip(batch: tuple[Tensor, Tensor], kind: Kind) -> None:
    loss, expected = theirs(kind, *batch)
    named = {"logit_scale", "visual.conv1.weight", "token_embedding.weight"}
    assert named | ({"logit_bias"} if kind == "siglip" else set()) <= set(expected)
    for chunks, row_chunk in ((1, 0), (4, 0), (2, 5)):
        found, gradients = ours(kind, *batch, chunks, row_chunk)
        assert found == pytest.approx(loss, rel=1e-6)
        errors = relative_errors(gradients, expected)
        assert max(errors.values()) < 1e-5, max(errors, key=errors.__getitem__)


@pytest.mark.slow  # documents the peer: nothing of ours
def test_accumulation_of_the_peer_multiplies_the_gradient_of_logit_scale(
    batch: tuple[Tensor, Tensor],
) -> None:
    train: Any = importlib.import_module("open_clip_train.train")
    data: Any = importlib.import_module("open_clip_train.data")
    assert open_clip.__version__.startswith("3.3.")
    _, expected = theirs("clip", *batch)
    towers, parts = make_towers("clip"), 2
    images = towers.normalise(batch[0])
    loader: Any = Halves(zip(images.chunk(parts), batch[1].chunk(parts), strict=True))
    arguments = types.SimpleNamespace(
        **dict.fromkeys(("distill", "skip_scheduler", "wandb", "log_local", "horovod"), False),
        **dict.fromkeys(("rank", "local_rank"), 0),
        **dict.fromkeys(("batch_size", "world_size", "log_every_n_steps"), 1),
        device="cpu",
        precision="fp32",
        accum_freq=parts,
        grad_clip_norm=None,
    )
    train.train_one_epoch(
        towers.module,
        {"train": data.DataInfo(dataloader=loader)},
        open_clip.ClipLoss(),
        0,
        torch.optim.SGD(towers.module.parameters(), lr=0),
        None,
        lambda step: None,
        None,
        arguments,
    )
    found = gradients_of(towers.module)
    assert float(found["logit_scale"] / expected["logit_scale"]) == pytest.approx(parts, rel=1e-5)
    del found["logit_scale"], expected["logit_scale"]
    assert max(relative_errors(found, expected).values()) < 1e-5


class Halves(list[tuple[Tensor, Tensor]]):
    """Batches as the peer's loader has them."""

    num_batches, num_samples = 2, ROWS
