"""What data workers are told: where the samples of a chunk are, their texts, their seeds."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trainer.data.order import Domain, Rows, hash64
from trainer.data.shards import ShardTable, Text

Samples = Rows[ShardTable]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What a worker needs to make one chunk; arrays have shape (n,)."""

    paths: list[str]
    slots: NDArray[np.int64]
    """Which of `paths` holds the image."""
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    texts: list[str]
    seeds: NDArray[np.uint64]
    """What the augmentation of each sample is drawn from."""

    @classmethod
    def make(cls, rows: Samples, seed: int, text: Text = "caption") -> "Request":
        """Look up where the samples are; `seed` is the run's, `text` says which of their texts."""
        shards = sorted(int(shard) for shard in np.unique(rows.shard))
        return cls(
            paths=[rows.tables[shard].tar_path for shard in shards],
            slots=np.searchsorted(np.array(shards), rows.shard).astype(np.int64),
            offsets=rows.gather(lambda table: table.offsets).astype(np.int64),
            lengths=rows.gather(lambda table: table.lengths).astype(np.int64),
            texts=texts_of(rows) if text == "caption" else _drawn_texts(rows, seed),
            seeds=_hashes("augment", rows, seed),
        )


def texts_of(rows: Samples) -> list[str]:
    """Return the caption of each sample."""
    places = zip(rows.shard.tolist(), rows.row.tolist(), strict=True)
    return [rows.tables[shard].captions[row].as_py() or "" for shard, row in places]


def _drawn_texts(rows: Samples, seed: int) -> list[str]:
    """Return one of the texts of each sample, caption and alternates, another in each epoch."""
    drawn = []
    places = zip(rows.shard.tolist(), rows.row.tolist(), strict=True)
    for (shard, row), draw in zip(places, _hashes("text", rows, seed).tolist(), strict=True):
        table = rows.tables[shard]
        alternates = table.alternates[row].as_py() or ()
        texts = [table.captions[row].as_py(), *(each["text"] for each in alternates)]
        drawn.append(texts[draw % len(texts)] or "")
    return drawn


def _hashes(domain: Domain, rows: Samples, seed: int) -> NDArray[np.uint64]:
    """Return `h(domain, epoch, id)` of each sample."""
    hashes = np.empty(len(rows), np.uint64)
    ids = rows.gather(lambda table: table.ids).astype(np.uint64)
    for epoch in np.unique(rows.epoch):
        here = rows.epoch == epoch
        hashes[here] = hash64(domain, seed, int(epoch), ids[here])
    return hashes
