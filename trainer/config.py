"""The configuration of a training: `[train]` and `[train.*]`, and what it means for a dataset."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from manifests.base.config import apply_overrides, from_tables, read_toml, to_tables
from manifests.base.errors import ConfigError
from manifests.base.storage import is_local
from manifests.format.manifest import Manifest, load
from manifests.format.naming import ROOT_NAME
from trainer.checkpoint import CheckpointConfig
from trainer.data.bad_samples import BadConfig
from trainer.data.order import ORDER_VERSION, SampleOrder
from trainer.data.shards import DataConfig, ShardTable, ShardTables
from trainer.metrics import LogConfig
from trainer.model import ModelConfig, ModelFile, Precision, find_model
from trainer.optim import OptimConfig, ScheduleConfig

EPOCHS = 32
"""CLIP paper, table 18."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that `openwit-train` can be told; the fields are `[train]` and its tables."""

    seed: int = 0
    """Another seed: other weights, order and crops."""
    epochs: int = 0
    """Times that each sample is used; 0: `samples` says how long, or 32 if that is 0 too."""
    samples: int = 0
    """Samples to train on, repeats counted; 0: `epochs` says how long."""
    global_batch: int = 1024
    """Samples an optimiser step; CLIP paper 32,768, DataComp small 4,096. Provisional."""
    micro_batch: int = 0
    """Samples that go through the towers together, for less memory, exactly; 0: all of them."""
    precision: Precision = "auto"
    """`auto`: bfloat16 autocast on GPUs that have it, else `fp32`. Weights are float32."""
    threads: int = 1
    """Of torch on the CPU. Sums may differ in their last bits for another number."""
    data: DataConfig
    bad: BadConfig = dataclasses.field(default_factory=BadConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 64:
            raise ValueError(f"seed must be from 0 to 2^64 - 1, got {self.seed}")
        for name, least in (
            *(("epochs", 0), ("samples", 0), ("global_batch", 1)),
            *(("micro_batch", 0), ("threads", 1)),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.epochs and self.samples:
            raise ValueError(
                f"epochs is {self.epochs} and samples is {self.samples}: set one of them to 0"
            )
        if self.micro_batch and self.global_batch % self.micro_batch:
            raise ValueError(
                f"micro_batch must divide global_batch {self.global_batch}, got {self.micro_batch}"
            )

    @property
    def chunks(self) -> int:
        """How many chunks a global batch has."""
        return self.global_batch // (self.micro_batch or self.global_batch)

    def order(self, tables: ShardTables) -> SampleOrder[ShardTable]:
        """Return the order in which the samples of a dataset come.

        Raises:
            ValueError: if there are too few of them for a batch.
        """
        return SampleOrder(
            tables.samples,
            tables.read,
            seed=self.seed,
            global_batch=self.global_batch,
            open_shards=self.data.open_shards,
            last=self.data.last,
        )

    def steps(self, samples: int) -> int:
        """Return how many steps a training on a dataset of so many samples has."""
        if self.samples:
            return -(-self.samples // self.global_batch)
        epochs = self.epochs or EPOCHS
        if self.data.last == "drop":
            return epochs * (samples // self.global_batch)
        return -(-epochs * samples // self.global_batch)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    train: TrainConfig


def load_config(target: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read the settings of a training; paths in them become absolute.

    Args:
        target: a TOML file, of which only `[train]` and `[train.*]` are read, or a manifest.json.
        overrides: `train.a.b=value`, put over the file's.

    Raises:
        ConfigError: with every unknown key, wrong type and value out of range, one a line.
    """
    foreign = [each for each in overrides if not each.startswith("train.")]
    if foreign:
        raise ConfigError(
            f"--set {foreign[0]}: not a setting of [train]: write --set train.a=value"
        )
    if target.endswith(".toml"):
        tables, folder = read_toml(target), pathlib.Path(target).resolve().parent
    elif target.rpartition("/")[2] == ROOT_NAME:
        tables, folder = {"train": {"data": {"manifest": target}}}, pathlib.Path.cwd()
    else:
        raise ConfigError(f"{target}: neither a .toml file nor a {ROOT_NAME}: name one of them")
    ours = {"train": apply_overrides(tables, overrides).get("train", {})}
    settings = from_tables(_File, ours, source=pathlib.Path(target).name).train
    return _with_absolute_paths(settings, folder)


def _with_absolute_paths(settings: TrainConfig, folder: pathlib.Path) -> TrainConfig:
    pretrained = settings.model.pretrained
    if pretrained:
        pretrained = str(folder / pretrained)
        if not pathlib.Path(pretrained).is_file():
            raise ConfigError(f"{pretrained}: no such file: model.pretrained is a local file")
    manifest = settings.data.manifest
    return dataclasses.replace(
        settings,
        data=dataclasses.replace(
            settings.data, manifest=str(folder / manifest) if is_local(manifest) else manifest
        ),
        model=dataclasses.replace(settings.model, pretrained=pretrained),
    )


def from_record(tables: Mapping[str, Any], source: str) -> TrainConfig:
    """Return the settings that `to_tables` made JSON of, as a checkpoint holds them."""
    return from_tables(TrainConfig, tables, source=source)


def to_toml(settings: TrainConfig) -> str:
    """Return the settings as a TOML file that `load_config` reads."""
    return "\n".join(_table_lines("train", to_tables(settings)))


def _table_lines(name: str, table: Mapping[str, Any]) -> list[str]:
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    # JSON's texts, numbers, lists, true and false are TOML's too.
    values = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in table.items()
        if key not in tables
    ]
    inner = [_table_lines(f"{name}.{key}", value) for key, value in tables.items()]
    return [f"[{name}]", *values, "", *(line for lines in inner for line in lines)]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A training that can be done, as far as one sees without torch."""

    settings: TrainConfig
    manifest: Manifest
    model: ModelFile
    steps: int

    @property
    def identity(self) -> dict[str, Any]:
        """What must be equal for a run to go on from a checkpoint."""
        settings = self.settings
        return {
            "dataset": self.manifest.digest,
            "order_version": ORDER_VERSION,
            "seed": settings.seed,
            "global_batch": settings.global_batch,
            "data.open_shards": settings.data.open_shards,
            "data.last": settings.data.last,
            "data.crop_scale": list(settings.data.crop_scale),
            "model": self.model.name,
            "model_sha256": self.model.sha256,
        }

    def lines(self) -> list[str]:
        """Return the plan for people: the settings as TOML, and below them what they come to."""
        samples, batch = self.manifest.samples, self.settings.global_batch
        return [
            *to_toml(self.settings).splitlines(),
            f"# {samples} samples in {len(self.manifest.shards)} shards, {self.manifest.digest}",
            f"# {self.steps} steps of {batch} samples in {self.settings.chunks} chunks, "
            f"{self.steps * batch / samples:.2f} epochs",
        ]


def make_plan(settings: TrainConfig) -> Plan:
    """Load the manifest and find the model, and see whether they fit the settings.

    Raises:
        RefusedError: if one is missing or wrong, or the dataset is too small for the batch.
    """
    model = find_model(settings.model.name)
    manifest = load(settings.data.manifest)
    try:
        settings.order(ShardTables(manifest, seed=settings.seed, keep=1))
    except ValueError as error:
        raise ConfigError(f"{manifest.root}: {error}") from None
    steps = settings.steps(manifest.samples)
    return Plan(settings=settings, manifest=manifest, model=model, steps=steps)
