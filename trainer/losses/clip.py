"""InfoNCE, CLIP's loss: an image against all texts of the batch, a text against all images."""

import dataclasses

import torch
import torch.nn.functional as F  # noqa: N812 # torch's own name for it
from torch import Tensor


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LossOutput:
    """A batch's loss, and what each row adds to it; columns: image to text, text to image."""

    loss: Tensor
    """Scalar, with its graph."""
    row_loss: Tensor
    """Shape (n, 2), without graph; 0 in rows that are left out."""
    top1: Tensor
    """Shape (n, 2), bool: the own pair scores best; False in rows that are left out."""


def clip_loss(
    image_features: Tensor, text_features: Tensor, scale: Tensor, valid: Tensor
) -> LossOutput:
    """Return the mean over the valid rows of both cross entropies, halved.

    Args:
        image_features: shape (n, d), float32, each row of length 1.
        text_features: the same of the texts.
        scale: scalar, exp(logit_scale).
        valid: shape (n,), bool; other rows are left out, as anchors and as negatives.
    Source: the CLIP paper, figure 3.
    """
    rows = valid.nonzero().squeeze(1)
    logits = scale * image_features[rows] @ text_features[rows].T
    targets = torch.arange(len(rows), device=logits.device)
    both = [F.cross_entropy(each, targets, reduction="none") for each in (logits, logits.T)]
    row_loss = torch.stack(both, dim=1)
    # A tie is no hit: else a model that gives all pairs one score would have all right.
    best = [(each >= each.diagonal()[:, None]).sum(1) == 1 for each in (logits, logits.T)]
    top1 = torch.stack(best, dim=1)
    return LossOutput(
        # A batch without valid rows gives 0, and gradients of 0.
        loss=row_loss.mean(dim=1).sum() / max(len(rows), 1),
        row_loss=row_loss.new_zeros(len(valid), 2).index_copy(0, rows, row_loss.detach()),
        top1=top1.new_zeros(len(valid), 2).index_copy(0, rows, top1),
    )
