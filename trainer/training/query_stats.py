"""What a model learns by query: how often each was seen, and how well its pairs are told apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.loader import Chunk
from trainer.distributed import Ranks

KEEP = 0.99
"""What the recent loss of a query keeps of itself with each pair; provisional."""
FIELDS = ("seen", "loss", "top1_i2t", "top1_t2i", "recent", "weight")
"""Sums over the pairs of a query, except `recent`, of which `recent / weight` is an average."""


class QueryStats:
    """Sums by query over the rows that this rank has trained on; one pair counts in each query."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        """Begin with nothing seen; `counts` are the pairs of each query, by its id."""
        self._counts = counts
        self._sums = np.zeros((len(FIELDS), len(counts)))

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from the sums of a checkpoint."""
        self._sums = np.stack([tensors[name].numpy() for name in FIELDS])

    def add(self, batch: Sequence[Chunk], row_loss: Tensor, top1: Tensor) -> None:
        """Count the rows of a batch.

        Args:
            batch: this rank's chunks.
            row_loss: as of `LossOutput`, shape (n, 2).
            top1: as of `LossOutput`, shape (n, 2).
        """
        found = [_queries(chunk) for chunk in batch]
        starts = np.cumsum([0, *(len(chunk.rows) for chunk in batch)])[:-1]
        rows = np.concatenate([row + start for (row, _), start in zip(found, starts, strict=True)])
        queries = np.concatenate([ids for _, ids in found])
        valid = torch.cat([chunk.tensors.valid for chunk in batch]).numpy()
        order = np.lexsort((rows, queries))
        order = order[valid[rows[order]]]
        rows, queries = rows[order], queries[order]
        loss = row_loss.double().mean(1).cpu().numpy()[rows]
        hits = top1.cpu().numpy()[rows].astype(np.float64)
        present, first, times = np.unique(queries, return_index=True, return_counts=True)
        # The pairs of a query follow each other here; the last of them weighs most.
        later = np.repeat(first + times, times) - 1 - np.arange(len(queries))
        fresh = (1 - KEEP) * KEEP**later
        added = (np.ones(len(loss)), loss, hits[:, 0], hits[:, 1], fresh * loss, fresh)
        self._sums[4:, present] *= KEEP**times
        for sums, values in zip(self._sums, added, strict=True):
            sums += np.bincount(queries, values, minlength=len(self._counts))

    def total(self, ranks: Ranks) -> NDArray[np.float64]:
        """Return the sums over all ranks, shape (fields, queries). All call it together."""
        return ranks.sum_array(self._sums)

    def summary(self, total: NDArray[np.float64], t: int) -> dict[str, Any]:
        """Return means by decade of how many pairs a query has, and for head and tail at `t`."""
        decade = np.floor(np.log10(np.maximum(self._counts, 1))).astype(np.int64)
        groups = {f"{10**n}-{10 ** (n + 1) - 1}": decade == n for n in np.unique(decade).tolist()}
        groups |= {"head": self._counts > t, "tail": self._counts <= t}
        return {name: _means(total[:, which].sum(1)) for name, which in groups.items()}


def _means(sums: NDArray[np.float64]) -> dict[str, float]:
    seen = max(float(sums[0]), 1.0)
    means = {name: float(each) / seen for name, each in zip(FIELDS[1:4], sums[1:4], strict=True)}
    return {"seen": int(sums[0]), **means}


def as_table(total: NDArray[np.float64]) -> pa.Table:
    """Return the queries that were seen, with means: query_id, seen, loss, top1, recent_loss."""
    queries = np.flatnonzero(total[0])
    sums = total[:, queries]
    return pa.table(
        {
            "query_id": queries.astype(np.int32),
            "seen": sums[0].astype(np.int64),
            **{name: sums[place] / sums[0] for place, name in enumerate(FIELDS[1:4], 1)},
            "recent_loss": sums[4] / sums[5],
        }
    )


def as_tensors(total: NDArray[np.float64]) -> dict[str, Tensor]:
    """Return the sums as a checkpoint holds them."""
    return {name: torch.from_numpy(each) for name, each in zip(FIELDS, total.copy(), strict=True)}


def _queries(chunk: Chunk) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the queries of a chunk's rows: place of the row, query id."""
    places, queries = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for shard in np.unique(chunk.rows.shard).tolist():
        here = np.flatnonzero(chunk.rows.shard == shard)
        ids = chunk.rows.tables[shard].query_ids.take(pa.array(chunk.rows.row[here]))
        places.append(np.repeat(here, ids.value_lengths().to_numpy()))
        queries.append(ids.flatten().to_numpy().astype(np.int64))
    return np.concatenate(places), np.concatenate(queries)
