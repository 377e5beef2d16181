"""The loss of a global batch: whole or in slices of rows, in one process or over many."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trainer.losses.clip import clip_rows
from trainer.losses.config import Kind, LossConfig
from trainer.losses.gather import Gather
from trainer.losses.rows import RowsLoss
from trainer.losses.siglip import siglip_rows

KINDS: dict[Kind, Callable[..., RowsLoss]] = {"clip": clip_rows, "siglip": siglip_rows}
"""Losses of r rows of a batch. They take, in this order: image and text features of the rows,
shape (r, d), rows of length 1; those of all valid rows of the batch, shape (n, d); the place of
each row among these, shape (r,); exp(logit_scale); logit_bias or None."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LossOutput:
    """A rank's part of a batch's loss; columns: image to text, text to image."""

    loss: Tensor
    """Scalar, with its graph; the mean over the ranks is the loss of the batch."""
    valid: Tensor
    """Shape (world * n,), bool: which rows of the whole batch are not left out."""
    row_loss: Tensor
    """Shape (n, 2), without graph; 0 in rows that are left out."""
    top1: Tensor
    """Shape (n, 2), bool: the own pair scores best; False in rows that are left out."""


def batch_loss(
    settings: LossConfig, gather: Gather, images: Tensor, texts: Tensor, valid: Tensor,
    scale: Tensor, bias: Tensor | None = None,
) -> LossOutput:  # fmt: skip
    """Return the mean loss over all valid rows of the batch.

    The gradients, averaged over the ranks as DDP does, are those of one process with the whole
    batch.

    Args:
        settings: which loss, and in how many slices.
        gather: which rows of the batch are here.
        images: shape (n, d), float32, each row of length 1.
        texts: the same of the texts.
        valid: shape (n,), bool; other rows are left out, as anchors and as negatives.
        scale: scalar, exp(logit_scale).
        bias: scalar, for SigLIP.
    """
    all_valid = gather.rows(valid.byte()).bool()
    columns, rows = all_valid.nonzero().squeeze(1), valid.nonzero().squeeze(1)
    everything = [gather.rows(each)[columns] for each in (images, texts)]
    places = gather.places(len(valid)).to(valid.device)
    targets = (all_valid.cumsum(0) - 1)[places[rows]]
    size = settings.row_chunk or len(rows)
    slices = [slice(at, at + size) for at in range(0, len(rows), size or 1)] or [slice(0)]
    parts = []
    for here in slices:
        given = (images[rows[here]], texts[rows[here]], *everything, targets[here], scale, bias)
        parts.append(_slice_loss(settings, given, recompute=len(slices) > 1))
    minimised, row_loss, top1 = (torch.cat(each) for each in zip(*parts, strict=True))
    return LossOutput(
        # A batch without valid rows gives 0, and gradients of 0.
        loss=minimised.sum() * (gather.world / max(len(columns), 1)),
        valid=all_valid,
        row_loss=row_loss.new_zeros(len(valid), 2).index_copy(0, rows, row_loss.detach()),
        top1=top1.new_zeros(len(valid), 2).index_copy(0, rows, top1),
    )


def _slice_loss(
    settings: LossConfig, given: tuple[Tensor | None, ...], *, recompute: bool
) -> RowsLoss:
    """Return the losses of a slice; its scores are not kept, but computed again when needed."""
    rows_loss = KINDS[settings.kind]
    if not recompute:
        return rows_loss(*given)
    return checkpoint(rows_loss, *given, use_reentrant=False)
