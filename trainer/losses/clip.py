"""InfoNCE, CLIP's loss: an image against all texts of the batch, a text against all images."""

import torch
import torch.nn.functional as F  # noqa: N812 # torch's own name for it
from torch import Tensor

from trainer.losses.rows import RowsLoss, has_best_own, scores


def clip_rows(
    images: Tensor, texts: Tensor, all_images: Tensor, all_texts: Tensor, targets: Tensor,
    scale: Tensor, bias: Tensor | None,
) -> RowsLoss:  # fmt: skip
    """Return both cross entropies of some rows, and their half sum as what is minimised.

    Args: see `trainer.losses.rows.KINDS`.
    Source: the CLIP paper, figure 3.
    """
    both = scores(images, texts, all_images, all_texts, scale, bias)
    row_loss = torch.stack([F.cross_entropy(each, targets, reduction="none") for each in both], 1)
    top1 = torch.stack([has_best_own(each, targets) for each in both], 1)
    return row_loss.mean(1), row_loss, top1
