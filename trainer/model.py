"""open_clip's towers: which configuration, how they are built, how a batch goes through them."""

import contextlib
import dataclasses
import difflib
import functools
import hashlib
import importlib.util
import json
import logging
import math
import pathlib
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from manifests.base.errors import ConfigError, RefusedError

if typing.TYPE_CHECKING:  # a configuration is checked without torch, which takes seconds to import
    import torch

Precision = Literal["auto", "fp32", "amp_bf16"]
CONFIGS = pathlib.Path(__file__).parent / "configs"
SIGLIP_START = {"init_logit_scale": math.log(10), "init_logit_bias": -10.0}
"""SigLIP paper, section 3.2: most pairs of a batch are no pairs."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Which towers are trained, and from which weights."""

    name: str = "ViT-B-32"
    """A model configuration of open_clip, or ours: micro-64, tiny-64."""
    pretrained: str = ""
    """A local file of open_clip weights; relative to the folder of the configuration."""
    patch_dropout: float = 0.0
    """Share of an image's patches that are left out while training; 0: as the model says."""
    grad_checkpointing: bool = False
    """Whether activations are computed again instead of kept: less memory, a third more work."""

    def __post_init__(self) -> None:
        if not 0 <= self.patch_dropout < 1:
            raise ValueError(f"patch_dropout must be from 0 to below 1, got {self.patch_dropout}")


@dataclasses.dataclass(frozen=True, slots=True)
class ModelFile:
    """A model configuration, found and readable without torch."""

    name: str
    sha256: str
    """Of the JSON file: another one is another model."""


def find_model(name: str) -> ModelFile:
    """Return the model configuration of a name.

    Raises:
        ConfigError: if there is none, or it needs what we have not.
    """
    folders = [CONFIGS, _open_clip_folder() / "model_configs"]
    known = {path.stem: path for folder in reversed(folders) for path in folder.glob("*.json")}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "open_clip.list_models() has all"
        raise ConfigError(f"model.name: {name!r} is not a model configuration: {hint}")
    data = known[name].read_bytes()
    config = json.loads(data)
    if "hf_tokenizer_name" in config["text_cfg"] or "hf_model_name" in config["text_cfg"]:
        raise ConfigError(
            f"model.name: {name!r} takes its tokenizer from the network: choose one that uses "
            "open_clip's own, such as ViT-B-32"
        )
    if "multimodal_cfg" in config:
        raise ConfigError(f"model.name: {name!r} is no pair of towers: choose one that is")
    return ModelFile(name, hashlib.sha256(data).hexdigest())


def _open_clip_folder() -> pathlib.Path:
    found = importlib.util.find_spec("open_clip")  # finds, does not import
    if found is None or not found.submodule_search_locations:
        raise RefusedError("open_clip: not installed: pip install 'openwit[train]'")
    return pathlib.Path(found.submodule_search_locations[0])


class Towers:
    """A model and the arithmetic around it: pixels and tokens in, features out."""

    def __init__(
        self,
        module: "torch.nn.Module",
        *,
        mean: Sequence[float],
        std: Sequence[float],
        device: "torch.device",
        bf16: bool = False,
    ) -> None:
        """Take a CLIP module of open_clip and the channels' mean and deviation, of 0 to 1."""
        import torch

        self.module = module.to(device)
        self._trained: torch.nn.Module = self.module
        self.device = device
        self._bf16 = bf16
        self._mean, self._std = (
            torch.tensor(each, dtype=torch.float32, device=device).view(3, 1, 1)
            for each in (mean, std)
        )

    def __call__(
        self, images: "torch.Tensor", tokens: "torch.Tensor"
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Return the features of images and texts.

        Args:
            images: shape (n, 3, height, width), uint8.
            tokens: shape (n, context length), int64.

        Returns:
            Image and text features, each of shape (n, d), float32, rows of length 1.
        """
        import torch

        # Without gradients there is nothing to exchange with other ranks.
        module = self._trained if torch.is_grad_enabled() else self.module
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            out = module(self.normalise(images), tokens.to(self.device))
        return out["image_features"].float(), out["text_features"].float()

    def encode_text(self, tokens: "torch.Tensor") -> "torch.Tensor":
        """Return the features of texts alone, as `__call__` does."""
        import torch

        module: Any = self.module
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            features = module.encode_text(tokens.to(self.device), normalize=True)
        return typing.cast(torch.Tensor, features.float())

    def normalise(self, images: "torch.Tensor") -> "torch.Tensor":
        """Return uint8 pixels on the device, as the last two steps of open_clip's transform do."""
        import torch

        pixels = images.to(self.device, torch.float32)
        return pixels.div_(255).sub_(self._mean).div_(self._std)

    def exchange_gradients(self) -> None:
        """From now on, make gradients the means over all ranks."""
        from torch.nn.parallel import DistributedDataParallel

        with warnings.catch_warnings():
            # torch 2.14 gives `broadcast_buffers` another name, which torch 2.6 does not know.
            warnings.simplefilter("ignore", FutureWarning)
            self._trained = DistributedDataParallel(
                self.module, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def unsynced(self) -> contextlib.AbstractContextManager[None]:
        """Return a block within which gradients stay on this rank."""
        no_sync = getattr(self._trained, "no_sync", contextlib.nullcontext)
        return typing.cast(contextlib.AbstractContextManager[None], no_sync())

    @property
    def logit_scale(self) -> "torch.Tensor":
        """The trained logarithm of the temperature's inverse, a scalar."""
        import torch

        return typing.cast(torch.Tensor, self.module.logit_scale)

    @property
    def logit_bias(self) -> "torch.Tensor | None":
        """The trained bias of SigLIP's logits, a scalar."""
        import torch

        return typing.cast(torch.Tensor | None, self.module.logit_bias)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Towers, and how their input is made."""

    towers: Towers
    tokenize: Callable[[list[str]], "torch.Tensor"]
    train_steps: Sequence[object]
    """open_clip's transform for training, step by step."""
    eval_steps: Sequence[object]
    image_px: int
    """Width and height of an image."""


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
    import open_clip
    import torch

    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
    bf16 = _wants_bf16(precision, device)
    _add_own_configs()
    with _quiet(), torch.random.fork_rng(devices=()):
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
    import open_clip

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


def load_weights(
    module: "torch.nn.Module", tensors: dict[str, "torch.Tensor"], source: object
) -> None:
    """Give a module its weights, all of them and no others.

    Raises:
        RefusedError: naming `source`, if they are of another model.
    """
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise RefusedError(f"{source}: weights of another model: {_first_line(error)}") from None


def has_batch_norm(module: "torch.nn.Module") -> bool:
    """Tell whether rows of a batch see each other inside the towers."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return any(isinstance(each, _BatchNorm) for each in module.modules())


def _wants_bf16(precision: Precision, device: "torch.device") -> bool:
    import torch

    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if precision == "amp_bf16" and not able:
        raise RefusedError(
            f"precision: amp_bf16 on {device.type} without bfloat16 units: set it to auto or fp32"
        )
    return able and precision != "fp32"


@functools.cache
def _add_own_configs() -> None:
    import open_clip

    open_clip.add_model_config(CONFIGS)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from warning that weights are drawn: that is what we ask for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
