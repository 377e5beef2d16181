import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.hashes.lfmis import KEPT, first_independent_set

Edges = list[tuple[int, int]]


def chosen(edges: Edges, nodes: int) -> list[int]:
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    return first_independent_set(pairs[:, 0], pairs[:, 1], nodes).tolist()


def greedy(edges: Edges, nodes: int) -> list[int]:
    """The definition: in order, a node stays iff no better neighbour stays."""
    found: list[int] = []
    for node in range(nodes):
        kept = [better for better, worse in edges if worse == node and found[better] == KEPT]
        found.append(min(kept, default=KEPT))
    return found


@pytest.mark.parametrize(
    ("edges", "dup_of"),
    [
        ([(0, 1), (1, 2)], [KEPT, 0, KEPT]),
        ([(0, 1), (0, 2)], [KEPT, 0, 0]),
        ([(0, 1), (1, 2), (2, 3)], [KEPT, 0, KEPT, 2]),
        ([(0, 2), (1, 2), (2, 3), (3, 4), (1, 4)], [KEPT, KEPT, 0, KEPT, 1]),
    ],
)
def test_golden_graphs(edges: Edges, dup_of: list[int]) -> None:
    assert chosen(edges, len(dup_of)) == dup_of


@pytest.mark.parametrize("nodes", [10, 200])
def test_every_second_node_of_a_path_stays_however_long(nodes: int) -> None:
    found = chosen([(node, node + 1) for node in range(nodes - 1)], nodes)
    assert found == [KEPT if node % 2 == 0 else node - 1 for node in range(nodes)]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Edges, int]:
    nodes = draw(st.integers(1, 60))
    node = st.integers(0, nodes - 1)
    pairs = draw(st.lists(st.tuples(node, node), max_size=150))
    return [(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]], nodes


@given(graphs(), st.randoms(use_true_random=False))
def test_any_order_of_edges_gives_the_greedy_choice(
    graph: tuple[Edges, int], order: random.Random
) -> None:
    edges, nodes = graph
    expected = greedy(edges, nodes)
    order.shuffle(edges)
    assert chosen(edges, nodes) == expected


def test_an_edge_to_a_better_node_is_refused() -> None:
    with pytest.raises(ValueError, match="better must be less"):
        chosen([(1, 1)], 2)


def test_nodes_without_edges_stay() -> None:
    assert chosen([], 3) == [KEPT] * 3


@given(graphs(), st.sets(st.integers(0, 149)))
def test_adding_missed_edges_between_kept_nodes_ends_at_the_choice_of_all_edges(
    graph: tuple[Edges, int], seen: set[int]
) -> None:
    edges, nodes = graph
    found = {edge for place, edge in enumerate(edges) if place in seen}
    while True:
        dup_of = chosen(sorted(found), nodes)
        kept = {node for node, best in enumerate(dup_of) if best == KEPT}
        missed = {edge for edge in edges if kept.issuperset(edge)} - found
        if not missed:
            break
        found |= missed
    assert kept == {node for node, best in enumerate(greedy(edges, nodes)) if best == KEPT}
