"""The configuration of a training: `[train]` and `[train.*]`."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from manifests.base.config import apply_overrides, from_tables, read_toml, to_tables
from manifests.base.errors import ConfigError
from manifests.base.storage import is_local
from manifests.format.naming import ROOT_NAME
from trainer.checkpoint import CheckpointConfig
from trainer.data.bad_samples import BadConfig
from trainer.data.balance import BalanceConfig
from trainer.data.shards import DataConfig, ShardTable, ShardTables
from trainer.data.stream import SampleOrder
from trainer.evals.sets import EvalConfig
from trainer.losses.config import LossConfig
from trainer.metrics import LogConfig
from trainer.model.config import ModelConfig, Precision
from trainer.optim import EmaConfig, NonfiniteConfig, OptimConfig, ScheduleConfig

EVAL_PATHS = ("manifest", "classes", "templates", "labels")
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
    """Samples that go through the towers together, for less memory, exactly; 0: all of a process.

    Set it, and a run on another number of processes draws the same dropout."""
    precision: Precision = "auto"
    """`auto`: bfloat16 autocast on GPUs that have it, else `fp32`. Weights are float32."""
    threads: int = 1
    """Of torch on the CPU. Sums may differ in their last bits for another number."""
    timeout_s: float = 600.0
    """Seconds that a process may keep the others waiting; torch's default for GPUs."""
    data: DataConfig
    balance: BalanceConfig = dataclasses.field(default_factory=BalanceConfig)
    bad: BadConfig = dataclasses.field(default_factory=BadConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)
    ema: EmaConfig = dataclasses.field(default_factory=EmaConfig)
    nonfinite: NonfiniteConfig = dataclasses.field(default_factory=NonfiniteConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 64:
            raise ValueError(f"seed must be from 0 to 2^64 - 1, got {self.seed}")
        for name, least in (
            *(("epochs", 0), ("samples", 0), ("global_batch", 1)),
            *(("micro_batch", 0), ("threads", 1)),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 < self.timeout_s < math.inf:
            raise ValueError(f"timeout_s must be above 0, got {self.timeout_s}")
        if self.epochs and self.samples:
            raise ValueError(
                f"epochs is {self.epochs} and samples is {self.samples}: set one of them to 0"
            )
        if self.micro_batch and self.global_batch % self.micro_batch:
            raise ValueError(
                f"micro_batch must divide global_batch {self.global_batch}, got {self.micro_batch}"
            )
        if self.balance.mode == "online" and self.data.last == "drop":
            raise ValueError(
                'balance.mode is "online" and data.last is "drop": an epoch has another number of '
                'samples each time: set data.last to "carry"'
            )

    def chunks(self, world: int) -> int:
        """Return how many chunks a global batch has on so many processes.

        Raises:
            ValueError: if they could not have equally many.
        """
        parts = self.global_batch // (self.micro_batch or 1)
        if parts % world:
            fitting = max(n for n in range(1, world) if parts % n == 0)
            raise ValueError(
                f"global_batch {self.global_batch} has {parts} parts of {self.micro_batch or 1}: "
                f"{world} processes cannot share them out equally: start {fitting}, or change "
                "global_batch or micro_batch"
            )
        return parts if self.micro_batch else world

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
            keep=tables.kept if self.balance.mode == "online" else None,
        )

    def steps(self, samples: float) -> int:
        """Return how many steps a training has whose epochs have so many samples on average."""
        if self.samples:
            return -(-self.samples // self.global_batch)
        epochs = self.epochs or EPOCHS
        if self.data.last == "drop":
            return epochs * int(samples // self.global_batch)
        return int(-(-epochs * samples // self.global_batch))


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
    sets = tuple(
        dataclasses.replace(
            each,
            **{name: _absolute(folder, getattr(each, name)) for name in EVAL_PATHS},
        )
        for each in settings.eval.sets
    )
    return dataclasses.replace(
        settings,
        data=dataclasses.replace(settings.data, manifest=_absolute(folder, settings.data.manifest)),
        eval=dataclasses.replace(settings.eval, sets=sets),
        model=dataclasses.replace(settings.model, pretrained=pretrained),
    )


def _absolute(folder: pathlib.Path, path: str) -> str:
    return str(folder / path) if path and is_local(path) else path


def from_record(tables: Mapping[str, Any], source: str) -> TrainConfig:
    """Return the settings that `to_tables` made JSON of, as a checkpoint holds them."""
    return from_tables(TrainConfig, tables, source=source)


def to_toml(settings: TrainConfig) -> str:
    """Return the settings as a TOML file that `load_config` reads."""
    return "\n".join(_table_lines("train", to_tables(settings)))


def _table_lines(name: str, table: Mapping[str, Any]) -> list[str]:
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    lists = {
        key: value
        for key, value in table.items()
        if isinstance(value, list) and value and isinstance(value[0], dict)
    }
    # JSON's texts, numbers, lists, true and false are TOML's too.
    values = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in table.items()
        if key not in tables and key not in lists
    ]
    inner = [_table_lines(f"{name}.{key}", value) for key, value in tables.items()]
    for key, items in lists.items():  # `[[name]]` is the next one of a list
        inner += [_table_lines(f"[{name}.{key}]", item) for item in items]
    return [f"[{name}]", *values, "", *(line for lines in inner for line in lines)]
