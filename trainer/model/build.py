"""Towers as open_clip builds them: weights drawn, or read from a file."""

import math
from collections.abc import Sequence
from typing import Any

import open_clip
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from manifests.base.console import quiet_logs
from manifests.base.errors import RefusedError
from trainer.model.config import ModelConfig, Precision, add_own_configs
from trainer.model.towers import Model, Towers

SIGLIP_START = {"init_logit_scale": math.log(10), "init_logit_bias": -10.0}
"""SigLIP paper, section 3.2: most pairs of a batch are no pairs."""


def build(
    settings: ModelConfig,
    *,
    seed: int,
    precision: Precision,
    crop_scale: Sequence[float],
    siglip: bool = False,
    text_mask: str = "none",
) -> Model:
    """Build a model on the GPU if there is one, its weights drawn from `seed` or read.

    Args:
        settings: which towers, and from which weights.
        seed: of weights that are drawn.
        precision: of the towers' arithmetic.
        crop_scale: of the transform for training.
        siglip: whether the logits have a bias, and begin as in the SigLIP paper.
        text_mask: how texts that are too long are cut; open_clip's name of it.

    Raises:
        RefusedError: if the weights are of another model, or the device lacks the precision.
    """
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
    bf16 = _wants_bf16(precision, device)
    add_own_configs()
    # open_clip warns that weights are drawn: that is what we ask for.
    with quiet_logs(), torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        module, train_transform, eval_transform = _create(settings, crop_scale, siglip=siglip)
    if settings.grad_checkpointing:
        module.set_grad_checkpointing()
    height, width = _pair(module.visual.image_size)
    if height != width:
        raise RefusedError(f"model.name: {settings.name}: {height} x {width} px: choose a square")
    return Model(
        towers=Towers(
            module,
            mean=module.visual.image_mean,
            std=module.visual.image_std,
            device=device,
            bf16=bf16,
        ),
        tokenize=open_clip.get_tokenizer(
            settings.name, **({} if text_mask == "none" else {"reduction_mask": text_mask})
        ),
        train_steps=train_transform.transforms,
        eval_steps=eval_transform.transforms,
        image_px=height,
    )


def _create(settings: ModelConfig, crop_scale: Sequence[float], *, siglip: bool) -> Any:
    """Return open_clip's module and its transforms for training and evaluation."""
    try:
        return open_clip.create_model_and_transforms(
            settings.name,
            pretrained=settings.pretrained or None,
            aug_cfg={"scale": tuple(crop_scale)},
            output_dict=True,
            force_patch_dropout=settings.patch_dropout or None,
            **(SIGLIP_START if siglip else {}),
        )
    except Exception as error:  # whatever a file of others makes open_clip raise
        if not settings.pretrained:
            raise
        raise RefusedError(
            f"{settings.pretrained}: no weights of {settings.name}: {_first_line(error)}"
        ) from None


def load_weights(module: torch.nn.Module, tensors: dict[str, Tensor], source: object) -> None:
    """Give a module its weights, all of them and no others.

    Raises:
        RefusedError: naming `source`, if they are of another model.
    """
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise RefusedError(f"{source}: weights of another model: {_first_line(error)}") from None


def has_batch_norm(module: torch.nn.Module) -> bool:
    """Tell whether rows of a batch see each other inside the towers."""
    return any(isinstance(each, _BatchNorm) for each in module.modules())


def _wants_bf16(precision: Precision, device: torch.device) -> bool:
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if precision == "amp_bf16" and not able:
        raise RefusedError(
            f"precision: amp_bf16 on {device.type} without bfloat16 units: set it to auto or fp32"
        )
    return able and precision != "fp32"


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
