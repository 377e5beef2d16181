"""Weights for open_clip: one file, or a folder as the Hugging Face hub holds models."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from manifests.base import storage
from manifests.base.errors import RefusedError
from trainer.checkpoint import Checkpoint
from trainer.model.build import SIGLIP_START
from trainer.model.towers import Model

Format = Literal["open_clip", "hub"]
CONFIG, WEIGHTS, CARD = "open_clip_config.json", "open_clip_model.safetensors", "README.md"


def export_file(source: Checkpoint, weights: str, output: str) -> None:
    """Copy the weights to one file, for `open_clip.create_model(name, pretrained=output)`.

    Args:
        source: a checkpoint.
        weights: which of its files.
        output: path or URI; an older file is replaced.

    Raises:
        RefusedError: if the name does not end as open_clip tells the format by.
    """
    if not output.endswith(".safetensors"):
        raise RefusedError(f"--output {output}: must end in .safetensors: open_clip goes by that")
    _copy(str(source.path / weights), output)


def export_hub(
    source: Checkpoint, weights: str, model: Model, output: str, facts: Mapping[str, Any]
) -> None:
    """Write a folder that open_clip loads as `local-dir:FOLDER`, and from the hub once uploaded.

    Args:
        source: a checkpoint.
        weights: which of its files.
        model: built of it.
        output: a folder, absent or empty.
        facts: of the training, for the model card: dataset, step, model, loss.

    Raises:
        RefusedError: if the folder holds something.
    """
    from open_clip import get_model_config, get_model_preprocess_cfg

    if not storage.is_empty(output):
        raise RefusedError(f"--output {output}: is not empty: choose another folder")
    module: Any = model.towers.module
    siglip = SIGLIP_START if module.logit_bias is not None else {}
    config = {
        "model_cfg": {**get_model_config(facts["model"]), **siglip},
        "preprocess_cfg": get_model_preprocess_cfg(module),
    }
    _copy(str(source.path / weights), storage.join(output, WEIGHTS))
    storage.write_atomic(storage.join(output, CARD), _card(facts).encode())
    # Last: without it open_clip does not take the folder for a model.
    storage.write_atomic(storage.join(output, CONFIG), json.dumps(config, indent=2).encode())


def _card(facts: Mapping[str, Any]) -> str:
    lines = [f"- {name}: `{value}`" for name, value in facts.items()]
    return "\n".join([
        "---",
        "library_name: open_clip",
        "pipeline_tag: zero-shot-image-classification",
        "---",
        f"# {facts['model']}, trained by openwit",
        "",
        "```python",
        "import open_clip",
        "",
        'model, preprocess = open_clip.create_model_from_pretrained("local-dir:THIS_FOLDER")',
        'tokenize = open_clip.get_tokenizer("local-dir:THIS_FOLDER")',
        "```",
        "",
        *lines,
        "",
        "Licence, limits and intended use depend on the dataset: say them here before you publish.",
        "",
    ])  # fmt: skip


def _copy(path: str, output: str) -> None:
    folder = output.rpartition("/")[0] or "."
    with storage.open_read(path) as source, storage.new_file(folder) as file:
        while block := source.read(storage.BLOCK_BYTES):
            file.write(block)
        file.publish(output)
