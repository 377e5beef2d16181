"""What the losses share: the scores of some rows of a batch against all of it."""

from torch import Tensor

RowsLoss = tuple[Tensor, Tensor, Tensor]
"""What is minimised, shape (r,); losses of the two directions and whether the own pair scores best,
shape (r, 2): image to text, text to image."""


def scores(
    images: Tensor, texts: Tensor, all_images: Tensor, all_texts: Tensor,
    scale: Tensor, bias: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the logits of images against all texts and of texts against all images, (r, n)."""
    image_logits = scale * images @ all_texts.T
    if bias is not None:
        image_logits = image_logits + bias
    if len(images) == len(all_images):  # all rows are here: one product serves both
        return image_logits, image_logits.T
    text_logits = scale * texts @ all_images.T
    return image_logits, text_logits if bias is None else text_logits + bias


def has_best_own(logits: Tensor, targets: Tensor) -> Tensor:
    """Tell for each row whether its own pair scores best, shape (r,).

    A tie is no hit: else a model that gives all pairs one score would have all right.
    """
    own = logits.gather(1, targets[:, None])
    return (logits >= own).sum(1) == 1
