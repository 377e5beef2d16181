"""Gradients in chunks against those of one pass, on the real towers."""

import pytest
import torch
from torch import Tensor

from trainer.losses.accum import backward
from trainer.losses.config import LossConfig
from trainer.losses.contrastive import LossOutput, batch_loss
from trainer.losses.gather import Gather
from trainer.model.build import build
from trainer.model.config import ModelConfig
from trainer.model.towers import Towers

ROWS, PIECES = 24, 4


@pytest.fixture(scope="module")
def towers() -> Towers:
    torch.set_num_threads(1)
    model = build(ModelConfig(name="micro-64"), seed=0, precision="fp32", crop_scale=(0.9, 1))
    # Dropout, so that both passes must draw alike.
    model.towers.module.get_submodule("visual.transformer.resblocks.0.mlp").register_forward_hook(
        lambda module, args, out: torch.nn.functional.dropout(out, 0.5)
    )
    return model.towers


def gradients(towers: Towers, chunks: int, valid: Tensor) -> tuple[dict[str, Tensor], LossOutput]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (ROWS, 3, 64, 64), dtype=torch.uint8, generator=generator)
    tokens = torch.randint(1, 49408, (ROWS, 24), generator=generator)

    def encode(chunk: int) -> tuple[Tensor, Tensor]:
        pieces = []
        for piece in range(PIECES // chunks * chunk, PIECES // chunks * (chunk + 1)):
            torch.default_generator.manual_seed(piece)  # the same dropout for any chunks
            here = slice(ROWS // PIECES * piece, ROWS // PIECES * (piece + 1))
            pieces.append(towers(images[here], tokens[here]))
        image_features, text_features = zip(*pieces, strict=True)
        return torch.cat(image_features), torch.cat(text_features)

    towers.module.zero_grad()
    scale = towers.logit_scale.exp()
    output = backward(
        encode, chunks, lambda i, t: batch_loss(LossConfig(), Gather(), i, t, valid, scale)
    )
    found = {
        name: each.grad.clone()
        for name, each in towers.module.named_parameters()
        if each.grad is not None
    }
    return found, output


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("chunks", [2, 4])
def test_chunks_have_the_gradient_of_the_whole_batch(
    towers: Towers, chunks: int, masked: bool
) -> None:
    valid = torch.ones(ROWS, dtype=torch.bool)
    if masked:
        valid[[0, 7, 23]] = False
    whole, output = gradients(towers, 1, valid)
    parts, again = gradients(towers, chunks, valid)
    assert set(parts) == set(whole)
    assert {"logit_scale", "visual.conv1.weight", "token_embedding.weight"} <= set(parts)
    torch.testing.assert_close(again.loss, output.loss)
    for name, expected in whole.items():
        error = (parts[name] - expected).norm() / expected.norm().clamp(min=1e-12)
        assert error < 1e-5, name
