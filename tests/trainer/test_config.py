import dataclasses
import pathlib

import pytest

from manifests.base.errors import ConfigError
from trainer.config import TrainConfig, load_config, to_toml
from trainer.data.order import Last
from trainer.data.shards import DataConfig

DATA = DataConfig(manifest="m")


def write(folder: pathlib.Path, text: str) -> str:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_only_the_tables_of_the_trainer_are_read(tmp_path: pathlib.Path) -> None:
    path = write(
        tmp_path,
        'root = "run"\n[input]\nkind = "warc"\n'
        '[train]\nglobal_batch = 64\ndata.manifest = "d/manifest.json"\noptim.lr = 1e-3\n',
    )
    settings = load_config(path, ["train.optim.betas=[0.8, 0.9]", "train.epochs=3"])
    assert (settings.global_batch, settings.epochs) == (64, 3)
    assert (settings.optim.lr, settings.optim.betas) == (1e-3, (0.8, 0.9))


def test_paths_count_from_the_folder_of_the_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "weights.safetensors").touch()
    path = write(
        tmp_path,
        '[train]\ndata.manifest = "d/manifest.json"\nmodel.pretrained = "weights.safetensors"\n',
    )
    settings = load_config(path)
    assert settings.data.manifest == str(tmp_path / "d" / "manifest.json")
    assert settings.model.pretrained == str(tmp_path / "weights.safetensors")
    remote = load_config(path, ["train.data.manifest=s3://bucket/d/manifest.json"])
    assert remote.data.manifest == "s3://bucket/d/manifest.json"


def test_a_manifest_alone_is_a_configuration(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("manifest.json").data.manifest == str(tmp_path / "manifest.json")
    assert load_config("s3://b/manifest.json").data.manifest == "s3://b/manifest.json"


def test_all_problems_are_listed_with_their_place(tmp_path: pathlib.Path) -> None:
    path = write(
        tmp_path,
        '[train]\nglobal_bach = 64\ndata.workers = -2\ndata.manifest = "m"\noptim.lr = "fast"\n',
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).split("\n") == [
        "config.toml [train] global_bach: not a setting: did you mean global_batch?",
        "config.toml [train.data] workers must be at least -1, got -2",
        "config.toml [train.optim] lr: must be a number, got 'fast'",
    ]


def test_a_file_without_the_tables_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match=r"\[train.data\] manifest: is required and not set"):
        load_config(write(tmp_path, 'root = "run"\n'))


@pytest.mark.parametrize(
    ("target", "override", "message"),
    [
        ("shards/00000000.tar", "train.seed=1", "neither a .toml file nor a manifest.json"),
        ("manifest.json", "optim.lr=1", r"--set optim.lr=1: not a setting of \[train\]"),
        ("manifest.json", "train.model.pretrained=openai", "openai: no such file"),
    ],
)
def test_what_is_no_setting_is_refused(target: str, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(target, [override])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed must be from 0 to 2"),
        ({"seed": 1 << 64}, "seed must be from 0 to 2"),
        ({"epochs": 2, "samples": 100}, "epochs is 2 and samples is 100: set one of them to 0"),
        ({"global_batch": 0}, "global_batch must be at least 1, got 0"),
        ({"global_batch": 64, "micro_batch": 24}, "micro_batch must divide global_batch 64"),
        ({"threads": 0}, "threads must be at least 1"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(data=DATA, **values)  # type: ignore[arg-type]


def test_settings_written_as_toml_are_read_back(tmp_path: pathlib.Path) -> None:
    data = dataclasses.replace(DATA, manifest=str(tmp_path / 'a "quoted" \\ ünï'))
    settings = TrainConfig(seed=(1 << 64) - 1, epochs=2, data=data)
    assert load_config(write(tmp_path, to_toml(settings))) == settings


@pytest.mark.parametrize(
    ("values", "last", "steps"),
    [
        ({"samples": 100}, "carry", 7),
        ({"samples": 96}, "carry", 6),
        ({"epochs": 3}, "carry", 19),  # 300 samples in batches of 16: 18.75
        ({"epochs": 3}, "drop", 18),
        ({}, "carry", 200),  # 32 epochs, the default
    ],
)
def test_steps_follow_from_epochs_or_samples(
    values: dict[str, int], last: Last, steps: int
) -> None:
    data = DataConfig(manifest="m", last=last)
    settings = TrainConfig(data=data, global_batch=16, **values)  # type: ignore[arg-type]
    assert settings.steps(100) == steps
