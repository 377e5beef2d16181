import pathlib

import numpy as np
import pytest
import torch

from manifests.base.errors import RefusedError
from trainer.model.build import build, has_batch_norm
from trainer.model.config import ModelConfig
from trainer.model.towers import Model


def make(
    name: str = "micro-64", seed: int = 0, pretrained: str = "", text_mask: str = "none"
) -> Model:
    settings = ModelConfig(name=name, pretrained=pretrained)
    return build(settings, seed=seed, precision="auto", crop_scale=(0.9, 1.0), text_mask=text_mask)


@pytest.fixture(scope="module")
def micro() -> Model:
    return make()


# The numbers of the specification.
@pytest.mark.parametrize(
    ("name", "parameters", "embedding"),
    [("micro-64", 7_452_801, 6_324_224), ("tiny-64", 13_175_809, 9_486_336)],
)
def test_own_models_have_their_sizes(name: str, parameters: int, embedding: int) -> None:
    model = make(name)
    sizes = {key: each.numel() for key, each in model.towers.module.named_parameters()}
    assert sum(sizes.values()) == parameters
    assert sizes["token_embedding.weight"] == embedding
    assert model.image_px == 64


def test_weights_depend_on_the_seed_alone(micro: Model) -> None:
    torch.default_generator.manual_seed(99)
    before = torch.default_generator.get_state()
    same, other = make(seed=0), make(seed=1)
    assert torch.equal(torch.default_generator.get_state(), before)
    expected = micro.towers.module.state_dict()
    assert all(
        torch.equal(each, expected[k]) for k, each in same.towers.module.state_dict().items()
    )
    assert not torch.equal(
        other.towers.module.state_dict()["visual.conv1.weight"], expected["visual.conv1.weight"]
    )


def test_towers_give_what_open_clip_gives(micro: Model) -> None:
    import open_clip
    from PIL import Image
    from torchvision.transforms import Compose

    from trainer.data.transforms import channels_first, without_normalising

    image = Image.effect_noise((90, 70), 64).convert("RGB")
    tokens = micro.tokenize(["a red circle"])
    cropped = Compose(without_normalising(micro.eval_steps))(image)
    module = micro.towers.module.eval()
    with torch.no_grad():
        image_features, text_features = micro.towers(
            channels_first(np.array(cropped)[None]), tokens
        )
        theirs = module(Compose(micro.eval_steps)(image)[None], open_clip.tokenize(
            ["a red circle"], context_length=24))  # fmt: skip
    assert torch.equal(image_features, theirs["image_features"])
    assert torch.equal(text_features, theirs["text_features"])
    torch.testing.assert_close(image_features.norm(dim=1), torch.ones(1))


def test_weights_are_read_from_a_local_file(micro: Model, tmp_path: pathlib.Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "weights.safetensors"
    save_file(micro.towers.module.state_dict(), path)
    loaded = make(seed=5, pretrained=str(path)).towers.module.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in micro.towers.module.state_dict().items())
    with pytest.raises(RefusedError, match=r"weights.safetensors: no weights of tiny-64: "):
        make("tiny-64", pretrained=str(path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU may have bfloat16")
def test_bfloat16_on_a_processor_is_refused() -> None:
    settings = ModelConfig(name="micro-64")
    with pytest.raises(RefusedError, match="amp_bf16 on cpu"):
        build(settings, seed=0, precision="amp_bf16", crop_scale=(0.9, 1.0))


def test_batch_norm_is_seen(micro: Model) -> None:
    assert not has_batch_norm(micro.towers.module)
    assert has_batch_norm(torch.nn.Sequential(torch.nn.BatchNorm2d(3)))


def test_building_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    make()
    assert capfd.readouterr() == ("", "")


def test_a_mask_leaves_words_out_of_long_texts_only(micro: Model) -> None:
    masked = make(text_mask="random")
    words = ["red", "blue", "cat", "dog", "sun", "sea"]
    short, long = "a cat by the sea", " ".join(words * 8)  # 24 tokens have room for 22
    torch.default_generator.manual_seed(3)
    first, second = masked.tokenize([short, long]), masked.tokenize([short, long])
    assert torch.equal(first[0], micro.tokenize([short])[0])
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])
    assert set(first[1].tolist()) == set(micro.tokenize([long])[0].tolist())
    torch.default_generator.manual_seed(3)
    assert torch.equal(masked.tokenize([short, long]), first)


def test_siglip_begins_as_in_its_paper() -> None:
    model = build(
        ModelConfig(name="micro-64"), seed=0, precision="fp32", crop_scale=(0.9, 1), siglip=True
    )
    assert float(model.towers.logit_scale.detach().exp()) == pytest.approx(10)
    assert model.towers.logit_bias is not None
    assert float(model.towers.logit_bias.detach()) == -10


def test_activations_computed_again_give_the_same_gradients(micro: Model) -> None:
    again = build(
        ModelConfig(name="micro-64", grad_checkpointing=True),
        seed=0, precision="fp32", crop_scale=(0.9, 1),
    )  # fmt: skip
    found = []
    for model in (micro, again):
        model.towers.module.zero_grad()
        images = torch.arange(2 * 3 * 64 * 64).remainder(251).reshape(2, 3, 64, 64)
        features = model.towers(images.to(torch.uint8), model.tokenize(["red", "a blue cat"]))
        torch.autograd.backward(features[0][:, 0].sum() + features[1][:, 1].sum())
        found.append(model.towers.module.get_parameter("visual.conv1.weight").grad)
    assert found[0] is not None
    torch.testing.assert_close(found[0], found[1])
