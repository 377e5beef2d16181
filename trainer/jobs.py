"""The jobs behind the commands: a training from its plan to its end, and an evaluation."""

import contextlib
import importlib.metadata
import json
import pathlib
from collections.abc import Generator, Iterable
from typing import Any

import torch
from torchvision.transforms import Compose

from manifests.base import storage
from manifests.base.config import to_tables
from manifests.base.console import progress
from manifests.base.errors import ExitCode, OpenwitError, RefusedError
from manifests.base.version import __version__
from manifests.format.manifest import Manifest, load
from trainer.checkpoint import MODEL, OPTIM, Checkpoint, changed_settings, newest, open_checkpoint
from trainer.config import Plan, TrainConfig, from_record, to_toml
from trainer.data.bad_samples import BadCounts
from trainer.data.coverage import Coverage, CoverageState
from trainer.data.loader import ChunkDataset, ChunkLoader, Planned, one_ahead
from trainer.data.order import chunk_rows
from trainer.data.shards import ShardTables, Verify, check_shard, refuse_findings
from trainer.data.transforms import without_normalising
from trainer.errors import ResumeRefusedError, StoppedError
from trainer.evals import retrieval
from trainer.loop import Signals, Training
from trainer.metrics import Metrics
from trainer.model import Model, ModelConfig, build, find_model, has_batch_norm, load_weights
from trainer.optim import make_optimizer, restore_moments
from trainer.run_dir import RunDir, claim


def train(plan: Plan, output: pathlib.Path, *, resume: str = "auto", init_from: str = "") -> str:
    """Train, and return in a line how it ended.

    Args:
        plan: what to do.
        output: RUN, a new folder or one that this function began.
        resume: `auto` goes on from the latest checkpoint of RUN, `never` begins, and anything else
            is a checkpoint, or another RUN, to go on from.
        init_from: a checkpoint or RUN whose weights a run takes that begins.

    Raises:
        OpenwitError: of the kind that `trainer.errors` names for each end.
    """
    with claim(output) as folder:
        start = _find_start(folder, resume)
        history: tuple[Any, ...] = ()
        if start:
            changed = changed_settings(start.state, plan.identity, to_tables(plan.settings))
            history = (*start.state.history, *changed)
            if start.state.step >= plan.steps:
                if resume == "auto":  # a kill may have come between the last checkpoint and this
                    folder.write_status("finished")
                return f"{output}: already finished: {start.state.step} of {plan.steps} steps done"
        folder.write_status("running")
        try:
            verify(plan.manifest, plan.settings.data.verify)
            folder.write_config(to_toml(plan.settings))
            _train(plan, folder, start, history, init_from)
        except BaseException as error:
            stopped = isinstance(error, (StoppedError, KeyboardInterrupt))
            with contextlib.suppress(OSError):  # a full disk must not hide the error before it
                folder.write_status(
                    "stopped" if stopped else "failed",
                    str(error) or type(error).__name__,
                    _exit_code(error),
                )
            raise
        folder.write_status("finished")
    return f"{output}: finished: {plan.steps} steps"


def evaluate(path: pathlib.Path, dataset: str, output: str) -> dict[str, Any]:
    """Measure retrieval on a dataset; write retrieval.json into the folder `output`.

    Args:
        path: a checkpoint, or a RUN for its latest one.
        dataset: folder or manifest.json; one that was not trained on.
        output: a folder, made if it is not there.

    Returns:
        What was written: `trainer.evals.retrieval.evaluate`, and of what it was measured.

    Raises:
        OpenwitError: if the checkpoint or the dataset is missing or damaged.
    """
    manifest, source = load(dataset), open_checkpoint(path)
    settings = from_record(source.state.config, str(source.path))
    name, sha256 = (source.state.identity[key] for key in ("model", "model_sha256"))
    if find_model(name).sha256 != sha256:
        raise RefusedError(f"{source.path}: {name} has another configuration now: use the version "
                           "of open_clip that trained it")  # fmt: skip
    verify(manifest, settings.data.verify)
    torch.set_num_threads(settings.threads)
    model = build(
        ModelConfig(name=name),
        seed=settings.seed,
        precision="fp32" if settings.precision == "fp32" else "auto",
        crop_scale=settings.data.crop_scale,
    )
    load_weights(model.towers.module, source.tensors(MODEL), source.path)
    result = retrieval.evaluate(manifest, model, settings.data) | {
        "dataset": manifest.digest,
        "checkpoint": str(source.path),
        "step": source.state.step,
        "model": name,
    }
    storage.write_atomic(
        storage.join(output, "retrieval.json"), json.dumps(result, indent=1).encode() + b"\n"
    )
    return result


