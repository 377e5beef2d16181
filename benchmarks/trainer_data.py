"""Datasets for the benchmark of the trainer, and open_clip_train's way to read them."""

import hashlib
import io
import itertools
import pathlib
import types
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import datasets
from benchmarks.harness import need
from manifests.format import Layout, Manifest
from manifests.format.ids import pair_id
from trainer.config import load_config
from trainer.data.loader import Chunk, ChunkLoader
from trainer.data.order import chunk_rows
from trainer.data.shards import ShardTables
from trainer.data.stream import START, Position
from trainer.model.towers import Model
from trainer.plan import Plan, make_plan
from trainer.training.start import make_loader

UNEVEN = (60, 10, 35, 20, 50, 5, 40, 30)
"""Samples of the shards of the coverage table; those of larger datasets are in proportion."""
DISTINCT = 256


def pictures(pixels: int) -> list[bytes]:
    """Return JPEG files, waves with noise, as photographs compress."""
    x, y = np.meshgrid(np.linspace(0, 8, pixels), np.linspace(0, 8, pixels))
    found = []
    for number in range(DISTINCT):
        random = np.random.default_rng(number)
        waves = [np.sin(x * (1 + number % 7) + y * (1 + number % 5) * p) for p in (1, 2, 3)]
        noise = random.normal(0, 6, (pixels, pixels, 3))
        image = (127 + 90 * np.stack(waves, axis=-1) + noise).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=85)
        found.append(file.getvalue())
    return found


def write_dataset(root: pathlib.Path, samples: int, pixels: int) -> Manifest:
    """Write a dataset of about so many samples in 8 uneven shards; all texts differ."""
    sizes = [size * samples // sum(UNEVEN) for size in UNEVEN]
    layout, images = Layout(samples_per_shard=max(sizes)), pictures(pixels)
    ids = sorted(pair_id(f"http://host.example/{n}.jpg", "x").hex() for n in range(sum(sizes)))
    cuts = itertools.pairwise(itertools.accumulate([0, *sizes]))
    parts = (
        (
            [_row(ids[n], n, pixels, images[n % DISTINCT]) for n in range(start, end)],
            [images[n % DISTINCT] for n in range(start, end)],
        )
        for start, end in cuts
    )
    return datasets.write_dataset(str(root), parts, layout, name="bench")


def _row(identity: str, number: int, pixels: int, image: bytes) -> dict[str, Any]:
    digits = " ".join(str(number))
    return {
        "pair_id": identity,
        "url": f"http://host.example/{number}.jpg",
        "caption": f"a photo of thing {digits} with waves and noise",
        "caption_source": "alt",
        "alternates": [],
        "seen": 1,
        "query_ids": [],
        "selected_by": [],
        "width": pixels,
        "height": pixels,
        "original_width": pixels,
        "original_height": pixels,
        "sha256": hashlib.sha256(image).hexdigest(),
        "reencoded": False,
        "duplicates": 0,
        "image_source": "web",
    }


def make_settings(manifest: Manifest, *settings: str) -> Plan:
    """Return a training on one of these datasets with the small model."""
    return make_plan(
        load_config(
            f"{manifest.root}/manifest.json",
            [
                "train.model.name=micro-64",
                "train.log.tensorboard=false",
                "train.data.verify=none",
                *(f"train.{each}" for each in settings),
            ],
        )
    )


def ours(plan: Plan, model: Model, batches: int, start: Position = START) -> ChunkLoader:
    """Return our loader for some batches from a position on."""
    settings = plan.settings
    tables = ShardTables(plan.manifest, seed=settings.seed, keep=2 * settings.data.open_shards)
    stream = itertools.islice(settings.order(tables).batches(start), batches)
    planned = (
        (step, number, rows)
        for step, (batch, _) in enumerate(stream)
        for number, rows in chunk_rows(batch, 1, 0, 1)
    )
    return make_loader(plan, model, planned)


class AsTheirs:
    """Our loader as `open_clip_train.train.train_one_epoch` wants one."""

    def __init__(self, plan: Plan, model: Model, batches: int) -> None:
        """Yield so many batches."""
        self.num_batches, self.num_samples = batches, batches * plan.settings.global_batch
        self._loader = ours(plan, model, batches)
        self._model = model

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield normalised images and tokens."""
        for chunk in self._loader:
            yield self._model.towers.normalise(chunk.tensors.images), chunk.tensors.tokens


def theirs(manifest: Manifest, model: Model, batch: int, workers: int) -> Any:
    """Return open_clip_train's loader of the tars, its own shuffles and all, as a `DataInfo`."""
    from torchvision.transforms import Compose

    data = need("open_clip_train.data", "open_clip_torch")
    last = len(manifest.shards) - 1
    arguments = types.SimpleNamespace(
        train_data=f"{manifest.root}/shards/{{{0:08d}..{last:08d}}}.tar",
        train_num_samples=manifest.samples,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        seed=0,
        batch_size=batch,
        world_size=1,
        workers=workers,
    )
    return data.get_wds_dataset(
        arguments, Compose(model.train_steps), is_train=True, tokenizer=model.tokenize
    )


def times_seen(batches: Sequence[torch.Tensor]) -> dict[bytes, int]:
    """Return how often each text was in some batches of tokens; texts stand for samples."""
    rows = np.concatenate([each.numpy() for each in batches])
    texts, counts = np.unique(rows, axis=0, return_counts=True)
    return {text.tobytes(): int(n) for text, n in zip(texts, counts, strict=True)}


def tokens_of(chunks: ChunkLoader) -> list[torch.Tensor]:
    """Return the tokens of all chunks."""
    found: list[Chunk] = list(chunks)
    return [chunk.tensors.tokens for chunk in found]
