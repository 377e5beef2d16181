"""Features of samples: what every measure of a trained model is computed from."""

import collections
import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import Compose

from manifests.base.console import progress
from manifests.base.errors import OpenwitError
from manifests.format.manifest import Manifest
from manifests.format.records import ShardRecord
from trainer.data.loader import ChunkDataset, ChunkLoader
from trainer.data.order import Rows
from trainer.data.requests import Samples, texts_of
from trainer.data.shards import DataConfig, ShardTable, read_shard
from trainer.data.transforms import without_normalising
from trainer.distributed import ALONE, Ranks
from trainer.model.towers import Model

CHUNK = 256
"""Samples that go through the towers together."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The features of consecutive samples."""

    number: int
    """Place among the chunks."""
    rows: Samples
    images: Tensor
    """Shape (n, d), float32, rows of length 1; without meaning where a sample is bad."""
    texts: Tensor
    reasons: list[str]
    """Why a sample cannot be used, shape (n,); "" where it can."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The features of all chosen samples that can be used, in the order of the dataset."""

    images: Tensor
    """Shape (n, d), float32, rows of length 1."""
    texts: Tensor
    captions: list[str]
    image_hashes: list[str]
    """sha256 of each image."""
    pair_ids: list[str]
    keys: list[str]
    query_ids: list[list[int]]
    prints: NDArray[np.uint64]
    """`h(sample, 0, id)`, shape (n,): those of the smallest are a fixed random part."""
    bad: dict[str, int]
    """Chosen samples that were left out, by reason."""


def chunks_of(
    shard: ShardRecord, table: ShardTable, size: int, wanted: NDArray[np.bool_] | None = None
) -> Iterator[Samples]:
    """Cut the wanted samples of a shard, by default all, into chunks."""
    places = np.arange(shard.samples) if wanted is None else np.flatnonzero(wanted)
    for start in range(0, len(places), size):
        row = places[start : start + size]
        yield Rows(np.zeros_like(row), np.full_like(row, shard.id), row, {shard.id: table})


def encode(
    chunks: Iterable[tuple[int, Samples]], model: Model, data: DataConfig
) -> Iterator[Encoded]:
    """Yield the features of numbered chunks; images are cropped in the middle, as open_clip does.

    Args:
        chunks: read lazily.
        model: trained towers.
        data: how samples are read; its manifest and order do not matter.

    Raises:
        OpenwitError: if a shard has gone away.
    """
    dataset = ChunkDataset(
        Compose(without_normalising(model.eval_steps)),
        model.tokenize,
        image_px=model.image_px,
        max_pixels=data.max_pixels,
    )
    planned = ((0, number, rows) for number, rows in chunks)
    loader = ChunkLoader(dataset, planned, seed=0, workers=data.workers, prefetch=data.prefetch)
    with contextlib.closing(iter(loader)) as loaded, evaluating(model.towers.module):
        for chunk in loaded:
            with torch.no_grad():
                images, texts = model.towers(chunk.tensors.images, chunk.tensors.tokens)
            reasons = [""] * len(chunk.rows)
            for bad in chunk.tensors.bad:
                reasons[bad.row] = str(bad.reason)
            yield Encoded(chunk.number, chunk.rows, images.cpu(), texts.cpu(), reasons)


@contextlib.contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Switch dropout and the like off for the block."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def compute_features(
    manifest: Manifest,
    model: Model,
    data: DataConfig,
    *,
    most: int,
    labelled: frozenset[str] = frozenset(),
    ranks: Ranks = ALONE,
) -> Features:
    """Return the features of a dataset, or of a fixed random part of it.

    Args:
        manifest: the dataset; samples that cannot be used are left out and counted.
        model: trained towers.
        data: how samples are read.
        most: samples; of more, those with the smallest `h(sample, 0, id)`.
        labelled: pair ids or keys of samples that are taken in any case.
        ranks: share out the work; each returns all features.

    Raises:
        OpenwitError: if no sample can be used, or a shard has gone away.
    """
    limit = smallest(_all_prints(manifest), most) if manifest.samples > most else None

    def chosen() -> Iterator[tuple[int, Samples]]:
        number = 0
        for shard in manifest.shards:
            table = read_shard(manifest, shard)
            for rows in chunks_of(shard, table, CHUNK, _wanted(table, limit, labelled)):
                if number % ranks.world == ranks.rank:
                    yield number, rows
                number += 1

    mine, done = dict[int, Features](), 0
    with progress("evaluate", manifest.samples) as shown:
        for encoded in encode(chosen(), model, data):
            mine[encoded.number] = _usable(encoded)
            done += len(encoded.rows)
            shown.update(done, done)
    every = {number: part for each in ranks.gather(mine) for number, part in each.items()}
    return _joined(manifest, [every[number] for number in sorted(every)])


def smallest(prints: NDArray[np.uint64], most: int) -> np.uint64:
    """Return the greatest of the `most` smallest prints."""
    place = min(most, len(prints)) - 1
    return np.uint64(np.partition(prints, place)[place])


def _all_prints(manifest: Manifest) -> NDArray[np.uint64]:
    return np.concatenate([read_shard(manifest, shard).prints for shard in manifest.shards])


def _wanted(
    table: ShardTable, limit: np.uint64 | None, labelled: frozenset[str]
) -> NDArray[np.bool_] | None:
    if limit is None:
        return None
    names = zip(table.pair_ids.to_pylist(), table.keys.tolist(), strict=True)
    has_label = [pair in labelled or key in labelled for pair, key in names]
    return (table.prints <= limit) | np.array(has_label)


def _usable(encoded: Encoded) -> Features:
    """Return the features of a chunk without its bad samples."""
    usable = np.array([not reason for reason in encoded.reasons])
    rows = encoded.rows.take(np.flatnonzero(usable))
    table = next(iter(rows.tables.values()))
    places = rows.row.tolist()
    return Features(
        images=encoded.images[torch.from_numpy(usable)],
        texts=encoded.texts[torch.from_numpy(usable)],
        captions=texts_of(rows),
        image_hashes=[table.image_hashes[row].as_py() for row in places],
        pair_ids=[table.pair_ids[row].as_py() for row in places],
        keys=[str(table.keys[row]) for row in places],
        query_ids=[table.query_ids[row].as_py() or [] for row in places],
        prints=table.prints[rows.row],
        bad=dict(collections.Counter(each for each in encoded.reasons if each)),
    )


def _joined(manifest: Manifest, parts: Sequence[Features]) -> Features:
    bad = collections.Counter[str]()
    for part in parts:
        bad.update(part.bad)
    if not any(part.keys for part in parts):
        raise OpenwitError(f"{manifest.root}: none of {sum(bad.values())} samples can be used: run "
                           "openwit-manifest verify --deep")  # fmt: skip
    return Features(
        images=torch.cat([part.images for part in parts]),
        texts=torch.cat([part.texts for part in parts]),
        captions=[each for part in parts for each in part.captions],
        image_hashes=[each for part in parts for each in part.image_hashes],
        pair_ids=[each for part in parts for each in part.pair_ids],
        keys=[each for part in parts for each in part.keys],
        query_ids=[each for part in parts for each in part.query_ids],
        prints=np.concatenate([part.prints for part in parts]),
        bad=dict(bad),
    )
