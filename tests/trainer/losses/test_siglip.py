import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from trainer.losses.config import LossConfig
from trainer.losses.contrastive import LossOutput, batch_loss
from trainer.losses.gather import Gather

SIGLIP = LossConfig(kind="siglip")
BIAS = torch.tensor(-10.0)


def siglip(images: Tensor, texts: Tensor, scale: float, valid: Tensor) -> LossOutput:
    return batch_loss(SIGLIP, Gather(), images, texts, valid, torch.tensor(scale), BIAS)


def features(rows: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, 16, generator=generator), dim=-1)


def test_two_orthonormal_pairs_have_the_value_of_the_specification() -> None:
    eye = torch.eye(2)
    out = siglip(eye, eye, 10.0, torch.ones(2, dtype=torch.bool))
    torch.testing.assert_close(out.loss, torch.tensor(0.69319258), atol=1e-7, rtol=0)
    assert out.top1.all()


def test_the_loss_is_the_formula_of_the_paper() -> None:
    images, texts = features(5, 0), features(5, 1)
    out = siglip(images, texts, 10.0, torch.ones(5, dtype=torch.bool))
    logits = 10 * images @ texts.T - 10
    signs = 2 * torch.eye(5) - 1
    each = -logsigmoid(signs * logits)
    torch.testing.assert_close(out.loss, each.sum() / 5)
    torch.testing.assert_close(out.row_loss, torch.stack([each.sum(1), each.sum(0)], 1))


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_masking_a_row_is_removing_it(mask: list[bool], seed: int) -> None:
    valid = torch.tensor(mask)
    images, texts = features(len(mask), seed), features(len(mask), seed + 1)
    masked = siglip(images.requires_grad_(), texts, 10.0, valid)
    masked.loss.backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    assert not images.grad[~valid].any()
    if any(mask):
        every = torch.ones(int(valid.sum()), dtype=torch.bool)
        removed = siglip(images.detach()[valid], texts[valid], 10.0, every)
        assert torch.equal(masked.loss, removed.loss)
        assert torch.equal(masked.row_loss[valid], removed.row_loss)
