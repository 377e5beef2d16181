"""Edges to the nodes that go: who stays is decided over all edges at once."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.hashes.lfmis import KEPT, first_independent_set
from pipeline.dedup.columns import as_keys, bytes_of, fixed, keys_of, one_batch
from pipeline.dedup.edges import Rows
from pipeline.dedup.nodes import RANK
from pipeline.records import ID

EDGES = pa.schema(
    [
        pa.field("better", RANK, nullable=False),
        pa.field("worse", RANK, nullable=False),
        pa.field("distance", pa.uint16(), nullable=False),
        pa.field("better_unit", pa.int32(), nullable=False),
        pa.field("worse_home", pa.int32(), nullable=False),
    ]
)
"""Two nodes that are near; an edge is listed for each table in which they share a band.
`better_unit` is the part of fetch with the better one's best row, `worse_home` the part of nodes
that the worse one is in."""
GONE = pa.schema(
    [
        pa.field("home", pa.int32(), nullable=False),
        pa.field("rank", RANK, nullable=False),
        pa.field("kept_id", ID, nullable=False),
        pa.field("kept_unit", pa.int32(), nullable=False),
        pa.field("distance", pa.uint16(), nullable=False),
    ]
)
"""The nodes that are near-duplicates of a kept one, sorted by (home, rank)."""


def edge_rows(
    probes: pa.Table, found: Sequence[tuple[Rows, Rows, NDArray[np.uint16]]]
) -> pa.RecordBatch:
    """Return edges, each once with its least distance, sorted by (better, worse).

    Args:
        probes: columns of `PROBES`.
        found: better rows, worse rows and distances.
    """
    better, worse = (np.concatenate([each[side] for each in found]) for side in (0, 1))
    distance = np.concatenate([each[2] for each in found])
    rows, numbers = np.unique(np.concatenate([better, worse]), return_inverse=True)
    taken = probes.select(["rank", "unit", "home"]).take(pa.array(rows))
    _, first, node = np.unique(keys_of(taken["rank"]), return_index=True, return_inverse=True)
    left, right = node[numbers[: len(better)]], node[numbers[len(better) :]]
    order = np.lexsort((distance, right, left))
    left, right, distance = left[order], right[order], distance[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    first_left, first_right = (taken.take(pa.array(first[side[new]])) for side in (left, right))
    columns = [
        first_left["rank"],
        first_right["rank"],
        pa.array(distance[new]),
        first_left["unit"],
        first_right["home"],
    ]
    return one_batch(pa.table(columns, schema=EDGES))


def choose_nodes(edges: pa.Table) -> pa.RecordBatch:
    """Return the nodes that go, with the kept node each matched, as `GONE`.

    Args:
        edges: columns of `EDGES`, in any order, each any number of times.
    """
    both = pa.chunked_array([*edges["better"].chunks, *edges["worse"].chunks], RANK)
    coded = both.combine_chunks().dictionary_encode()
    values = bytes_of(coded.dictionary)
    order = np.argsort(as_keys(values), kind="stable")
    ranks = values[order]
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    codes = number[coded.indices.to_numpy()]
    better, worse = codes[: edges.num_rows], codes[edges.num_rows :]
    dup_of = first_independent_set(better, worse, len(ranks))

    unit, home = np.zeros(len(ranks), np.int32), np.zeros(len(ranks), np.int32)
    unit[better] = edges["better_unit"].to_numpy()
    home[worse] = edges["worse_home"].to_numpy()
    distance = np.full(len(ranks), np.iinfo(np.uint16).max, np.uint16)
    used = dup_of[worse] == better
    np.minimum.at(distance, worse[used], edges["distance"].to_numpy()[used])

    gone = np.flatnonzero(dup_of != KEPT)
    gone = gone[np.argsort(home[gone], kind="stable")]
    kept = dup_of[gone]
    columns = [
        pa.array(home[gone]),
        fixed(ranks[gone]),
        fixed(ranks[kept][:, 4:]),
        pa.array(unit[kept]),
        pa.array(distance[gone]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=GONE)
