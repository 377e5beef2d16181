import numpy as np

from trainer.evals.per_query import by_decade, query_table

HITS = {"up": np.array([True, False, True, True])}
QUERIES = [[3, 1], [3], [], [1]]


def test_a_sample_counts_in_each_of_its_queries() -> None:
    assert query_table(QUERIES, HITS).to_pylist() == [
        {"query_id": 1, "n": 2, "up": 1.0},
        {"query_id": 3, "n": 2, "up": 0.5},
    ]


def test_decades_are_of_the_pairs_of_a_query_and_weighted_by_samples() -> None:
    table = query_table([[0], [0], [1], [2]], {"up": np.array([True, False, True, False])})
    assert by_decade(table, np.array([9, 10, 99])) == {
        "1-9": {"queries": 1, "n": 2, "up": 0.5},
        "10-99": {"queries": 2, "n": 2, "up": 0.5},
    }


def test_no_queries_give_an_empty_table() -> None:
    table = query_table([[], []], {"up": np.array([True, True])})
    assert (table.num_rows, by_decade(table, np.array([5]))) == (0, {})
