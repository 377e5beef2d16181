"""One optimiser step: from the chunks of a global batch to gradients and new weights."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from trainer.data.loader import Chunk
from trainer.data.order import hash64
from trainer.distributed import Ranks
from trainer.losses.accum import backward
from trainer.losses.contrastive import LossOutput, batch_loss
from trainer.losses.gather import Gather
from trainer.metrics import StepResult
from trainer.model.towers import Towers
from trainer.optim import Ema, clamp_logit_scale
from trainer.plan import Plan


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """What the backward pass of a step gave, beside the gradients in the parameters."""

    result: StepResult
    """Over all ranks."""
    valid: NDArray[np.bool_]
    """Shape (global_batch,): which samples were not masked."""
    row_loss: Tensor
    """Of this rank's rows, see `LossOutput`."""
    top1: Tensor
    """The same."""
    norm: Tensor


class Stepper:
    """Towers and optimiser, and how a batch changes them; all ranks do the same."""

    def __init__(
        self,
        plan: Plan,
        ranks: Ranks,
        towers: Towers,
        optimizer: torch.optim.Optimizer,
        ema: Ema | None = None,
    ) -> None:
        """Take what is trained; `ema` follows it."""
        self.towers, self.optimizer, self.ema = towers, optimizer, ema
        self._plan, self._settings, self._ranks = plan, plan.settings, ranks
        self._gather = Gather(ranks.rank, ranks.world, plan.chunks // ranks.world)
        if ranks.world > 1:
            towers.exchange_gradients()

    def lr(self, step: int) -> float:
        """Return the learning rate of step number `step`, from 0."""
        return self._settings.optim.lr * self._settings.schedule.factor(step, self._plan.steps)

    def backward(self, step: int, batch: Sequence[Chunk]) -> Gradients:
        """Compute the gradients of this rank's chunks of a batch, in step number `step`."""
        self.optimizer.zero_grad()
        towers = self.towers
        valid = torch.cat([chunk.tensors.valid for chunk in batch]).to(towers.device)

        def encode(place: int) -> tuple[Tensor, Tensor]:
            chunk = batch[place]
            self._seed(step, chunk.number)
            return towers(chunk.tensors.images, chunk.tensors.tokens)

        def loss(images: Tensor, texts: Tensor) -> LossOutput:
            scale = towers.logit_scale.exp()
            settings, bias = self._settings.loss, towers.logit_bias
            return batch_loss(settings, self._gather, images, texts, valid, scale, bias)

        parameters = [each for each in (towers.logit_scale, towers.logit_bias) if each is not None]
        output = backward(encode, len(batch), loss, parameters=parameters, unsynced=towers.unsynced)
        norm = get_total_norm([each.grad for each in self._parameters() if each.grad is not None])
        return Gradients(
            result=self._summarise(output, float(norm)),
            valid=output.valid.cpu().numpy(),
            row_loss=output.row_loss,
            top1=output.top1,
            norm=norm,
        )

    def apply(self, step: int, gradients: Gradients) -> None:
        """Change the weights by the gradients of step number `step`."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr(step)
        if self._settings.optim.grad_clip:
            clip_grads_with_norm_(
                self._parameters(), self._settings.optim.grad_clip, gradients.norm
            )
        self.optimizer.step()
        clamp_logit_scale(self.towers.module)
        if self.ema:
            self.ema.update(self.towers.module, step)

    def _parameters(self) -> list[torch.nn.Parameter]:
        return list(self.towers.module.parameters())

    def _seed(self, step: int, chunk: int) -> None:
        # Dropout depends on step and chunk alone: no generator's state is part of a checkpoint.
        # Both generators, as open_clip's patch dropout draws on the CPU's even for a GPU.
        value = hash64("model", self._settings.seed, step, np.array([chunk], np.uint64))
        torch.default_generator.manual_seed(int(value[0]))
        if self.towers.device.type == "cuda":
            torch.cuda.manual_seed(int(value[0]))

    def _summarise(self, output: LossOutput, norm: float) -> StepResult:
        rows = max(int(output.valid.sum()), 1)
        sums = [*output.row_loss.double().sum(0).tolist(), *output.top1.sum(0).tolist()]
        image_loss, text_loss, image_top1, text_top1 = (
            each / rows for each in self._ranks.sum(sums)
        )
        return StepResult(
            loss=(image_loss + text_loss) / 2,
            loss_i2t=image_loss,
            loss_t2i=text_loss,
            top1_i2t=image_top1,
            top1_t2i=text_top1,
            grad_norm=norm,
        )
