"""The lexicographically first maximal independent set: who stays among near-duplicates."""

import numpy as np
from numpy.typing import NDArray

KEPT = -1
_UNDECIDED, _KEPT, _DROPPED = 0, 1, 2
_ROUNDS = 16
"""Whole-array rounds before the rest is done one edge at a time: 2 to 4 are usual, but a chain of n
nodes needs n."""


def first_independent_set(
    better: NDArray[np.int64], worse: NDArray[np.int64], nodes: int
) -> NDArray[np.int64]:
    """Keep a node iff none of its better neighbours is kept, in the order of the nodes.

    The answer is unique: no order of edges, seed or engine enters. No chains arise: in A-B-C,
    where A and C differ, C stays.

    Args:
        better: shape (edges,), the better node of each edge; smaller numbers are better. An edge
            may be given more than once.
        worse: shape (edges,), the worse node; greater than `better`.
        nodes: number of nodes.

    Returns:
        Shape (nodes,): `KEPT`, or the best kept better neighbour.

    Raises:
        ValueError: if an edge does not lead from a better to a worse node.
    """
    if not (better < worse).all():
        raise ValueError("better must be less than worse on every edge")
    state = _decided(better, worse, nodes)
    chosen = state[better] == _KEPT
    best = np.full(nodes, nodes, np.int64)
    np.minimum.at(best, worse[chosen], better[chosen])
    return np.where(state == _KEPT, KEPT, best)


def _decided(better: NDArray[np.int64], worse: NDArray[np.int64], nodes: int) -> NDArray[np.uint8]:
    """Return the state of each node; each round decides all whose better neighbours are decided."""
    state = np.zeros(nodes, np.uint8)
    for _ in range(_ROUNDS):
        has_kept, has_open = np.zeros(nodes, np.bool_), np.zeros(nodes, np.bool_)
        has_kept[worse[state[better] == _KEPT]] = True
        has_open[worse[state[better] == _UNDECIDED]] = True
        open_nodes = state == _UNDECIDED
        state[open_nodes & has_kept] = _DROPPED
        state[open_nodes & ~has_kept & ~has_open] = _KEPT
        left = (state[worse] == _UNDECIDED) & (state[better] != _DROPPED)
        better, worse = better[left], worse[left]
        if not len(worse):
            break
    # Edges come by worse node, so that the better node of each is decided before it.
    order = np.argsort(worse, kind="stable")
    is_dropped = (state == _DROPPED).tolist()
    for best, node in zip(better[order].tolist(), worse[order].tolist(), strict=True):
        if not is_dropped[best]:
            is_dropped[node] = True
    return np.where(is_dropped, _DROPPED, _KEPT).astype(np.uint8)
