"""A training from its plan to its end, on one of its ranks."""

import contextlib
import dataclasses
import importlib.metadata
import pathlib
from collections.abc import Generator, Iterable, Mapping
from typing import Any

import torch
from torchvision.transforms import Compose

from manifests.base.errors import RefusedError
from manifests.base.version import __version__
from manifests.format.records import ShardRecord
from trainer.checkpoint import EMA, MODEL, OPTIM, QUERIES, Checkpoint, open_checkpoint
from trainer.data.bad_samples import BadCounts
from trainer.data.balance import query_counts
from trainer.data.coverage import Coverage, CoverageState
from trainer.data.loader import ChunkDataset, ChunkLoader, Planned, one_ahead
from trainer.data.order import chunk_rows
from trainer.data.shards import ShardTables, check_shard, refuse_findings, verify_level
from trainer.data.stream import START, Position
from trainer.data.transforms import without_normalising
from trainer.distributed import Ranks
from trainer.errors import StoppedError
from trainer.metrics import Metrics
from trainer.model.build import build, has_batch_norm, load_weights
from trainer.model.towers import Model
from trainer.optim import Ema, make_optimizer, restore_moments
from trainer.plan import Plan
from trainer.run_dir import RunDir
from trainer.training.evaluation import Evaluator
from trainer.training.loop import Training
from trainer.training.query_stats import QueryStats
from trainer.training.signals import Signals
from trainer.training.step import Stepper


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """From where a training goes on."""

    checkpoint: Checkpoint | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    """Settings that were changed at a resume, now or before."""
    init_from: str = ""
    """A checkpoint or RUN whose weights are taken if there is no `checkpoint`."""


def run_training(plan: Plan, ranks: Ranks, folder: RunDir, start: Start) -> None:
    """Train to the end. All ranks call this together.

    Raises:
        OpenwitError: of the kind that `trainer.errors` names for each end.
    """
    training, model = prepare(plan, ranks, folder, start)
    training.metrics.event("start", training.step, **_facts(plan, start))
    status = "failed"
    with training.signals.heard():
        try:
            with (
                contextlib.closing(plan_chunks(training)) as planned,
                contextlib.closing(iter(make_loader(plan, model, planned))) as chunks,
            ):
                training.run(chunks)
            status = "finished"
        except StoppedError:
            status = "stopped"
            raise
        finally:
            training.metrics.event("end", training.step, status=status)
            training.metrics.close()


def prepare(plan: Plan, ranks: Ranks, folder: RunDir, start: Start) -> tuple[Training, Model]:
    """Return a training that stands where it starts, and its model."""
    torch.set_num_threads(plan.settings.threads)
    state = start.checkpoint.state if start.checkpoint else None
    model, stepper = _build(plan, ranks, start)
    tables = _tables(plan, ranks)
    order = plan.settings.order(tables)
    metrics = _metrics(plan, ranks, folder, state.step if state else 0)
    sums = CoverageState(**state.coverage) if state else CoverageState()
    training = Training(
        plan=plan,
        ranks=ranks,
        stepper=stepper,
        step=state.step if state else 0,
        position=Position(**state.position) if state else START,
        skipped=state.skipped if state else 0,
        order=order,
        coverage=Coverage(order, tables, sums, reduce_sum=ranks.sum_int, is_first=ranks.is_first),
        bad=BadCounts(**state.bad) if state else BadCounts(),
        queries=_query_stats(plan, ranks, start),
        history=start.history,
        folder=folder,
        metrics=metrics,
        evaluator=Evaluator(
            plan=plan,
            ranks=ranks,
            model=model,
            ema=stepper.ema,
            folder=folder,
            metrics=metrics,
        ),
        signals=Signals(),
    )
    return training, model


def _tables(plan: Plan, ranks: Ranks) -> ShardTables:
    """Return the dataset's tables; the ranks of a machine share out what is checked when opened."""
    manifest, data = plan.manifest, plan.settings.data

    def check(shard: ShardRecord) -> None:
        if shard.id % ranks.local_world == ranks.local_rank:
            refuse_findings(manifest, check_shard(manifest, shard, "sha256"))

    is_late = verify_level(manifest, data) == "first-use"
    return ShardTables(
        manifest,
        seed=plan.settings.seed,
        keep=2 * data.open_shards,
        balance=plan.balance,
        check=check if is_late else None,
    )


