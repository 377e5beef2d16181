"""The trainer against open_clip_train and webdataset: `python -m benchmarks.trainer`.

Same tars, transform, model, batch and threads; both take turns in one run. CPU seconds, the data
workers' included, best of the rounds.
"""

import argparse
import contextlib
import io
import itertools
import json
import math
import pathlib
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from benchmarks.harness import alternate, need, report, run
from benchmarks.trainer_data import (
    UNEVEN,
    AsTheirs,
    make_settings,
    ours,
    theirs,
    times_seen,
    tokens_of,
    write_dataset,
)
from manifests.base.console import say
from manifests.format import Manifest
from trainer.data.loader import Chunk
from trainer.data.shards import ShardTables
from trainer.data.stream import START
from trainer.distributed import ALONE
from trainer.model.build import build
from trainer.model.config import ModelConfig
from trainer.model.towers import Model
from trainer.plan import Plan
from trainer.run_dir import claim
from trainer.training.start import Start, make_loader, plan_chunks, prepare

BATCH = 64
WARM = 20
"""Steps before the clock of training runs."""
SIDES = (64, 300)
COLUMNS = ["measure", "ours", "peer", "ratio"]
Row = dict[str, Any]


def make_model() -> Model:
    """Return the small model, always with the same weights."""
    return build(ModelConfig(name="micro-64"), seed=0, precision="fp32", crop_scale=(0.9, 1.0))


def measure_loading(manifests: dict[int, Manifest], rounds: int) -> Iterator[tuple[str, Row]]:
    """Compare samples per CPU second of loaders, decoding and transform on, for 0 to 2 workers."""
    model = make_model()
    for workers, (side, manifest) in itertools.product((0, 1, 2), manifests.items()):
        batches = manifest.samples // BATCH
        plan = make_settings(manifest, f"global_batch={BATCH}", f"data.workers={workers}")
        read = dict[str, int]()

        def read_ours(
            plan: Plan = plan, batches: int = batches, read: dict[str, int] = read
        ) -> None:
            read["ours"] = sum(len(images) for images, _ in AsTheirs(plan, model, batches))

        def read_theirs(
            manifest: Manifest = manifest, workers: int = workers, read: dict[str, int] = read
        ) -> None:
            loader = theirs(manifest, model, BATCH, workers).dataloader
            read["theirs"] = sum(len(images) for images, _ in loader)

        seconds = alternate({"ours": read_ours, "theirs": read_theirs}, rounds)
        rates = [read[who] / seconds[who] for who in ("ours", "theirs")]
        yield f"loader_ratio_w{workers}", _row(f"load {side} px, {workers} workers, /CPU s", *rates)


class Marked:
    """Yields what another iterable does, and notes the CPU time at two places."""

    def __init__(self, items: Any, last: int) -> None:
        """Note when item `WARM` and item `last` are asked for."""
        self._items, self._last = items, last
        self.num_batches, self.num_samples = last + 1, (last + 1) * BATCH
        self.marks: list[float] = []

    def __iter__(self) -> Iterator[Any]:
        """Yield the items."""
        for number, item in enumerate(itertools.islice(self._items, self._last + 1)):
            if number in (WARM, self._last):
                self.marks.append(time.process_time())
            yield item

    @property
    def rate(self) -> float:
        """Samples per CPU second between the marks."""
        first, last = self.marks
        return (self._last - WARM) * BATCH / (last - first)


