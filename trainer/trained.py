"""What is done with a trained model: it is measured, gives scores, and is exported."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import torch

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.format.manifest import Manifest, load
from trainer.checkpoint import EMA, MODEL, Checkpoint, open_checkpoint
from trainer.config import TrainConfig, from_record
from trainer.data.shards import verify_level
from trainer.distributed import ALONE, joined
from trainer.evals.measure import measure
from trainer.evals.score import ScoreJob, score_dataset
from trainer.evals.sets import EvalSet, load_set
from trainer.export import Format, export_file, export_hub
from trainer.jobs import verify
from trainer.model.build import build, load_weights
from trainer.model.config import ModelConfig, find_model
from trainer.model.towers import Model

Weights = Literal["model", "ema"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A model as a checkpoint holds it."""

    source: Checkpoint
    model: Model
    settings: TrainConfig
    """Of its training."""
    file: str
    """Which of the checkpoint's files the weights are from."""
    facts: Mapping[str, Any]
    """Which model this is: checkpoint, weights, step, model."""


def open_trained(path: pathlib.Path, weights: Weights | None = None) -> Trained:
    """Return the model of a checkpoint, or of the latest one of a RUN.

    Args:
        path: of it.
        weights: the trained ones, or their moving average; by default the average if there is one.

    Raises:
        OpenwitError: if the checkpoint is missing or damaged.
        RefusedError: if it has no average, or open_clip has another configuration of the model.
    """
    source = open_checkpoint(path)
    settings = from_record(source.state.config, str(source.path))
    name, sha256 = (source.state.identity[key] for key in ("model", "model_sha256"))
    if find_model(name).sha256 != sha256:
        raise RefusedError(f"{source.path}: {name} has another configuration now: use the version "
                           "of open_clip that trained it")  # fmt: skip
    if weights == "ema" and not source.has_ema:
        raise RefusedError(f"{source.path}: has no moving average: use --weights model, or train "
                           "with ema.decay")  # fmt: skip
    chosen = weights or ("ema" if source.has_ema else "model")
    file = {"model": MODEL, "ema": EMA}[chosen]
    torch.set_num_threads(settings.threads)
    model = build(
        ModelConfig(name=name),
        seed=settings.seed,
        precision="fp32" if settings.precision == "fp32" else "auto",
        crop_scale=settings.data.crop_scale,
        siglip=settings.loss.kind == "siglip",
    )
    load_weights(model.towers.module, source.tensors(file), source.path)
    facts = {
        "checkpoint": str(source.path),
        "weights": chosen,
        "weights_sha256": storage.sha256_of(str(source.path / file)),
        "step": source.state.step,
        "model": name,
    }
    return Trained(source, model, settings, file, facts)


def evaluate(path: pathlib.Path, wanted: EvalSet, output: str) -> dict[str, dict[str, Any]]:
    """Measure a model on a dataset, and write what was found into the folder `output`.

    Args:
        path: a checkpoint, or a RUN for its latest one.
        wanted: a dataset that was not trained on, and perhaps classes.
        output: a folder, made if it is not there.

    Returns:
        The documents that were written, see `trainer.evals.measure`.

    Raises:
        OpenwitError: if the checkpoint or the dataset is missing or damaged.
        RefusedError: if the files of classes are not sound.
    """
    loaded = load_set(wanted)
    with joined(ALONE.timeout_s) as ranks, ranks.explained():
        trained = open_trained(path)  # each rank on the device that is its own now
        settings = trained.settings
        verify(loaded.manifest, verify_level(loaded.manifest, settings.data), ranks)
        found = measure(
            loaded, trained.model, settings.data, most=settings.eval.max_retrieval, ranks=ranks
        )
        return ranks.first(lambda: found.write(output, trained.facts))


def score(
    path: pathlib.Path, dataset: str, output: str, *, batch: int, shards: str = ""
) -> dict[str, Any]:
    """Write the score of each pair of a dataset, one Parquet file a shard; ranks share them out.

    Args:
        path: a checkpoint, or a RUN for its latest one.
        dataset: folder or manifest.json.
        output: a folder; what was scored there before is not done again.
        batch: samples that go through the towers together.
        shards: `A-B`, the first and the last one, for a machine's share; "" is all.

    Returns:
        `trainer.evals.score.score_dataset`.

    Raises:
        OpenwitError: if the checkpoint or the dataset is missing or damaged.
        RefusedError: if there is no such shard, or the folder holds scores of something else.
    """
    manifest = load(dataset)
    chosen = _range(manifest, shards)
    part = dataclasses.replace(
        manifest, shards=tuple(each for each in manifest.shards if each.id in chosen)
    )
    with joined(ALONE.timeout_s) as ranks, ranks.explained():
        trained = open_trained(path)
        data = trained.settings.data
        verify(part, verify_level(part, data), ranks)
        job = ScoreJob(manifest=manifest, model=trained.model, data=data, facts=trained.facts)
        return score_dataset(job, output, batch=batch, chosen=chosen, ranks=ranks)


def _range(manifest: Manifest, text: str) -> frozenset[int]:
    """Return the ids of the shards that `A-B` names, or `A`."""
    known = frozenset(shard.id for shard in manifest.shards)
    if not text:
        return known
    first, dash, last = text.partition("-")
    words = (first, last if dash else first)
    if not all(word.isascii() and word.isdigit() for word in words):
        raise RefusedError(f"--shards {text}: must be A-B, the numbers of two shards")
    chosen = known & frozenset(range(int(words[0]), int(words[1]) + 1))
    if not chosen:
        raise RefusedError(
            f"--shards {text}: none of the dataset's, which are {min(known)} to {max(known)}"
        )
    return chosen


def export(path: pathlib.Path, output: str, kind: Format, weights: Weights | None = None) -> str:
    """Write a model for open_clip; return in a line how it is loaded there.

    Args:
        path: a checkpoint, or a RUN for its latest one.
        output: a file for `open_clip`, a folder for `hub`.
        kind: the format.
        weights: see `open_trained`.

    Raises:
        OpenwitError: if the checkpoint is missing or damaged.
        RefusedError: if the output cannot be that.
    """
    trained = open_trained(path, weights)
    name = trained.facts["model"]
    if kind == "hub":
        facts = {
            **{key: trained.facts[key] for key in ("model", "step", "weights")},
            "loss": trained.settings.loss.kind,
            "dataset": trained.source.state.identity["dataset"],
        }
        export_hub(trained.source, trained.file, trained.model, output, facts)
        return f'{output}: open_clip.create_model_from_pretrained("local-dir:{output}")'
    export_file(trained.source, trained.file, output)
    bias = ", init_logit_bias=0" if trained.settings.loss.kind == "siglip" else ""
    return f'{output}: open_clip.create_model("{name}", pretrained="{output}"{bias})'
