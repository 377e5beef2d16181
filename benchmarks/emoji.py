"""What the trainer learns: `python -m benchmarks.emoji`.

Emoji as one vendor draws them are the training set, their names the texts; the drawings of a vendor
that was not trained on are told apart by name. Beside it stand chance, the untrained model, and the
nearest training drawing by pixels. A tenth of the drawings in a skin tone is in no training set:
these unseen names are told apart too, which no comparison of pixels can do. Last, a set with few
frequent names and many rare ones, with and without a cap per name (`train.balance`), at the same
number of samples.

A model of 7 million parameters and some thousand pictures shows that weights, order, loss and
evaluation work together. It does not show how good a large model gets, and it need not beat pixels:
vendors draw the same signs and flags.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.emoji_data import (
    CAPTIONS,
    TONED,
    Emoji,
    curve_lines,
    hashed,
    load_emoji,
    nearest,
    thumbnails,
    write_dataset,
    write_labels,
)
from benchmarks.harness import report, run
from manifests.format import Manifest
from trainer import jobs
from trainer.config import load_config
from trainer.evals.class_files import Class, Classes
from trainer.evals.features import compute_features
from trainer.evals.retrieval import rank_true
from trainer.evals.zero_shot import class_vectors
from trainer.model.build import build
from trainer.model.config import ModelConfig
from trainer.model.towers import Model
from trainer.plan import make_plan
from trainer.trained import open_trained

MODEL = "micro-64"
TEST = "twitter"
ABLATION = 300
"""Names of the head-heavy set; the most frequent has as many pictures, the one after half, ..."""
CAP = 2
SETTINGS = (
    f"model.name={MODEL}",
    "global_batch=128",
    "optim.lr=1e-3",
    "schedule.warmup_steps=60",
    "data.workers=0",
    "log.tensorboard=false",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Sizes:
    """How much is trained."""

    seeds: int
    epochs: int
    ablation_seeds: int
    ablation_samples: int


QUICK = Sizes(seeds=2, epochs=6, ablation_seeds=2, ablation_samples=10_000)
FULL = Sizes(seeds=5, epochs=20, ablation_seeds=5, ablation_samples=24_000)


def train(manifest: Manifest, run_folder: pathlib.Path, *settings: str, sets: str = "") -> Model:
    """Train on a dataset; return the model at the end, whatever it is worth."""
    config = run_folder.with_suffix(".toml")
    config.write_text(f'[train.data]\nmanifest = "{manifest.root}"\n{sets}', encoding="utf-8")
    overrides = [f"train.{each}" for each in (*SETTINGS, *settings)]
    with contextlib.redirect_stderr(io.StringIO()):
        jobs.train(make_plan(load_config(str(config), overrides)), run_folder)
        return open_trained(run_folder).model


def untrained(seed: int) -> Model:
    """Return the model as it is drawn."""
    return build(ModelConfig(name=MODEL), seed=seed, precision="fp32", crop_scale=(0.9, 1.0))


def rank_names(model: Model, test: Manifest, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the rank of the right name of each test drawing, from 1, by the order of `names`."""
    plan = load_config(f"{test.root}/manifest.json", ["train.data.workers=0"])
    with contextlib.redirect_stderr(io.StringIO()):
        found = compute_features(test, model, plan.data, most=test.samples)
    classes = tuple(Class(name, (name,)) for name in names)
    scores = (found.images @ class_vectors(model, Classes(classes, CAPTIONS, {})).T).numpy()
    right = np.array([each[0] for each in found.query_ids])
    ranks = np.empty(len(names), np.int64)
    ranks[right] = rank_true(scores, right[:, None] == np.arange(len(names)))
    return ranks


def shares(ranks: NDArray[np.int64]) -> dict[str, float]:
    """Return recall at 1, 5, 10 and the median rank."""
    return {
        **{f"R@{k}": float((ranks <= k).mean()) for k in (1, 5, 10)},
        "median rank": float(np.median(ranks)),
    }


def mean_and_spread(values: Sequence[float]) -> str:
    """Return the mean over seeds, and the standard deviation if there are several."""
    spread = f" ± {statistics.stdev(values):.1%}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1%}{spread}"


