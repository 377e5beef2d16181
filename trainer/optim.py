"""AdamW with its two groups, the learning rate of each step, and the clamp of the temperature."""

import dataclasses
import math
import typing
from typing import Literal

if typing.TYPE_CHECKING:  # a configuration is checked without torch, which takes seconds to import
    import torch

MAX_LOGIT_SCALE = math.log(100)
"""CLIP paper, section 2.5."""
WARMUP_SHARE = 10
"""Warm-up takes at most one step in so many; provisional."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """AdamW; the defaults are the CLIP paper's for ViT. For RN use betas 0.9, 0.999, eps 1e-8."""

    lr: float = 5e-4
    """Learning rate after warm-up."""
    betas: tuple[float, ...] = (0.9, 0.98)
    """Decay of the means of the gradient and of its square."""
    eps: float = 1e-6
    """Added to the root of the second mean."""
    weight_decay: float = 0.2
    """Not for gains, biases and logit_scale."""
    grad_clip: float = 0.0
    """Greatest norm of the whole gradient; 0 does not clip."""

    def __post_init__(self) -> None:
        for name in ("lr", "eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("weight_decay", "grad_clip"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers from 0 to below 1, got {list(self.betas)}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """How the learning rate changes: linear warm-up, then one of three shapes."""

    kind: Literal["cosine", "const", "wsd"] = "cosine"
    """To 0 along a cosine; constant; or constant and then linearly to 0 (`wsd`)."""
    warmup_steps: int = 2000
    """CLIP paper; cut to a tenth of all steps."""
    cooldown_fraction: float = 0.2
    """Share of all steps in which `wsd` goes to 0; provisional."""

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must be at least 0, got {self.warmup_steps}")
        if not 0 <= self.cooldown_fraction <= 1:
            raise ValueError(f"cooldown_fraction must be from 0 to 1, got {self.cooldown_fraction}")

    def factor(self, step: int, steps: int) -> float:
        """Return what the learning rate is multiplied by in step number `step`, from 0, of `steps`.

        Source: open_clip 3.3.0, `open_clip_train.scheduler`.
        """
        warmup = min(self.warmup_steps, steps // WARMUP_SHARE)
        if step < warmup:
            return (step + 1) / warmup
        if self.kind == "cosine":
            return (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
        if self.kind == "wsd":
            return min(1.0, (steps - step) / max(1.0, steps * self.cooldown_fraction))
        return 1.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EmaConfig:
    """A moving average of the weights, kept beside them in each checkpoint."""

    decay: float = 0.0
    """What it keeps of itself in a step, less in the first ones; 0: no average."""

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be from 0 to below 1, got {self.decay}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NonfiniteConfig:
    """What happens when loss or gradient is not a finite number."""

    policy: Literal["halt", "skip"] = "halt"
    """End the run, or leave that step out and go on."""
    max_skips: int = 3
    """Steps in a row that `skip` leaves out; provisional."""

    def __post_init__(self) -> None:
        if self.max_skips < 1:
            raise ValueError(f"max_skips must be at least 1, got {self.max_skips}")


def make_optimizer(module: "torch.nn.Module", settings: OptimConfig) -> "torch.optim.Optimizer":
    """Return AdamW over the parameters of `module`; those with less than 2 dimensions do not decay.

    So gains, biases, class embedding, logit_scale: the split that open_clip makes by names.
    """
    import torch

    parameters = [each for each in module.parameters() if each.requires_grad]
    return torch.optim.AdamW(
        [
            {
                "params": [each for each in parameters if each.ndim >= 2],
                "weight_decay": settings.weight_decay,
            },
            {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0.0},
        ],
        lr=settings.lr,
        betas=(settings.betas[0], settings.betas[1]),
        eps=settings.eps,
    )


MOMENTS = ("exp_avg", "exp_avg_sq")


def moments(
    module: "torch.nn.Module", optimizer: "torch.optim.Optimizer"
) -> dict[str, "torch.Tensor"]:
    """Return the optimiser's tensors as `exp_avg.<parameter>` and `exp_avg_sq.<parameter>`."""
    return {
        f"{moment}.{name}": optimizer.state[parameter][moment]
        for moment in MOMENTS
        for name, parameter in module.named_parameters()
        if parameter in optimizer.state
    }


def restore_moments(
    module: "torch.nn.Module",
    optimizer: "torch.optim.Optimizer",
    tensors: dict[str, "torch.Tensor"],
    step: int,
) -> None:
    """Give the optimiser the tensors that `moments` returned after `step` steps."""
    import torch

    for name, parameter in module.named_parameters():
        if f"{MOMENTS[0]}.{name}" in tensors:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                **{each: tensors[f"{each}.{name}"].to(parameter) for each in MOMENTS},
            }


def clamp_logit_scale(module: "torch.nn.Module") -> None:
    """Keep the temperature's logarithm between 0 and ln 100."""
    import torch

    with torch.no_grad():
        typing.cast(torch.Tensor, module.logit_scale).clamp_(0, MAX_LOGIT_SCALE)


class Ema:
    """A moving average of a module's parameters and buffers."""

    def __init__(self, module: "torch.nn.Module", decay: float) -> None:
        """Begin with what the module has."""
        self._decay = decay
        self.tensors = {name: each.detach().clone() for name, each in module.state_dict().items()}

    def restore(self, tensors: "dict[str, torch.Tensor]") -> None:
        """Go on from the average of a checkpoint."""
        for name, each in tensors.items():
            self.tensors[name].copy_(each)

    def update(self, module: "torch.nn.Module", step: int) -> None:
        """Follow the module after step number `step`, from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, each in module.state_dict().items():
            if each.is_floating_point():
                self.tensors[name].lerp_(each, 1 - decay)
            else:
                self.tensors[name].copy_(each)
