"""Texts that duplicates leave to the pair that stays, or stay with: few, distinct, the best first.

Only bounded lists travel. Merging them is associative: the best of the best of two halves are the
best of the whole, so no cut of the rows changes the result.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.hashes.rank import RANK_BYTES, TEXT_KEY_BYTES
from pipeline.hashes.columns import bytes_of, fixed, keys_of
from pipeline.records import ID

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


def best_texts(
    groups: NDArray[np.int64], texts: pa.Array, most: int, after: int = 0
) -> NDArray[np.int64]:
    """Return which texts are the best distinct ones of their group, by group, best first.

    Args:
        groups: shape (n,), the group of each text.
        texts: n of `TEXT`.
        most: texts that a group may keep.
        after: of these so many first ones are left out.
    """
    ranks, keys = keys_of(texts.field("rank")), keys_of(texts.field("key"))
    order = np.lexsort((ranks, keys, groups))
    first = np.ones(len(order), np.bool_)
    first[1:] = (groups[order][1:] != groups[order][:-1]) | (keys[order][1:] != keys[order][:-1])
    distinct = order[first]
    chosen = distinct[np.lexsort((ranks[distinct], groups[distinct]))]
    ordered = groups[chosen]
    place = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return chosen[(place >= after) & (place < most)]


def as_lists(groups: NDArray[np.int64], values: pa.Array, lists: int) -> pa.ListArray:
    """Return values as that many lists; `groups` names the list of each, ascending."""
    ends = np.cumsum(np.bincount(groups, minlength=lists))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def merged(groups: NDArray[np.int64], texts: pa.Array, lists: int, most: int) -> pa.ListArray:
    """Return the best distinct texts of each group as one list a group."""
    chosen = best_texts(groups, texts, most)
    return as_lists(groups[chosen], texts.take(pa.array(chosen)), lists).cast(TEXTS)


CAPTIONS = pa.schema(
    [
        pa.field("unit", pa.int32(), nullable=False),
        pa.field("kept_id", ID, nullable=False),
        pa.field("pair_id", ID, nullable=False),
        pa.field("key", pa.binary(TEXT_KEY_BYTES), nullable=False),
    ]
)
"""A pair that stays for its text beside `kept_id`, or is it, for a part with pairs of the image."""
CLUSTERS = pa.schema(
    [
        pa.field("kept_id", ID, nullable=False),
        pa.field("unit", pa.int32(), nullable=False),
        pa.field("kept_unit", pa.int32(), nullable=False),
        pa.field("texts", TEXTS, nullable=False),
    ]
)
"""The texts that a part has of an image, sent to where all of them meet."""
STAYING = pa.schema(
    [
        pa.field("kept_id", ID, nullable=False),
        pa.field("kept_unit", pa.int32(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
    ]
)
"""How many pairs stay beside the best one of their image."""


def choose_captions(clusters: pa.Table, most: int) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Return the pairs that stay for their texts, as `CAPTIONS` and `STAYING`.

    Args:
        clusters: columns of `CLUSTERS`, all of each image, sorted by kept id.
        most: pairs that an image keeps.
    """
    names, first, group = np.unique(
        keys_of(clusters["kept_id"]), return_index=True, return_inverse=True
    )
    number, values = flat(clusters["texts"])
    chosen = best_texts(group[number], values, most)
    cluster = group[number][chosen]
    pairs = np.ascontiguousarray(bytes_of(values.field("rank"))[chosen, -ID.byte_width :])
    # Each part of an image hears of each of its pairs.
    units = clusters["unit"].to_numpy()
    parts = np.unique(np.stack([group, units], axis=1), axis=0)
    sizes = np.bincount(cluster, minlength=len(names))
    starts = np.cumsum(sizes) - sizes
    repeats = sizes[parts[:, 0]]
    within = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    rows = np.repeat(starts[parts[:, 0]], repeats) + within
    captions = [
        pa.array(np.repeat(parts[:, 1], repeats).astype(np.int32)),
        fixed(names[cluster[rows]]),
        fixed(pairs[rows]),
        values.field("key").take(pa.array(chosen[rows])),
    ]
    kept_units = clusters["kept_unit"].to_numpy()[first]
    staying = [fixed(names), pa.array(kept_units), pa.array((sizes - 1).astype(np.int64))]
    return (
        pa.RecordBatch.from_arrays(captions, schema=CAPTIONS),
        pa.RecordBatch.from_arrays(staying, schema=STAYING),
    )
