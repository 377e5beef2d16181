"""Texts that duplicates leave to the pair that stays: few, distinct, the best first.

Only bounded lists travel. Merging them is associative: the best of the best of two halves are the
best of the whole, so no cut of the rows changes the result.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.hashes.rank import RANK_BYTES, TEXT_KEY_BYTES
from pipeline.dedup.columns import keys_of

TEXT = pa.struct(
    [
        pa.field("rank", pa.binary(RANK_BYTES), nullable=False),
        pa.field("key", pa.binary(TEXT_KEY_BYTES), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("page_url", pa.string()),
    ]
)
"""A text, the rank of the row it is from, and the key by which texts are equal."""
TEXTS = pa.list_(TEXT)


def flat(lists: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    """Return the texts of all lists, and the number of the list each is in."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    return pc.list_parent_indices(array).to_numpy().astype(np.int64), pc.list_flatten(array)


def best_texts(groups: NDArray[np.int64], texts: pa.Array, most: int) -> NDArray[np.int64]:
    """Return which texts are the best distinct ones of their group, by group, best first.

    Args:
        groups: shape (n,), the group of each text.
        texts: n of `TEXT`.
        most: texts that a group may keep.
    """
    ranks, keys = keys_of(texts.field("rank")), keys_of(texts.field("key"))
    order = np.lexsort((ranks, keys, groups))
    first = np.ones(len(order), np.bool_)
    first[1:] = (groups[order][1:] != groups[order][:-1]) | (keys[order][1:] != keys[order][:-1])
    distinct = order[first]
    chosen = distinct[np.lexsort((ranks[distinct], groups[distinct]))]
    ordered = groups[chosen]
    place = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return chosen[place < most]


def as_lists(groups: NDArray[np.int64], values: pa.Array, lists: int) -> pa.ListArray:
    """Return values as that many lists; `groups` names the list of each, ascending."""
    ends = np.cumsum(np.bincount(groups, minlength=lists))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def merged(groups: NDArray[np.int64], texts: pa.Array, lists: int, most: int) -> pa.ListArray:
    """Return the best distinct texts of each group as one list a group."""
    chosen = best_texts(groups, texts, most)
    return as_lists(groups[chosen], texts.take(pa.array(chosen)), lists).cast(TEXTS)
