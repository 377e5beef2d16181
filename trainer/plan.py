"""A training that can be done: settings and dataset together, and what a resume may change."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from manifests.base.config import to_tables
from manifests.base.errors import ConfigError
from manifests.format.manifest import Manifest, load
from trainer.checkpoint import State
from trainer.config import TrainConfig, to_toml
from trainer.data.balance import Balance, load_balance
from trainer.data.order import ORDER_VERSION
from trainer.data.shards import ShardTables, expected_samples
from trainer.distributed import world_size
from trainer.errors import ResumeRefusedError
from trainer.evals.sets import LoadedSet, load_set
from trainer.model.config import ModelFile, find_model

FREE = (
    "threads",
    "timeout_s",
    "precision",
    "data.manifest",
    "data.workers",
    "data.prefetch",
    "data.verify",
    "model.grad_checkpointing",
    "loss.row_chunk",
    "checkpoint.",
    "eval.",
    "log.",
)
"""Settings, or tables of them, that may change between resumes without a trace."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A training that can be done, as far as one sees without torch."""

    settings: TrainConfig
    manifest: Manifest
    model: ModelFile
    steps: int
    balance: Balance | None
    expected: float
    """Samples of an epoch, on average."""
    world: int
    """Processes that train."""
    evals: tuple[LoadedSet, ...]
    chunks: int
    """Parts of a global batch that go through the towers one by one, on all processes."""

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
            "balance": to_tables(settings.balance) if self.balance else None,
            "queries_sha256": [each.sha256 for each in self.manifest.listed("queries")]
            if self.balance
            else None,
            "data.text": settings.data.text,
            "data.text_mask": settings.data.text_mask,
            "model": self.model.name,
            "model_sha256": self.model.sha256,
            "model.patch_dropout": settings.model.patch_dropout,
            "loss.kind": settings.loss.kind,
        }

    def lines(self) -> list[str]:
        """Return the plan for people: the settings as TOML, and below them what they come to."""
        samples, batch = self.manifest.samples, self.settings.global_batch
        balanced = []
        if self.balance:
            heads = int((self.balance.counts > self.balance.t).sum())
            balanced.append(
                f"# about {self.expected:.0f} of them in an epoch: {heads} of "
                f"{len(self.balance.counts)} queries have more than {self.balance.t} pairs"
            )
        return [
            *to_toml(self.settings).splitlines(),
            f"# {samples} samples in {len(self.manifest.shards)} shards, {self.manifest.digest}",
            *balanced,
            f"# {self.steps} steps of {batch} samples in {self.chunks} chunks, "
            f"{self.steps * batch / self.expected:.2f} epochs; {self.world} process"
            f"{'es' if self.world > 1 else ''}",
        ]


def make_plan(settings: TrainConfig) -> Plan:
    """Load the manifest and find the model, and see whether they fit the settings.

    Raises:
        RefusedError: if one is missing or wrong, or the dataset is too small for the batch.
    """
    model = find_model(settings.model.name)
    manifest = load(settings.data.manifest)
    world, batch = world_size(), settings.global_batch
    try:
        settings.order(ShardTables(manifest, seed=settings.seed, keep=1))
        chunks = settings.chunks(world)
    except ValueError as error:
        raise ConfigError(f"{manifest.root}: {error}") from None
    balance = load_balance(manifest, settings.balance)
    expected = expected_samples(manifest, balance) if balance else manifest.samples
    if balance and expected < 2 * batch:
        raise ConfigError(
            f"{manifest.root}: global_batch must be at most half of the {expected:.0f} samples "
            f"that an epoch has with balance.t {balance.t}, got {batch}"
        )
    return Plan(
        settings=settings,
        manifest=manifest,
        model=model,
        balance=balance,
        expected=expected,
        steps=settings.steps(expected),
        evals=tuple(map(load_set, settings.eval.sets)),
        world=world,
        chunks=chunks,
    )


def changed_settings(
    state: State, identity: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[Mapping[str, Any], ...]:
    """Compare a run with the checkpoint it goes on from; return the new lines of its history.

    Raises:
        ResumeRefusedError: naming each part of the identity that differs, with both values.
    """
    differing = [
        f"{name}: the checkpoint has {state.identity.get(name)!r}, this run {value!r}"
        for name, value in identity.items()
        if state.identity.get(name) != value
    ]
    if differing:
        hint = "set it back, or begin anew with its weights: --init-from CKPT --output NEW"
        raise ResumeRefusedError("\n".join(f"{each}: {hint}" for each in differing))
    before, after = _flat(state.config), _flat(config)
    return tuple(
        {"step": state.step, "setting": name, "before": before.get(name), "after": value}
        for name, value in after.items()
        if before.get(name) != value and not name.startswith(FREE)
    )


def _flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in tables.items():
        nested = isinstance(value, Mapping)
        result |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return result
