"""Which towers are trained; without torch, as configurations are checked before it is loaded."""

import dataclasses
import difflib
import functools
import hashlib
import importlib.util
import json
import pathlib
from typing import Literal

from manifests.base.errors import ConfigError, RefusedError

Precision = Literal["auto", "fp32", "amp_bf16"]
CONFIGS = pathlib.Path(__file__).parent.parent / "configs"


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


@functools.cache
def add_own_configs() -> None:
    """Let open_clip know our own models, once in a process."""
    import open_clip

    open_clip.add_model_config(CONFIGS)
