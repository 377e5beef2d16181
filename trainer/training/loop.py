"""The step loop: a global batch, one optimiser step, and what is kept of it."""

import collections
import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq
import torch

from manifests.base.config import to_tables
from manifests.base.console import say
from trainer.checkpoint import EMA, MODEL, OPTIM, QUERIES, State
from trainer.data.bad_samples import BadCounts, append_records
from trainer.data.coverage import Coverage
from trainer.data.loader import Chunk
from trainer.data.shards import ShardTable
from trainer.data.stream import Position, SampleOrder
from trainer.distributed import Ranks
from trainer.errors import NonFiniteError, StoppedError
from trainer.metrics import Metrics, Window, peak_bytes
from trainer.optim import moments
from trainer.plan import Plan
from trainer.run_dir import RunDir
from trainer.training.evaluation import Evaluator
from trainer.training.nonfinite import write_down
from trainer.training.query_stats import QueryStats, as_table, as_tensors
from trainer.training.saver import Saver
from trainer.training.signals import Signals
from trainer.training.step import Gradients, Stepper


@dataclasses.dataclass(kw_only=True, eq=False)
class Training:
    """A training as it goes on, on one of its ranks."""

    plan: Plan
    ranks: Ranks
    stepper: Stepper
    step: int
    """Steps done."""
    position: Position
    """Behind the last batch that was used."""
    skipped: int
    """Steps of those done that changed no weight."""
    order: SampleOrder[ShardTable]
    coverage: Coverage
    bad: BadCounts
    queries: QueryStats | None
    history: tuple[Mapping[str, Any], ...]
    """Settings that were changed at a resume."""
    folder: RunDir
    metrics: Metrics
    evaluator: Evaluator
    signals: Signals

    def __post_init__(self) -> None:
        self.settings, self.steps = self.plan.settings, self.plan.steps
        self.coming = collections.deque[Position]()
        """Positions behind the batches that are planned and not used yet."""
        self._skipped_in_row = 0
        self._saver = Saver(
            self.folder.checkpoints, self.metrics, keep=self.settings.checkpoint.keep
        )

    def run(self, chunks: Iterable[Chunk]) -> None:
        """Train on this rank's chunks of all batches from `step` on; end with a checkpoint.

        Raises:
            NonFiniteError, TooManyBadSamplesError, AccountingError: as they say.
            StoppedError: after a signal and a checkpoint.
        """
        window, self._saved, first = Window(), time.monotonic(), self.step + 1
        coming, share = iter(chunks), self.plan.chunks // self.ranks.world
        try:
            while self.step < self.steps:
                window.step_begins()
                batch = list(itertools.islice(coming, share))
                window.batch_came()
                gradients = self._update(batch)
                self.step += 1
                window.step_ends(gradients.result, self.settings.global_batch)
                self._count(batch, gradients)
                if self.step in (first, self.steps) or window.age_s >= self.settings.log.every_s:
                    self._log(window)
                self._end_step()
        finally:
            self._saver.close()

    def _update(self, batch: Sequence[Chunk]) -> Gradients:
        """Do one optimiser step."""
        gradients = self.stepper.backward(self.step, batch)
        result = gradients.result
        if math.isfinite(result.loss) and math.isfinite(result.grad_norm):
            self.stepper.apply(self.step, gradients)
            self._skipped_in_row = 0
        else:
            self._skip(batch, gradients)
        return gradients

    def _skip(self, batch: Sequence[Chunk], gradients: Gradients) -> None:
        """Write down what the step held, and leave its gradients out, or stop."""
        number, result, settings = self.step + 1, gradients.result, self.settings.nonfinite
        folder = self.folder.nonfinite / f"step_{number}"
        write_down(folder, self.ranks, self.stepper.towers.module, batch, gradients)
        what = f"step {number}: loss {result.loss}, gradient norm {result.grad_norm}: see {folder}"
        self.metrics.event(
            "nonfinite", number, loss=result.loss, grad_norm=result.grad_norm, folder=str(folder)
        )
        self._skipped_in_row += 1
        self.skipped += 1
        if settings.policy == "halt" or self._skipped_in_row > settings.max_skips:
            raise NonFiniteError(
                f"{what}; lower optim.lr or set optim.grad_clip, and go on from the last checkpoint"
            )
        if self.ranks.is_first:
            say(f"warning: {what}: left out")

    def _count(self, batch: Sequence[Chunk], gradients: Gradients) -> None:
        """Take the batch's samples into coverage and bad counts; check an epoch that has ended."""
        before, self.position = self.position, self.coming.popleft()
        self._epoch, valid = before.epoch, gradients.valid
        if self.queries:
            self.queries.add(batch, gradients.row_loss, gradients.top1)
        if not valid.all():
            self._write_bad(batch, int((~valid).sum()))
        for chunk in batch:
            self.coverage.add(chunk.rows)
        self.bad.add(valid, self.settings.bad)
        if self.position.epoch > before.epoch:
            used = self.coverage.finish(before.epoch)
            self.metrics.event("epoch", self.step, epoch=before.epoch, coverage=f"{used:016x}")

    def _write_bad(self, batch: Sequence[Chunk], samples: int) -> None:
        mine = [(c.number, record) for c in batch for record in self._bad_records(c)]
        records = sorted(itertools.chain(*self.ranks.gather(mine)), key=lambda each: each[0])
        if self.ranks.is_first:
            append_records(self.folder.bad_samples, [record for _, record in records])
        self.metrics.event("bad", self.step, samples=samples, total=self.bad.bad + samples)

    def _bad_records(self, chunk: Chunk) -> Iterator[dict[str, Any]]:
        for bad in chunk.tensors.bad:
            shard, row = int(chunk.rows.shard[bad.row]), int(chunk.rows.row[bad.row])
            table = chunk.rows.tables[shard]
            yield {
                "pair_id": table.pair_ids[row].as_py(),
                "key": str(table.keys[row]),
                "shard": shard,
                "epoch": int(chunk.rows.epoch[bad.row]),
                "step": self.step,
                "reason": bad.reason,
                "detail": bad.detail,
            }

    def _log(self, window: Window) -> None:
        towers = self.stepper.towers
        on_gpu = towers.device.type == "cuda"
        values = window.close() | {
            "samples": self.step * self.settings.global_batch,
            "epoch": self._epoch,
            "lr": self.stepper.lr(self.step - 1),
            "logit_scale": float(towers.logit_scale.detach()),
            "bad": self.bad.bad,
            "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else peak_bytes(),
        }
        if towers.logit_bias is not None:
            values["logit_bias"] = float(towers.logit_bias.detach())
        if not self.ranks.is_first:
            return
        self.metrics.event("train", self.step, **values)
        left = (self.steps - self.step) * self.settings.global_batch / values["samples_per_s"]
        say(
            f"train step {self.step}/{self.steps} epoch {values['epoch']} loss {values['loss']:.4f}"
            f" {values['samples_per_s']:.0f} samples/s, waiting for data "
            f"{values['data_wait_share']:.0%}, {left:.0f} s left"
        )

    def _end_step(self) -> None:
        """Save and stop, if it is time or somebody asks for it."""
        if self.ranks.is_first:
            self._saver.look()
        stop, save = self.signals.agree(self.ranks, save=self._is_save_due())
        if stop:
            self.metrics.event("signal", self.step, name=stop)
        ends = bool(stop) or self.step == self.steps
        if ends or save:
            self._save(must=ends)
        if stop and self.step < self.steps:
            raise StoppedError(
                f"{self.folder.path}: stopped by {stop} after step {self.step} of "
                f"{self.steps}: run the same command to go on"
            )
        every = self.settings.eval.every_steps
        if self.step == self.steps or (every and self.step % every == 0):
            self.evaluator.run(self.step)

    def _is_save_due(self) -> bool:
        settings = self.settings.checkpoint
        is_late = settings.every_s and time.monotonic() - self._saved >= settings.every_s
        is_step = settings.every_steps and self.step % settings.every_steps == 0
        return bool(is_step or (is_late and self.ranks.is_first))  # its clock decides

    def _save(self, *, must: bool) -> None:
        """Begin to write a checkpoint; if it `must` be, end it."""
        self._saved = time.monotonic()
        coverage = self.coverage.state(self.position)
        by_query = self.queries.total(self.ranks) if self.queries else None
        if not self.ranks.is_first:
            return
        state = State(
            step=self.step,
            skipped=self.skipped,
            world=self.ranks.world,
            identity=self.plan.identity,
            position=dataclasses.asdict(self.position),
            coverage=dataclasses.asdict(coverage),
            bad=dataclasses.asdict(self.bad),
            config=to_tables(self.settings),
            history=self.history,
        )
        module, ema = self.stepper.towers.module, self.stepper.ema
        tensors = {MODEL: module.state_dict(), OPTIM: moments(module, self.stepper.optimizer)}
        if ema:
            tensors[EMA] = ema.tensors
        if self.queries and by_query is not None:
            tensors[QUERIES] = as_tensors(by_query)
            with contextlib.suppress(OSError):  # the checkpoint has these numbers too
                self.folder.queries.mkdir(exist_ok=True)
                pq.write_table(
                    as_table(by_query), self.folder.queries / f"step_{self.step}.parquet"
                )
            summary = self.queries.summary(by_query, self.settings.balance.t)
            self.metrics.event("queries", self.step, **summary)
        self._saver.save(state, tensors, must=must)
