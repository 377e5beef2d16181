"""Measures by query: which queries a model knows, the rare ones and the frequent ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def query_table(
    query_ids: Sequence[Sequence[int]], hits: Mapping[str, NDArray[np.bool_]]
) -> pa.Table:
    """Return how many samples each query has, and of which share each test was passed.

    Args:
        query_ids: of each sample; one with several queries counts in each.
        hits: by the name of a test, whether a sample passed it, shape (samples,).

    Returns:
        Columns `query_id`, ascending, `n`, and one a test; queries without samples have no row.
    """
    lengths = np.array([len(each) for each in query_ids], np.int64)
    sample = np.repeat(np.arange(len(query_ids)), lengths)
    flat = np.array([query for each in query_ids for query in each], np.int64)
    queries, place = np.unique(flat, return_inverse=True)
    n = np.bincount(place, minlength=len(queries))
    shares = {
        name: np.bincount(place, weights=passed[sample], minlength=len(queries)) / n
        for name, passed in hits.items()
    }
    return pa.table({"query_id": queries.astype(np.int32), "n": n.astype(np.int64), **shares})


def by_decade(table: pa.Table, counts: NDArray[np.int64]) -> dict[str, Any]:
    """Sum up a table of queries by the decade of how many pairs a query has.

    Args:
        table: what `query_table` returned.
        counts: pairs of each query, by its id.

    Returns:
        By decade, as `"10-99"`: `queries`, `n`, and for each test the share of samples.
    """
    queries, n = table["query_id"].to_numpy(), table["n"].to_numpy()
    decades = np.floor(np.log10(np.maximum(counts[queries], 1))).astype(int)
    result: dict[str, Any] = {}
    for decade in np.unique(decades).tolist():
        here = decades == decade
        shares = {
            name: float((table[name].to_numpy()[here] * n[here]).sum() / n[here].sum())
            for name in table.column_names[2:]
        }
        low, high = 10**decade, 10 ** (decade + 1) - 1
        result[f"{low}-{high}"] = {"queries": int(here.sum()), "n": int(n[here].sum()), **shares}
    return result
