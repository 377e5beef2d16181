import collections
import itertools
import pathlib
import random

import numpy as np
import pyarrow as pa
import pytest

from pipeline.queries import bigrams
from pipeline.queries.bigrams import (
    PairTally,
    Vocabulary,
    best_bigrams,
    count_pairs,
    npmi,
    pmi,
    vocabulary_bounds,
    write_vocabulary,
)
from pipeline.queries.corpus import write_block
from pipeline.queries.settings import QueriesSettings
from pipeline.queries.thresholds import thresholds_for


def test_scores_have_their_published_values() -> None:
    assert round(pmi(3, 3, 3, 7), 6) == 1.222392
    assert round(npmi(3, 3, 3, 7), 6) == 1.0


def test_a_vocabulary_numbers_its_words_and_no_others(tmp_path: pathlib.Path) -> None:
    write_vocabulary([("a", 3), ("b", 2), ("ü", 1)], str(tmp_path))
    vocabulary = Vocabulary(str(tmp_path))
    assert vocabulary.numbers(pa.array(["ü", "x", "a", "b", ""])).tolist() == [2, -1, 0, 1, -1]
    assert vocabulary.counts.tolist() == [3, 2, 1]


def test_an_empty_vocabulary_knows_no_word(tmp_path: pathlib.Path) -> None:
    write_vocabulary([], str(tmp_path))
    assert Vocabulary(str(tmp_path)).numbers(pa.array(["a"])).tolist() == [-1]


def test_words_with_equal_hashes_stay_apart(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weak(words: list[str], salt: int) -> np.ndarray:
        return np.array([ord(word[0]) % (3 if salt < 2 else 1000) for word in words], np.uint64)

    monkeypatch.setattr(bigrams, "_hashes", weak)
    write_vocabulary([("a", 1), ("d", 1), ("e", 1)], str(tmp_path))
    vocabulary = Vocabulary(str(tmp_path))
    assert vocabulary.numbers(pa.array(["e", "d", "a", "aa"])).tolist() == [2, 1, 0, -1]


@pytest.mark.parametrize("max_types", [1, 7, 50, 10_000])
def test_pairs_are_counted_exactly_at_any_bound(tmp_path: pathlib.Path, max_types: int) -> None:
    random_words = random.Random(0)  # noqa: S311 (no secret)
    words = [chr(97 + index) for index in range(20)]
    write_vocabulary(((word, 1) for word in words[:15]), str(tmp_path))
    tally = PairTally(str(tmp_path), max_types)
    expected: collections.Counter[tuple[int, int]] = collections.Counter()
    for number in range(12):
        ids = [random_words.randrange(-1, 20) for _ in range(80)]
        path = str(tmp_path / f"block-{number}")
        write_block(path, words, np.array(ids, np.int32))
        tally.add(count_pairs(str(tmp_path), path))
        expected.update(
            pair for pair in itertools.pairwise(ids) if all(0 <= each < 15 for each in pair)
        )
    found = [
        ((int(key) >> 32, int(key) & 0xFFFFFFFF), int(count))
        for keys, counts in tally.items()
        for key, count in zip(keys, counts, strict=True)
    ]
    assert found == sorted(expected.items())


def test_the_bounds_of_the_vocabulary_lose_no_bigram() -> None:
    thresholds = thresholds_for(QueriesSettings(profile="metaclip", scale="off"), 2**33)
    least, most = vocabulary_bounds(thresholds, 2**33)
    assert least == 1
    assert 8 <= most < 8.1
    assert pmi(8, 8, 8, 2**33) == 30


def test_bigrams_are_ranked_by_score_then_count_then_bytes(tmp_path: pathlib.Path) -> None:
    words = [("a", 4), ("b", 4), ("c", 4), ("d", 4), ("e", 2), ("f", 2)]
    write_vocabulary(words, str(tmp_path))
    block = "cd cd cd cd ab ab ab ab ef ef".replace(" ", "-").replace("-", "|")
    ids = [-1 if letter == "|" else ord(letter) - 97 for letter in block]
    path = str(tmp_path / "block")
    write_block(path, [word for word, _ in words], np.array(ids, np.int32))
    tally = PairTally(str(tmp_path), 100)
    tally.add(count_pairs(str(tmp_path), path))
    settings = QueriesSettings(bigram_min_count=1, bigram_max=2, scale="off")
    thresholds = thresholds_for(settings, 20)
    best, passed = best_bigrams(tally, Vocabulary(str(tmp_path)), thresholds, 20)
    assert [(each.query, each.count, each.score) for each in best] == [
        ("a b", 4, 1.0),
        ("c d", 4, 1.0),
    ]
    assert passed == 3
