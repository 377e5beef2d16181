import pathlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.queries.counts import SortedTable, Tally

WORDS = st.text("abé z手", min_size=1, max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(words=st.lists(WORDS, max_size=60), max_types=st.integers(1, 20))
def test_a_tally_is_exact_and_sorted_at_any_bound(
    tmp_path: pathlib.Path, words: list[str], max_types: int
) -> None:
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    tally = Tally(str(folder), "words", max_types)
    for word in words:
        tally.add(word)
    expected = sorted(set(words), key=str.encode)
    assert list(tally.items()) == [(word, words.count(word)) for word in expected]
    assert list(tally.items()) == [(word, words.count(word)) for word in expected]
    assert tally.total == len(words)


def test_more_runs_than_are_merged_at_once_are_merged_in_turns(tmp_path: pathlib.Path) -> None:
    tally = Tally(str(tmp_path), "words", 1)
    for number in range(200):
        tally.add(f"{number % 7}", number)
    assert [key for key, _ in tally.items()] == list("0123456")
    assert sum(count for _, count in tally.items()) == sum(range(200))


def test_a_table_keeps_the_first_value_by_bytes(tmp_path: pathlib.Path) -> None:
    for max_types in (1, 100):
        table = SortedTable(str(tmp_path), f"table-{max_types}", max_types)
        for key, value in (("b", "y"), ("a", "z"), ("b", "x"), ("b", "z")):
            table.add(key, value)
        assert list(table.items()) == [("a", "z"), ("b", "x")]