def train_ours(plan: Plan, wrap: Callable[[Iterator[Chunk]], Any] = iter) -> list[float]:
    """Train by our loop; return the losses that were logged."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stderr(io.StringIO()),
        claim(pathlib.Path(folder) / "run") as place,
    ):
        training, model = prepare(plan, ALONE, place, Start())
        with contextlib.closing(plan_chunks(training)) as planned:
            training.run(wrap(iter(make_loader(plan, model, planned))))
        lines = place.metrics.read_text(encoding="utf-8").splitlines()
    events = [event for event in map(json.loads, lines) if event["event"] == "train"]
    return [event["loss"] for event in events]


def train_theirs(plan: Plan, loader: Any) -> list[float]:
    """Train by `open_clip_train.train.train_one_epoch`; return the loss of each step."""
    theirs_train = need("open_clip_train.train", "open_clip_torch")
    scheduler = need("open_clip_train.scheduler", "open_clip_torch")
    loss = need("open_clip", "open_clip_torch").ClipLoss(cache_labels=True)
    torch.set_num_threads(1)
    settings, module, losses = plan.settings, make_model().towers.module, list[float]()
    optimizer = _their_optimizer(module, plan)
    warmup = min(settings.schedule.warmup_steps, plan.steps // 10)

    def noted(**arguments: Any) -> Any:
        found = loss(**arguments)
        losses.append(float(sum(found.values()).detach()))
        return found

    theirs_train.train_one_epoch(
        module,
        {"train": need("open_clip_train.data", "open_clip_torch").DataInfo(dataloader=loader)},
        noted,
        0,
        optimizer,
        None,
        scheduler.cosine_lr(optimizer, settings.optim.lr, warmup, plan.steps),
        None,
        types.SimpleNamespace(
            device="cpu",
            precision="fp32",
            distill=False,
            accum_freq=1,
            skip_scheduler=False,
            grad_clip_norm=None,
            log_every_n_steps=100,
            batch_size=BATCH,
            world_size=1,
            rank=0,
            local_rank=0,
            wandb=False,
            log_local=False,
            horovod=False,
        ),
    )
    return losses


def _their_optimizer(module: torch.nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Return AdamW with the groups of `open_clip_train.main`, told apart by names."""
    optim = plan.settings.optim
    plain, decayed = list[torch.nn.Parameter](), list[torch.nn.Parameter]()
    for name, each in module.named_parameters():
        named = any(word in name for word in ("bn", "ln", "bias", "logit_scale"))
        (plain if each.ndim < 2 or named else decayed).append(each)
    groups = [
        {"params": plain, "weight_decay": 0.0},
        {"params": decayed, "weight_decay": optim.weight_decay},
    ]
    betas = (optim.betas[0], optim.betas[1])
    return torch.optim.AdamW(groups, lr=optim.lr, betas=betas, eps=optim.eps)


