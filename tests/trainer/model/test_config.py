import hashlib

import pytest

from manifests.base.errors import ConfigError
from trainer.model.config import CONFIGS, ModelConfig, find_model


def test_a_model_is_found_by_its_json_file() -> None:
    found = find_model("micro-64")
    data = (CONFIGS / "micro-64.json").read_bytes()
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert find_model("ViT-B-32").name == "ViT-B-32"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-33", "did you mean ViT-B-32"),
        ("hf-hub:org/model", "is not a model configuration"),
        ("ViT-B-16-SigLIP", "takes its tokenizer from the network"),
        ("coca_ViT-B-32", "is no pair of towers"),
    ],
)
def test_models_that_cannot_be_trained_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_model(name)


def test_a_patch_dropout_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="patch_dropout must be from 0 to below 1, got 1"):
        ModelConfig(patch_dropout=1.0)