def row(who: str, runs: Sequence[NDArray[np.int64]]) -> dict[str, object]:
    """Return a line of the table: means over seeds."""
    found = [shares(each) for each in runs]
    cells: dict[str, object] = {
        f"R@{k}": mean_and_spread([each[f"R@{k}"] for each in found]) for k in (1, 5, 10)
    }
    median = statistics.mean(each["median rank"] for each in found)
    return {"who": who, **cells, "median rank": f"{median:.0f}"}


class Benchmark:
    """Both parts; rows and curves are gathered on the way."""

    def __init__(
        self, emoji: Sequence[Emoji], vendors: Sequence[str], sizes: Sizes, root: pathlib.Path
    ) -> None:
        """Take the drawings of `vendors`, to train on, and of `TEST`."""
        toned = sorted((e for e in emoji if e.category == TONED), key=lambda e: hashed(e.name))
        self._emoji = [each for each in emoji if each.category != TONED]
        self._unseen = toned[: len(toned) // 10]
        self._toned = toned[len(toned) // 10 :]
        self._vendors, self._sizes, self._root = vendors, sizes, root
        self.rows: list[dict[str, object]] = []
        self.metrics: dict[str, float] = {}
        self.curves: dict[str, list[tuple[float, float]]] = {}

    def vendors(self) -> None:
        """Train on some vendors, and tell the drawings of another one apart."""
        everything = [*self._emoji, *self._toned]
        train_set = write_dataset(self._root / "train", everything, self._vendors)
        tests = {"seen": self._emoji, "unseen": self._unseen}
        names = {which: [each.name for each in part] for which, part in tests.items()}
        sets = {w: write_dataset(self._root / w, part, [TEST]) for w, part in tests.items()}
        trained: dict[str, list[NDArray[np.int64]]] = {which: [] for which in tests}
        drawn: dict[str, list[NDArray[np.int64]]] = {which: [] for which in tests}
        steps = self._sizes.epochs * train_set.samples // 128
        evals = "\n".join(self._set(which, sets[which], names[which]) for which in tests)
        for seed in range(self._sizes.seeds):
            folder = self._root / f"seed{seed}"
            settings = (f"seed={seed}", f"epochs={self._sizes.epochs}",
                        f"eval.every_steps={max(steps // 4, 1)}")  # fmt: skip
            models = {"drawn": untrained(seed), "trained": train(train_set, folder, *settings,
                                                                 sets=evals)}  # fmt: skip
            for which in tests:
                drawn[which].append(rank_names(models["drawn"], sets[which], names[which]))
                trained[which].append(rank_names(models["trained"], sets[which], names[which]))
                self.curves[f"seed {seed}, {which}"] = _curve(folder, which)
        pixels = self._pixels()
        for which, part in names.items():
            self._compare(f"{which} names, {len(part)}", trained[which], drawn[which], len(part))
        self.rows.append({"who": "seen names: nearest training drawing, 16 x 16 pixels",
                          "R@1": f"{pixels.mean():.1%}"})  # fmt: skip
        self._categories(trained["seen"], pixels)
        self.metrics |= {
            "zero_shot_r1": _mean_recall(trained["seen"], 1),
            "zero_shot_r10": _mean_recall(trained["seen"], 10),
            "pixel_r1": float(pixels.mean()),
            "untrained_r1": _mean_recall(drawn["seen"], 1),
            "chance_r1": 1 / len(self._emoji),
            "unseen_r1": _mean_recall(trained["unseen"], 1),
            "unseen_chance_r1": 1 / len(self._unseen),
        }

    def _compare(
        self,
        what: str,
        trained: Sequence[NDArray[np.int64]],
        drawn: Sequence[NDArray[np.int64]],
        n: int,
    ) -> None:
        self.rows += [
            row(f"{what}: trained", trained),
            row(f"{what}: untrained", drawn),
            {"who": f"{what}: chance", **{f"R@{k}": f"{k / n:.2%}" for k in (1, 5, 10)},
             "median rank": f"{(n + 1) / 2:.0f}"},
        ]  # fmt: skip

    def _set(self, which: str, test: Manifest, names: Sequence[str]) -> str:
        """Return the settings of an evaluation while training."""
        files = write_labels(self._root / f"labels-{which}", test, names)
        lines = [f'{key} = "{path}"' for key, path in files.items()]
        head = ["[[train.eval.sets]]", f'name = "{which}"', f'manifest = "{test.root}"']
        return "\n".join([*head, *lines])

    def _pixels(self) -> NDArray[np.bool_]:
        known = np.concatenate([thumbnails(self._emoji, each) for each in self._vendors])
        found = nearest(thumbnails(self._emoji, TEST), known) % len(self._emoji)
        return found == np.arange(len(self._emoji))

    def _categories(self, trained: Sequence[NDArray[np.int64]], pixels: NDArray[np.bool_]) -> None:
        names = [each.category for each in self._emoji]
        for category in sorted(set(names)):
            here = np.array([each == category for each in names])
            line = row(f"  {category}, {int(here.sum())}", [each[here] for each in trained])
            self.rows.append({**line, "pixels": f"{pixels[here].mean():.1%}"})

    def balancing(self) -> None:
        """Train on a set with few frequent and many rare names, with and without a cap."""
        emoji = sorted(self._emoji, key=lambda each: hashed(each.name))[:ABLATION]
        names = [each.name for each in emoji]
        copies = [max(1, len(emoji) // (place + 1)) for place in range(len(emoji))]
        train_set = write_dataset(self._root / "heavy", emoji, self._vendors, copies)
        test = write_dataset(self._root / "heavy_test", emoji, [TEST])
        tail = np.array(copies) == 1
        for cap, mode in ((0, "none"), (CAP, "online")):
            runs = [
                rank_names(
                    train(
                        train_set,
                        self._root / f"{mode}{seed}",
                        f"seed={seed}",
                        f"samples={self._sizes.ablation_samples}",
                        f"balance.mode={mode}",
                        f"balance.t={max(cap, 1) * len(self._vendors)}",
                    ),
                    test,
                    names,
                )
                for seed in range(self._sizes.ablation_seeds)
            ]
            who = f"cap {cap}" if cap else "no cap"
            for part, here in (("tail", tail), ("head", ~tail)):
                title = f"{who}: {part}, {int(here.sum())} of {len(names)} names"
                self.rows.append(row(title, [each[here] for each in runs]))
            name = "tail_r1_capped" if cap else "tail_r1_uncapped"
            self.metrics[name] = _mean_recall([each[tail] for each in runs], 1)


def _mean_recall(runs: Sequence[NDArray[np.int64]], k: int) -> float:
    return float(np.mean([(each <= k).mean() for each in runs]))


def _curve(folder: pathlib.Path, which: str) -> list[tuple[float, float]]:
    """Return samples seen, and the share of test drawings that are told right."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    events = [event for event in map(json.loads, lines) if event["event"] == "eval"]
    found: Mapping[int, float] = {event["step"]: event[which]["top_1"] for event in events}
    return [(0.0, 0.0), *((step * 128.0, share) for step, share in found.items())]


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer seeds and samples")
    parser.add_argument("--json", default="", metavar="OUT", help="write the metrics there")
    parser.add_argument("--svg", default="", metavar="OUT", help="draw the learning curves there")
    facebook = "also train on facebook's drawings, whose licence is not clear"
    parser.add_argument("--facebook", action="store_true", help=facebook)
    options = parser.parse_args()
    vendors = ["google", "facebook"] if options.facebook else ["google"]
    emoji = load_emoji([*vendors, TEST])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sizes = QUICK if options.quick else FULL
        benchmark = Benchmark(emoji, vendors, sizes, pathlib.Path(folder))
        benchmark.vendors()
        benchmark.balancing()
    sys.stdout.write(f"trained on {', '.join(vendors)}; told apart: {TEST}; {sizes}\n\n")
    columns = ["who", "R@1", "R@5", "R@10", "median rank", "pixels"]
    report(columns, benchmark.rows, benchmark.metrics, options.json)
    if options.svg:
        text = "\n".join(curve_lines(benchmark.curves)) + "\n"
        pathlib.Path(options.svg).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(_main)
