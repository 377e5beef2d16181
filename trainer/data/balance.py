"""Online balancing: pairs of frequent queries take part in fewer epochs, anew in each of them."""

import dataclasses
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from manifests.base import storage
from manifests.base.errors import OpenwitError, RefusedError
from manifests.format.manifest import Manifest
from trainer.data.order import hash64

SCALE = 2.0**-53


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BalanceConfig:
    """Which pairs take part in an epoch."""

    mode: Literal["none", "online"] = "none"
    """All pairs, or each with the probability that its queries give it (`online`)."""
    t: int = 20_000
    """Pairs of a query that an epoch has about, at most; the CLIP paper's cap."""
    tail_fraction: float = 0.0
    """Share of all pairs that belong to queries below the cap; sets `t`, if it is above 0."""
    counts: Literal["kept", "matched"] = "kept"
    """Pairs of a query: those of this dataset, or those of the pool it was chosen from."""

    def __post_init__(self) -> None:
        if self.t < 1:
            raise ValueError(f"t must be at least 1, got {self.t}")
        if not 0 <= self.tail_fraction <= 1:
            raise ValueError(f"tail_fraction must be from 0 to 1, got {self.tail_fraction}")


class Balance:
    """The probability of each query, and what follows from it for pairs."""

    def __init__(self, counts: NDArray[np.int64], t: int) -> None:
        """Take the pairs of each query, by its id, and how many an epoch shall have."""
        self.counts, self.t = counts, t
        self._left_out = 1 - np.minimum(1, t / np.maximum(counts, 1))

    def probabilities(self, queries: pa.ListArray) -> NDArray[np.float64]:
        """Return for each pair with which probability it is in an epoch, shape (rows,).

        One without queries always is. Queries are multiplied by ascending id: floats are not
        associative.

        Args:
            queries: query ids of each pair.

        Raises:
            OpenwitError: if an id is not in the query list.
        """
        lengths = np.diff(queries.offsets.to_numpy())
        values = queries.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
        if len(values) and not 0 <= values.min() <= values.max() < len(self.counts):
            raise OpenwitError(
                f"query id {values.max()}: queries.parquet has {len(self.counts)} queries: run "
                "openwit-manifest verify --deep"
            )
        rows = np.repeat(np.arange(len(lengths)), lengths)
        left_out = self._left_out[values[np.lexsort((values, rows))]]
        result = np.ones(len(lengths))
        starts = np.cumsum(lengths) - lengths
        has = lengths > 0
        if has.any():
            result[has] = 1 - np.multiply.reduceat(left_out, starts[has])
        return result


def drawn(
    probabilities: NDArray[np.float64], ids: NDArray[np.uint64], *, seed: int, epoch: int
) -> NDArray[np.bool_]:
    """Return which pairs are in an epoch: those of a smaller `t` are among those of a larger."""
    return (hash64("balance", seed, epoch, ids) >> np.uint64(11)) * SCALE < probabilities


def tail_limit(counts: NDArray[np.int64], tail_fraction: float) -> int:
    """Return the count up to which queries hold that share of all pairs, as nearly as can be."""
    ordered = np.sort(counts)
    shares = np.cumsum(ordered) / max(int(ordered.sum()), 1)
    return max(int(ordered[np.abs(shares - tail_fraction).argmin()]), 1)


def load_balance(manifest: Manifest, settings: BalanceConfig) -> Balance | None:
    """Return the balance of a dataset, or None for mode `none`.

    Raises:
        RefusedError: if the dataset has no query list.
        OpenwitError: if the list cannot be read.
    """
    if settings.mode == "none":
        return None
    counts = query_counts(manifest, settings.counts)
    if counts is None:
        raise RefusedError(
            f'{manifest.root}: has no queries.parquet: set balance.mode to "none", or train on a '
            "dataset that was chosen by queries"
        )
    t = tail_limit(counts, settings.tail_fraction) if settings.tail_fraction else settings.t
    return Balance(counts, t)


def query_counts(manifest: Manifest, column: str) -> NDArray[np.int64] | None:
    """Return a column of counts of the query list, by query id, or None if there is no list.

    Raises:
        OpenwitError: if the list cannot be read.
    """
    for file in manifest.listed("queries"):
        path = manifest.path(file.path)
        try:
            with storage.open_read(path) as opened:
                table = pq.read_table(opened, columns=["query_id", column])
        except (OSError, pa.ArrowException) as error:
            raise OpenwitError(f"{path}: cannot be read: {error}: verify the dataset") from None
        counts = np.zeros(table.num_rows, np.int64)
        counts[table["query_id"].to_numpy()] = table[column].to_numpy()
        return counts
    return None