def verify(manifest: Manifest, level: Verify) -> None:
    """Compare all shards with the manifest.

    Raises:
        OpenwitError: naming what is not as recorded.
    """
    findings, samples = [], 0
    with progress("verify", len(manifest.shards)) as shown:
        for done, shard in enumerate(manifest.shards, 1):
            findings += check_shard(manifest, shard, level)
            samples += shard.samples
            shown.update(done, samples)
    refuse_findings(manifest, findings)


def _find_start(folder: RunDir, resume: str) -> Checkpoint | None:
    if resume == "never":
        if folder.checkpoints.exists():
            raise RefusedError(
                f"{folder.path}: has checkpoints: choose another --output, or --resume auto"
            )
        return None
    try:
        if resume == "auto":
            return newest(folder.checkpoints)
        return open_checkpoint(pathlib.Path(resume))
    except OpenwitError as error:
        raise ResumeRefusedError(str(error)) from None


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    return error.exit_code if isinstance(error, OpenwitError) else ExitCode.UNFINISHED


def _train(
    plan: Plan, folder: RunDir, start: Checkpoint | None, history: tuple[Any, ...], init_from: str
) -> None:
    settings, step = plan.settings, start.state.step if start else 0
    torch.set_num_threads(settings.threads)
    model, optimizer = _build(plan, start, init_from)
    tables = ShardTables(plan.manifest, seed=settings.seed, keep=2 * settings.data.open_shards)
    order = settings.order(tables)
    coverage = CoverageState(**start.state.coverage) if start else CoverageState()
    folder.forget_bad_samples(step)
    board = folder.tensorboard if settings.log.tensorboard else None
    training = Training(
        plan=plan,
        step=step,
        towers=model.towers,
        optimizer=optimizer,
        order=order,
        coverage=Coverage(order, tables, coverage),
        bad=BadCounts(**start.state.bad) if start else BadCounts(),
        history=history,
        folder=folder,
        metrics=Metrics(folder.metrics, board, step=step),
        signals=Signals(),
    )
    training.metrics.event("start", step, **_facts(plan, start, init_from, history))
    _loop(training, model)


def _loop(training: Training, model: Model) -> None:
    status = "failed"
    try:
        with (
            training.signals.heard(),
            contextlib.closing(_planned(training)) as planned,
            contextlib.closing(iter(_loader(training.settings, model, planned))) as chunks,
        ):
            training.run(chunks)
        status = "finished"
    except StoppedError:
        status = "stopped"
        raise
    finally:
        training.metrics.event("end", training.step, status=status)
        training.metrics.close()


def _build(
    plan: Plan, start: Checkpoint | None, init_from: str
) -> tuple[Model, torch.optim.Optimizer]:
    settings = plan.settings
    model = build(
        settings.model,
        seed=settings.seed,
        precision=settings.precision,
        crop_scale=settings.data.crop_scale,
    )
    module = model.towers.module
    if settings.chunks > 1 and has_batch_norm(module):
        raise RefusedError(
            f"micro_batch: {plan.model.name} has batch norm, so the chunks of a batch are not "
            "independent: set micro_batch to 0"
        )
    optimizer = make_optimizer(module, settings.optim)
    source = start or (open_checkpoint(pathlib.Path(init_from)) if init_from else None)
    if source:
        load_weights(module, source.tensors(MODEL), source.path)
    if start:
        restore_moments(module, optimizer, start.tensors(OPTIM), start.state.step)
    return model, optimizer


def _planned(training: Training) -> Generator[Planned, None, None]:
    batches = training.order.batches(training.step, ahead=one_ahead)
    for step in range(training.step, training.steps):
        for chunk, rows in chunk_rows(next(batches), training.settings.chunks, 0, 1):
            yield step, chunk, rows


def _loader(settings: TrainConfig, model: Model, planned: Iterable[Planned]) -> ChunkLoader:
    dataset = ChunkDataset(
        Compose(without_normalising(model.train_steps)),
        model.tokenize,
        image_px=model.image_px,
        max_pixels=settings.data.max_pixels,
    )
    return ChunkLoader(
        dataset,
        planned,
        seed=settings.seed,
        workers=settings.data.workers,
        prefetch=settings.data.prefetch,
    )


def _facts(
    plan: Plan, start: Checkpoint | None, init_from: str, history: tuple[Any, ...]
) -> dict[str, Any]:
    return {
        "steps": plan.steps,
        "samples": plan.manifest.samples,
        "dataset": plan.manifest.digest,
        "model": plan.model.name,
        "resumed_from": str(start.path) if start else "",
        "init_from": "" if start else init_from,
        "history": list(history),
        "openwit": __version__,
        "torch": importlib.metadata.version("torch"),
    }
