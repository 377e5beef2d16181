"""SigLIP: each image with each text is a question of its own, whether the two are a pair."""

import torch
import torch.nn.functional as F  # noqa: N812 # torch's own name for it
from torch import Tensor

from trainer.losses.rows import RowsLoss, has_best_own, scores


def siglip_rows(
    images: Tensor, texts: Tensor, all_images: Tensor, all_texts: Tensor, targets: Tensor,
    scale: Tensor, bias: Tensor | None,
) -> RowsLoss:  # fmt: skip
    """Return the sum of the losses of each image with all texts, which is minimised.

    The other direction is looked at only: summed over the batch it is the same.

    Args: see `trainer.losses.rows.KINDS`.
    Source: Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", equation 1.
    """
    image_logits, text_logits = scores(images, texts, all_images, all_texts, scale, bias)
    image_loss = _row_loss(image_logits, targets)
    text_logits = text_logits.detach()
    row_loss = torch.stack([image_loss, _row_loss(text_logits, targets)], 1)
    top1 = [has_best_own(each, targets) for each in (image_logits, text_logits)]
    return image_loss, row_loss, torch.stack(top1, 1)


def _row_loss(logits: Tensor, targets: Tensor) -> Tensor:
    own = targets[:, None]
    return F.softplus(logits.scatter(1, own, -logits.gather(1, own))).sum(1)
