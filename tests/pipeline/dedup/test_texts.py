import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup.texts import TEXT, TEXTS, best_texts, flat, merged

Texts = list[tuple[int, int, int]]


def as_array(texts: Texts) -> pa.Array:
    rows = [
        {
            "rank": bytes([rank]) * 20,
            "key": bytes([key]) * 16,
            "text": str(key),
            "source": "alt",
            "url": "u",
            "page_url": None,
        }
        for _, key, rank in texts
    ]
    return pa.array(rows, TEXT)


def best_of(texts: Texts, most: int) -> list[list[tuple[int, int]]]:
    """The definition: of each group the first texts by rank that differ."""
    found: list[list[tuple[int, int]]] = [[] for _ in range(4)]
    for group, key, rank in sorted(texts, key=lambda text: text[2]):
        if key not in dict(found[group]) and len(found[group]) < most:
            found[group].append((key, rank))
    return found


def read(lists: pa.Array) -> list[list[tuple[int, int]]]:
    return [[(text["key"][0], text["rank"][0]) for text in each] for each in lists.to_pylist()]


texts_of_groups = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 255)),
    max_size=40,
    unique_by=lambda text: text[2],
)


@given(texts_of_groups, st.integers(1, 4), st.integers(0, 40))
def test_merging_bounded_halves_gives_the_best_distinct_texts(
    texts: Texts, most: int, cut: int
) -> None:
    def merge(part: Texts) -> pa.Array:
        groups = np.array([text[0] for text in part], np.int64)
        return merged(groups, as_array(part), 4, most)

    whole = merge(texts)
    halves = pa.chunked_array([merge(texts[:cut]), merge(texts[cut:])])
    numbers, values = flat(halves)
    assert read(whole) == best_of(texts, most)
    assert merged(numbers % 4, values, 4, most).equals(whole)
    assert whole.type == TEXTS


def test_no_texts_make_empty_lists() -> None:
    none = np.zeros(0, np.int64)
    assert merged(none, as_array([]), 2, 3).to_pylist() == [[], []]
    assert best_texts(none, as_array([]), 3).tolist() == []
