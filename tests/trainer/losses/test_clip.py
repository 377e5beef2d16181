import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from trainer.losses.config import LossConfig
from trainer.losses.contrastive import LossOutput, batch_loss
from trainer.losses.gather import Gather

ALL = torch.ones(2, dtype=torch.bool)


def clip_loss(images: Tensor, texts: Tensor, scale: Tensor, valid: Tensor) -> LossOutput:
    return batch_loss(LossConfig(), Gather(), images, texts, valid, scale)


def features(rows: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, 16, generator=generator), dim=-1)


def test_two_orthonormal_pairs_have_the_value_of_the_specification() -> None:
    eye = torch.eye(2)
    out = clip_loss(eye, eye, torch.tensor(1.0), ALL)
    torch.testing.assert_close(out.loss, torch.tensor(0.31326169), atol=1e-7, rtol=0)
    assert out.top1.all()


def test_directions_are_told_apart() -> None:
    # Both images score best with text 0; each text scores best with its own image.
    images = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    texts = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    out = clip_loss(images[[0, 1]], texts, torch.tensor(10.0), ALL)
    scores = 10 * images @ texts.T
    by_image = -torch.log_softmax(scores, 1).diagonal()
    by_text = -torch.log_softmax(scores, 0).diagonal()
    torch.testing.assert_close(out.row_loss, torch.stack([by_image, by_text], 1))
    torch.testing.assert_close(out.loss, (by_image + by_text).mean() / 2)
    assert out.top1[:, 0].tolist() == [scores[0, 0] > scores[0, 1], scores[1, 1] > scores[1, 0]]


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_masking_a_row_is_removing_it(mask: list[bool], seed: int) -> None:
    valid, scale = torch.tensor(mask), torch.tensor(10.0)
    images, texts = features(len(mask), seed), features(len(mask), seed + 1)
    masked = clip_loss(images.requires_grad_(), texts, scale, valid)
    masked.loss.backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    assert not images.grad[~valid].any()
    assert not masked.row_loss[~valid].any()
    assert not masked.top1[~valid].any()
    if any(mask):
        kept = int(valid.sum())
        removed = clip_loss(
            images.detach()[valid], texts[valid], scale, torch.ones(kept, dtype=torch.bool)
        )
        assert torch.equal(masked.loss, removed.loss)
        assert torch.equal(masked.row_loss[valid], removed.row_loss)


def test_a_batch_without_valid_rows_gives_nothing() -> None:
    images = features(3, 0).requires_grad_()
    out = clip_loss(images, features(3, 1), torch.tensor(10.0), torch.zeros(3, dtype=torch.bool))
    out.loss.backward()  # type: ignore[no-untyped-call]
    assert out.loss == 0
    assert images.grad is not None
    assert not images.grad.any()
