"""Retrieval: how early the right text comes for an image, and the right image for a text."""

import collections
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import Compose

from manifests.base.console import progress
from manifests.base.errors import OpenwitError
from manifests.format.manifest import Manifest
from trainer.data.loader import ChunkDataset, ChunkLoader, Planned, texts_of
from trainer.data.order import Rows
from trainer.data.shards import DataConfig, ShardTables
from trainer.data.transforms import without_normalising
from trainer.model import Model

KIND = "openwit-retrieval"
CHUNK = 256
"""Samples that go through the towers, and rows of scores that are held, at once."""
AT = (1, 5, 10)
DIRECTIONS = ("image_to_text", "text_to_image")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The features of all samples that can be used, in the order of the dataset."""

    images: Tensor
    """Shape (n, d), float32, rows of length 1."""
    texts: Tensor
    text_ids: NDArray[np.int64]
    """Shape (n,); equal texts have equal numbers."""
    image_ids: NDArray[np.int64]
    """Shape (n,); equal images, by sha256, have equal numbers."""
    bad: dict[str, int]
    """Samples left out, by reason."""


def evaluate(manifest: Manifest, model: Model, data: DataConfig) -> dict[str, Any]:
    """Rank all texts of a dataset for each of its images, and all images for each text.

    Args:
        manifest: the dataset; samples that cannot be used are left out and counted.
        model: trained towers.
        data: how samples are read; its manifest and order do not matter.

    Returns:
        `n`, `bad` by reason, and per direction recalls, ranks, and what chance would give.

    Raises:
        OpenwitError: if no sample can be used, or a shard has gone away.
    """
    found = compute_features(manifest, model, data)
    n = len(found.images)
    result: dict[str, Any] = {"kind": KIND, "n": n, "bad": found.bad}
    for name, queries, candidates in (
        (DIRECTIONS[0], found.images, found.texts),
        (DIRECTIONS[1], found.texts, found.images),
    ):
        ranks, trues = np.empty(n, np.int64), np.empty(n, np.int64)
        for start in range(0, n, CHUNK):
            here = slice(start, start + CHUNK)
            true = (found.text_ids[here, None] == found.text_ids) | (
                found.image_ids[here, None] == found.image_ids
            )
            scores = queries[here] @ candidates.T
            ranks[here] = rank_true(scores.cpu().numpy(), true)
            trues[here] = true.sum(1)
        result[name] = summarise(ranks, trues)
    return result


def rank_true(scores: NDArray[np.float32], true: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the rank of the best true candidate of each query, from 1.

    Ties count against it: a model that gives all pairs one score so ranks last, not first.

    Args:
        scores: shape (queries, candidates).
        true: the same shape; True for a right candidate, at least one in each row.

    Returns:
        Shape (queries,): candidates that score at least as high, it included, other true ones not.
    """
    best = np.where(true, scores, -np.inf).max(1, keepdims=True)
    return 1 + ((scores >= best) & ~true).sum(1)


def summarise(ranks: NDArray[np.int64], trues: NDArray[np.int64]) -> dict[str, float]:
    """Return recalls and ranks, each beside its expectation for a random order.

    Args:
        ranks: shape (n,), of each query among n candidates.
        trues: shape (n,), how many candidates are true for it.
    """
    chance = chance_recall(trues)
    result: dict[str, float] = {}
    for k in AT:
        result[f"recall_at_{k}"] = float((ranks <= k).mean())
        result[f"chance_at_{k}"] = float(chance[min(k, len(ranks)) - 1])
    result["median_rank"] = float(np.median(ranks))
    result["chance_median_rank"] = float(np.argmax(chance > 0.5 - 1e-9) + 1)
    result["mean_rank"] = float(ranks.mean())
    return result


def chance_recall(trues: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the expected recall at 1, 2, ... n of a random order; k / n with one true candidate.

    Of n candidates, t true, none is among the first k with probability C(n-t, k) / C(n, k).
    """
    n = len(trues)
    places = np.arange(n)
    missed = np.zeros(n)
    for true, count in zip(*np.unique(trues, return_counts=True), strict=True):
        factors = np.maximum(n - true - places, 0) / (n - places)
        missed += count / n * np.cumprod(factors)
    return np.round(1 - missed, 12)


def compute_features(manifest: Manifest, model: Model, data: DataConfig) -> Features:
    """Return the features of a dataset; images are cropped in the middle, as open_clip does."""
    dataset = ChunkDataset(
        Compose(without_normalising(model.eval_steps)),
        model.tokenize,
        image_px=model.image_px,
        max_pixels=data.max_pixels,
    )
    chunks = ChunkLoader(
        dataset, _planned(manifest), seed=0, workers=data.workers, prefetch=data.prefetch
    )
    images, texts, bad = list[Tensor](), list[Tensor](), collections.Counter[str]()
    captions, hashes = list[str](), list[str]()
    model.towers.module.eval()
    done = 0
    with progress("evaluate", manifest.samples) as shown, torch.inference_mode():
        for chunk in chunks:
            valid = chunk.tensors.valid
            features = model.towers(chunk.tensors.images, chunk.tensors.tokens)
            for side, each in zip((images, texts), features, strict=True):
                side.append(each[valid.to(each.device)])
            rows = chunk.rows.take(valid.nonzero().squeeze(1).numpy())
            captions += texts_of(rows)
            hashes += [
                rows.tables[shard].image_hashes[row].as_py()
                for shard, row in zip(rows.shard.tolist(), rows.row.tolist(), strict=True)
            ]
            bad.update(str(each.reason) for each in chunk.tensors.bad)
            done += len(valid)
            shown.update(done, done)
    if not hashes:
        raise OpenwitError(f"{manifest.root}: none of {done} samples can be used: run "
                           "openwit-manifest verify --deep")  # fmt: skip
    return Features(
        torch.cat(images), torch.cat(texts), _number(captions), _number(hashes), dict(bad)
    )


def _planned(manifest: Manifest) -> Iterator[Planned]:
    tables = ShardTables(manifest, seed=0, keep=1)
    number = 0
    for shard in manifest.shards:
        table = tables.read(shard.id)
        for start in range(0, shard.samples, CHUNK):
            row = np.arange(start, min(start + CHUNK, shard.samples))
            rows = Rows(np.zeros_like(row), np.full_like(row, shard.id), row, {shard.id: table})
            yield 0, number, rows
            number += 1


def _number(values: list[str]) -> NDArray[np.int64]:
    return np.unique(np.array(values, dtype=np.str_), return_inverse=True)[1].reshape(-1)
