"""A pair of towers, and the arithmetic around it."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel


class Towers:
    """A model and the arithmetic around it: pixels and tokens in, features out."""

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        bf16: bool = False,
    ) -> None:
        """Take a CLIP module of open_clip and the channels' mean and deviation, of 0 to 1."""
        self.module = module.to(device)
        self._trained: torch.nn.Module = self.module
        self.device = device
        self._bf16 = bf16
        self._mean, self._std = (
            torch.tensor(each, dtype=torch.float32, device=device).view(3, 1, 1)
            for each in (mean, std)
        )

    def __call__(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of images and texts.

        Args:
            images: shape (n, 3, height, width), uint8.
            tokens: shape (n, context length), int64.

        Returns:
            Image and text features, each of shape (n, d), float32, rows of length 1.
        """
        # Without gradients there is nothing to exchange with other ranks.
        module = self._trained if torch.is_grad_enabled() else self.module
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            out = module(self.normalise(images), tokens.to(self.device))
        return out["image_features"].float(), out["text_features"].float()

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return the features of texts alone, as `__call__` does."""
        module: Any = self.module
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            features = module.encode_text(tokens.to(self.device), normalize=True)
        return cast(Tensor, features.float())

    def normalise(self, images: Tensor) -> Tensor:
        """Return uint8 pixels on the device, as the last two steps of open_clip's transform do."""
        pixels = images.to(self.device, torch.float32)
        return pixels.div_(255).sub_(self._mean).div_(self._std)

    def exchange_gradients(self) -> None:
        """From now on, make gradients the means over all ranks."""
        with warnings.catch_warnings():
            # torch 2.14 gives `broadcast_buffers` another name, which torch 2.6 does not know.
            warnings.simplefilter("ignore", FutureWarning)
            self._trained = DistributedDataParallel(
                self.module, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def unsynced(self) -> contextlib.AbstractContextManager[None]:
        """Return a block within which gradients stay on this rank."""
        no_sync = getattr(self._trained, "no_sync", contextlib.nullcontext)
        return cast(contextlib.AbstractContextManager[None], no_sync())

    @property
    def logit_scale(self) -> Tensor:
        """The trained logarithm of the temperature's inverse, a scalar."""
        return cast(Tensor, self.module.logit_scale)

    @property
    def logit_bias(self) -> Tensor | None:
        """The trained bias of SigLIP's logits, a scalar."""
        return cast(Tensor | None, self.module.logit_bias)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Towers, and how their input is made."""

    towers: Towers
    tokenize: Callable[[list[str]], Tensor]
    train_steps: Sequence[object]
    """open_clip's transform for training, step by step."""
    eval_steps: Sequence[object]
    image_px: int
    """Width and height of an image."""
