"""The step loop: a global batch, one optimiser step, and what is kept of it."""

import contextlib
import dataclasses
import itertools
import json
import math
import signal
import time
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from manifests.base.config import to_tables
from manifests.base.console import say
from manifests.base.errors import OpenwitError
from trainer.checkpoint import MODEL, OPTIM, State, save, write_tensors
from trainer.config import Plan
from trainer.data.bad_samples import BadCounts, append_records
from trainer.data.coverage import Coverage
from trainer.data.loader import Chunk
from trainer.data.order import SampleOrder, hash64
from trainer.data.shards import ShardTable
from trainer.errors import NonFiniteError, StoppedError
from trainer.losses.accum import backward
from trainer.losses.clip import LossOutput, clip_loss
from trainer.metrics import Metrics, StepResult, Window, peak_bytes, plain
from trainer.model import Towers
from trainer.optim import clamp_logit_scale, moments
from trainer.run_dir import RunDir

MAX_FAILED_SAVES = 3
"""Checkpoints in a row that the disk may refuse."""


class Signals:
    """What the outside asked for: SIGTERM, SIGINT to stop, SIGUSR1 to save; heard at step ends."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        self.stop = ""
        """Name of the signal."""
        self.save = False

    def _hear(self, number: int, frame: types.FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self.save = True
            return
        self.stop = signal.Signals(number).name
        if number == signal.SIGINT:  # a second one ends at once
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Hear signals within the block."""
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
        before = [signal.signal(number, self._hear) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


@dataclasses.dataclass(kw_only=True, eq=False)
class Training:
    """A training as it goes on; `step` counts the steps done."""

    plan: Plan
    step: int
    towers: Towers
    optimizer: torch.optim.Optimizer
    order: SampleOrder[ShardTable]
    coverage: Coverage
    bad: BadCounts
    history: tuple[Any, ...]
    """Settings that were changed at a resume."""
    folder: RunDir
    metrics: Metrics
    signals: Signals
    failed_saves: int = 0

    def __post_init__(self) -> None:
        self.settings, self.steps = self.plan.settings, self.plan.steps

    def run(self, chunks: Iterable[Chunk]) -> None:
        """Train on the chunks of all batches from `step` on; end with a checkpoint.

        Raises:
            NonFiniteError, TooManyBadSamplesError, AccountingError: as they say.
            StoppedError: after a signal and a checkpoint.
        """
        window, saved, first = Window(), time.monotonic(), self.step + 1
        coming = iter(chunks)
        while self.step < self.steps:
            window.step_begins()
            batch = list(itertools.islice(coming, self.settings.chunks))
            window.batch_came()
            result = self._update(batch)
            self.step += 1
            window.step_ends(result, self.settings.global_batch)
            self._count(batch)
            if self.step in (first, self.steps) or window.age_s >= self.settings.log.every_s:
                self._log(window)
            stop = self.signals.stop  # once, as a signal may come at any time
            if stop:
                self.metrics.event("signal", self.step, name=stop)
            ends = bool(stop) or self.step == self.steps
            if ends or self._is_save_due(time.monotonic() - saved):
                self._save(must=ends)
                saved = time.monotonic()
            if stop and self.step < self.steps:
                raise StoppedError(
                    f"{self.folder.path}: stopped by {stop} after step {self.step} of "
                    f"{self.steps}: run the same command to go on"
                )

    def _update(self, batch: Sequence[Chunk]) -> StepResult:
        """Do one optimiser step."""
        settings = self.settings.optim
        lr = self._lr(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        valid = torch.cat([chunk.tensors.valid for chunk in batch]).to(self.towers.device)

        def encode(chunk: int) -> tuple[Tensor, Tensor]:
            self._seed(chunk)
            return self.towers(batch[chunk].tensors.images, batch[chunk].tensors.tokens)

        def loss(image_features: Tensor, text_features: Tensor) -> LossOutput:
            scale = self.towers.logit_scale.exp()
            return clip_loss(image_features, text_features, scale, valid)

        output = backward(encode, len(batch), loss)
        gradients = [each.grad for each in self.towers.module.parameters() if each.grad is not None]
        norm = get_total_norm(gradients)
        result = _summarise(output, float(norm), valid)
        if not (math.isfinite(result.loss) and math.isfinite(result.grad_norm)):
            self._stop_nonfinite(batch, output, result)
        if settings.grad_clip:
            clip_grads_with_norm_(self.towers.module.parameters(), settings.grad_clip, norm)
        self.optimizer.step()
        clamp_logit_scale(self.towers.module)
        return result

    def _lr(self, step: int) -> float:
        return self.settings.optim.lr * self.settings.schedule.factor(step, self.steps)

    def _seed(self, chunk: int) -> None:
        # Dropout depends on step and chunk alone: no generator's state is part of a checkpoint.
        value = hash64("model", self.settings.seed, self.step, np.array([chunk], np.uint64))
        torch.default_generator.manual_seed(int(value[0]))
        if self.towers.device.type == "cuda":
            torch.cuda.manual_seed(int(value[0]))

    def _count(self, batch: Sequence[Chunk]) -> None:
        """Take the batch's samples into coverage and bad counts; check an epoch that has ended."""
        records = [record for chunk in batch for record in self._bad_records(chunk)]
        if records:
            append_records(self.folder.bad_samples, records)
            total = self.bad.bad + len(records)
            self.metrics.event("bad", self.step, samples=len(records), total=total)
        for chunk in batch:
            self.coverage.add(chunk.rows)
        valid = torch.cat([chunk.tensors.valid for chunk in batch]).numpy()
        self.bad.add(valid, self.settings.bad)
        epoch = self.order.position(self.step).epoch
        if epoch > self.order.position(self.step - 1).epoch:
            used = self.coverage.finish(epoch - 1)
            self.metrics.event("epoch", self.step, epoch=epoch - 1, coverage=f"{used:016x}")

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
        on_gpu = self.towers.device.type == "cuda"
        values = window.close() | {
            "samples": self.step * self.settings.global_batch,
            "epoch": self.order.position(self.step - 1).epoch,
            "lr": self._lr(self.step - 1),
            "logit_scale": float(self.towers.logit_scale.detach()),
            "bad": self.bad.bad,
            "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else peak_bytes(),
        }
        self.metrics.event("train", self.step, **values)
        left = (self.steps - self.step) * self.settings.global_batch / values["samples_per_s"]
        say(
            f"train step {self.step}/{self.steps} epoch {values['epoch']} loss {values['loss']:.4f}"
            f" {values['samples_per_s']:.0f} samples/s, waiting for data "
            f"{values['data_wait_share']:.0%}, {left:.0f} s left"
        )

    def _is_save_due(self, seconds: float) -> bool:
        settings = self.settings.checkpoint
        return bool(
            self.signals.save
            or (settings.every_steps and self.step % settings.every_steps == 0)
            or (settings.every_s and seconds >= settings.every_s)
        )

    def _save(self, *, must: bool) -> None:
        """Write a checkpoint; unless it `must` be, a full disk is endured for a while."""
        self.signals.save = False
        state = State(
            step=self.step,
            identity=self.plan.identity,
            position=dataclasses.asdict(self.order.position(self.step)),
            coverage=dataclasses.asdict(self.coverage.state(self.step)),
            bad=dataclasses.asdict(self.bad),
            config=to_tables(self.settings),
            history=self.history,
        )
        module = self.towers.module
        tensors = {MODEL: module.state_dict(), OPTIM: moments(module, self.optimizer)}
        start = time.monotonic()
        try:
            save(self.folder.checkpoints, state, tensors, keep=self.settings.checkpoint.keep)
        except OSError as error:
            self.failed_saves += 1
            if must or self.failed_saves == MAX_FAILED_SAVES:
                raise OpenwitError(
                    f"{self.folder.checkpoints}: no checkpoint could be written: {error}: make room"
                ) from None
            say(f"warning: {self.folder.checkpoints}: no checkpoint was written: {error}: going on")
            return
        self.failed_saves = 0
        self.metrics.event("checkpoint", self.step, seconds=round(time.monotonic() - start, 3))

    def _stop_nonfinite(
        self, batch: Sequence[Chunk], output: LossOutput, result: StepResult
    ) -> NoReturn:
        """Write down what the step held, and stop before it changes a weight."""
        module = self.towers.module
        number = self.step + 1
        folder = self.folder.nonfinite / f"step_{number}"
        folder.mkdir(parents=True, exist_ok=True)
        report = {
            **dataclasses.asdict(result),
            "logit_scale": float(self.towers.logit_scale.detach()),
            "keys": [str(k) for c in batch for k in c.rows.gather(lambda table: table.keys)],
            "row_losses": output.row_loss.tolist(),
            "gradient_norms": {
                name: float(each.grad.norm())
                for name, each in module.named_parameters()
                if each.grad is not None
            },
        }
        (folder / "report.json").write_text(json.dumps(plain(report), indent=1), encoding="utf-8")
        write_tensors(folder / MODEL, module.state_dict())
        self.metrics.event(
            "nonfinite", number, loss=result.loss, grad_norm=result.grad_norm, folder=str(folder)
        )
        raise NonFiniteError(
            f"step {number}: loss {result.loss}, gradient norm {result.grad_norm}: see {folder}; "
            "lower optim.lr or set optim.grad_clip, and go on from the last checkpoint"
        )


def _summarise(output: LossOutput, grad_norm: float, valid: Tensor) -> StepResult:
    rows = max(int(valid.sum()), 1)
    image_loss, text_loss = (output.row_loss.sum(0) / rows).tolist()
    image_top1, text_top1 = (output.top1.sum(0) / rows).tolist()
    return StepResult(
        loss=float(output.loss.detach()),
        loss_i2t=image_loss,
        loss_t2i=text_loss,
        top1_i2t=image_top1,
        top1_t2i=text_top1,
        grad_norm=grad_norm,
    )