def measure_training(manifest: Manifest, steps: int, rounds: int) -> Iterator[tuple[str, Row]]:
    """Compare samples per CPU second of whole steps, each with its own loader; median."""
    plan = make_settings(
        manifest, f"global_batch={BATCH}", f"samples={steps * BATCH}", "data.workers=0"
    )
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        marked: list[Marked] = []

        def mark(chunks: Iterator[Chunk], marked: list[Marked] = marked) -> Iterator[Chunk]:
            marked.append(Marked(chunks, steps - 1))
            return iter(marked[0])

        train_ours(plan, mark)
        rates["ours"].append(marked[0].rate)
        loader = Marked(theirs(manifest, make_model(), BATCH, 0).dataloader, steps - 1)
        train_theirs(plan, loader)
        rates["theirs"].append(loader.rate)
    middle = [sorted(each)[len(each) // 2] for each in rates.values()]
    yield "train_ratio", _row("train, samples / CPU s", *middle)


def measure_losses(manifest: Manifest, steps: int) -> Iterator[tuple[str, Row]]:
    """Compare the losses of our loop and of their step, both fed by our loader."""
    plan = make_settings(
        manifest,
        *(f"global_batch={BATCH}", f"samples={steps * BATCH}", "data.workers=0", "log.every_s=0"),
    )
    mine = train_ours(plan)
    peer = train_theirs(plan, AsTheirs(plan, make_model(), steps))
    differences = [abs(a - b) / b for a, b in zip(mine, peer, strict=True)]
    yield "first_loss_difference", {"measure": "loss of step 0, relative", "ours": mine[0],
                                    "peer": peer[0], "ratio": differences[0]}  # fmt: skip
    yield "max_loss_difference", {"measure": f"loss of {steps} steps, relative, most",
                                  "ours": mine[-1], "peer": peer[-1],
                                  "ratio": max(differences)}  # fmt: skip


def measure_resume(manifest: Manifest, rounds: int) -> Iterator[tuple[str, Row]]:
    """Compare the CPU seconds to the first batch at 90 % of an epoch; the peer discards."""
    model, batches = make_model(), manifest.samples * 9 // 10 // BATCH
    plan = make_settings(manifest, f"global_batch={BATCH}", "data.workers=0")
    tables = ShardTables(manifest, seed=0, keep=32)
    stream = itertools.islice(plan.settings.order(tables).batches(START), batches)
    *_, (_, position) = stream

    def go_on() -> None:
        next(iter(ours(plan, model, 1, position)))

    def discard() -> None:
        for _ in itertools.islice(theirs(manifest, model, BATCH, 0).dataloader, batches + 1):
            pass

    seconds = alternate({"ours": go_on, "theirs": discard}, rounds)
    row = _row("first batch at 90 %, CPU s", seconds["ours"], seconds["theirs"])
    yield "resume_ratio", row | {"ratio": seconds["theirs"] / seconds["ours"]}


def measure_coverage(folder: pathlib.Path) -> Iterator[tuple[str, Row]]:
    """Count the samples of an epoch that are missing and repeated, 250 samples, batch 16."""
    manifest, model = write_dataset(folder, sum(UNEVEN), 64), make_model()
    epochs = 8  # 125 batches: whole epochs and whole batches
    for workers in (1, 2, 4):
        plan = make_settings(manifest, "global_batch=16", f"data.workers={workers}")
        mine = times_seen(tokens_of(ours(plan, model, epochs * manifest.samples // 16)))
        peer = times_seen([texts for _, texts in theirs(manifest, model, 16, workers).dataloader])
        counts = [_lost_and_repeated(mine, manifest.samples, epochs)]
        counts.append(_lost_and_repeated(peer, manifest.samples, 1))
        for place, name in enumerate(("missing", "duplicated")):
            what = f"{name} of {manifest.samples}, {workers} workers"
            yield name, {"measure": what, "ours": counts[0][place], "peer": counts[1][place]}


def _lost_and_repeated(seen: dict[bytes, int], samples: int, epochs: int) -> tuple[int, int]:
    lost = (samples - len(seen)) * epochs + sum(max(epochs - n, 0) for n in seen.values())
    return lost, sum(max(n - epochs, 0) for n in seen.values())


def _row(measure: str, mine: float, peer: float) -> Row:
    return {"measure": measure, "ours": mine, "peer": peer, "ratio": mine / peer}


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller data, fewer rounds")
    parser.add_argument("--json", default="", metavar="OUT", help="write the metrics there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds, steps = (1, 40) if options.quick else (3, 100)
    samples = {64: 2_600, 300: 640} if options.quick else {64: 10_000, 300: 3_000}
    found: list[tuple[str, Row]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        manifests = {side: write_dataset(folder / str(side), samples[side], side) for side in SIDES}
        for rows in (
            measure_training(manifests[64], steps, 2 * rounds - 1),
            measure_losses(manifests[64], steps),
            measure_loading(manifests, rounds),
            measure_resume(manifests[64], rounds),
            measure_coverage(folder / "coverage"),
        ):
            for name, row in rows:
                say(f"{row['measure']}: {row['ours']:.5g} {row['peer']:.5g}")
                found.append((name, row))
    report(COLUMNS, [row for _, row in found], _metrics(found), options.json)


def _metrics(found: Sequence[tuple[str, Row]]) -> dict[str, float]:
    """Return one number a metric: the worst of its rows."""
    metrics: dict[str, float] = {}
    for name, row in found:
        if name in ("missing", "duplicated"):
            metrics[name] = metrics.get(name, 0) + row["ours"]
            metrics[f"peer_{name}"] = max(metrics.get(f"peer_{name}", 0), row["peer"])
        else:
            metrics[name] = min(metrics.get(name, math.inf), row["ratio"])
    return metrics


if __name__ == "__main__":
    run(_main)