def _query_stats(plan: Plan, ranks: Ranks, start: Start) -> QueryStats | None:
    counts = query_counts(plan.manifest, plan.settings.balance.counts)
    if counts is None or not plan.settings.log.per_query:
        return None
    stats, checkpoint = QueryStats(counts), start.checkpoint
    if checkpoint and checkpoint.has_queries and ranks.is_first:  # the sums of all ranks
        stats.restore(checkpoint.tensors(QUERIES))
    return stats


def _metrics(plan: Plan, ranks: Ranks, folder: RunDir, step: int) -> Metrics:
    if not ranks.is_first:
        return Metrics(None)
    folder.forget_bad_samples(step)
    board = folder.tensorboard if plan.settings.log.tensorboard else None
    return Metrics(folder.metrics, board, step=step)


def _build(plan: Plan, ranks: Ranks, start: Start) -> tuple[Model, Stepper]:
    settings, checkpoint = plan.settings, start.checkpoint
    model = build(
        settings.model,
        seed=settings.seed,
        precision=settings.precision,
        crop_scale=settings.data.crop_scale,
        siglip=settings.loss.kind == "siglip",
        text_mask=settings.data.text_mask,
    )
    module = model.towers.module
    if plan.chunks > 1 and has_batch_norm(module):
        raise RefusedError(
            f"micro_batch: {plan.model.name} has batch norm, so the chunks of a batch are not "
            "independent: set micro_batch to 0, and train in one process"
        )
    optimizer = make_optimizer(module, settings.optim)
    source = checkpoint
    if source is None and start.init_from:
        source = open_checkpoint(pathlib.Path(start.init_from))
    if source:
        load_weights(module, source.tensors(MODEL), source.path)
    if checkpoint:
        done = checkpoint.state.step - checkpoint.state.skipped
        restore_moments(module, optimizer, checkpoint.tensors(OPTIM), done)
    ema = Ema(module, settings.ema.decay) if settings.ema.decay else None
    if ema and checkpoint and checkpoint.has_ema:
        ema.restore(checkpoint.tensors(EMA))
    return model, Stepper(plan, ranks, model.towers, optimizer, ema)


def plan_chunks(training: Training) -> Generator[Planned, None, None]:
    """Yield this rank's chunks of the batches to come, and tell the training where these end."""
    plan, ranks = training.plan, training.ranks
    batches = training.order.batches(training.position, ahead=one_ahead)
    for step in range(training.step, training.steps):
        batch, position = next(batches)
        training.coming.append(position)
        for chunk, rows in chunk_rows(batch, plan.chunks, ranks.rank, ranks.world):
            yield step, chunk, rows


def make_loader(plan: Plan, model: Model, planned: Iterable[Planned]) -> ChunkLoader:
    """Return what reads chunks as the settings say."""
    settings = plan.settings
    dataset = ChunkDataset(
        Compose(without_normalising(model.train_steps)),
        model.tokenize,
        image_px=model.image_px,
        max_pixels=settings.data.max_pixels,
        draws_text=settings.data.text_mask != "none",
    )
    return ChunkLoader(
        dataset,
        planned,
        seed=settings.seed,
        workers=settings.data.workers,
        prefetch=settings.data.prefetch,
        text=settings.data.text,
    )


def _facts(plan: Plan, start: Start) -> dict[str, Any]:
    return {
        "steps": plan.steps,
        "samples": plan.manifest.samples,
        "expected_samples": plan.expected,
        "processes": plan.world,
        "dataset": plan.manifest.digest,
        "model": plan.model.name,
        "resumed_from": str(start.checkpoint.path) if start.checkpoint else "",
        "init_from": "" if start.checkpoint else start.init_from,
        "history": list(start.history),
        "openwit": __version__,
        "torch": importlib.metadata.version("torch"),
    }
