"""Exact gradients of a batch in chunks: the loss sees all rows, the towers one chunk at a time."""

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainer.losses.contrastive import LossOutput

Encode = Callable[[int], tuple[Tensor, Tensor]]
"""Image and text features of a chunk, by its number; the same at each call."""
Unsynced = Callable[[], contextlib.AbstractContextManager[None]]


def backward(
    encode: Encode,
    chunks: int,
    loss: Callable[[Tensor, Tensor], LossOutput],
    *,
    parameters: Sequence[Tensor] = (),
    unsynced: Unsynced = contextlib.nullcontext,
) -> LossOutput:
    """Compute the loss of a batch and add its gradients to the parameters.

    Several chunks go through the towers twice: first without a graph, to learn the gradient of all
    features, then each with its graph, to hand that gradient on. Memory is that of one chunk.

    Args:
        encode: runs the towers on one chunk; all chunks have equally many rows.
        chunks: how many there are.
        loss: takes the features of all rows, in order; adds the gradient of its own parameters.
        parameters: those of the loss.
        unsynced: a block whose gradients stay on this rank; those of the last chunk take them
            along.
    Source: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
    Setup".
    """
    if chunks == 1:
        output = loss(*encode(0))
        torch.autograd.backward(output.loss)
        return output
    with torch.no_grad():
        pairs = [encode(chunk) for chunk in range(chunks)]
    images, texts = (torch.cat(side).requires_grad_() for side in zip(*pairs, strict=True))
    output = loss(images, texts)
    torch.autograd.backward(output.loss)
    gradients = [side.grad.chunk(chunks) for side in (images, texts) if side.grad is not None]
    # DDP only exchanges gradients that come in the last backward pass; zeros make these come.
    held = [0 * each.sum() for each in parameters]
    for chunk, given in enumerate(zip(*gradients, strict=True)):
        is_last = chunk == chunks - 1
        with contextlib.nullcontext() if is_last else unsynced():
            features = encode(chunk)
            more = held if is_last else []
            torch.autograd.backward((*features, *more), (*given, *map(torch.ones_like, more)))
    return output
