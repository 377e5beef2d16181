"""Bigrams: pairs of word numbers counted exactly, scored, and the best kept."""

import functools
import hashlib
import heapq
import itertools
import math
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.queries.corpus import NO_WORD, read_block
from pipeline.queries.credit import Candidate
from pipeline.queries.thresholds import Thresholds

BATCH_WORDS = 65_536
Pairs = tuple[NDArray[np.uint64], NDArray[np.int64]]
"""Sorted keys (first word number << 32 | second) and how often each occurs."""


class Vocabulary:
    """Word numbers by word, in files that processes map and share."""

    def __init__(self, folder: str) -> None:
        """Map what `write_vocabulary` made."""
        with pa.memory_map(f"{folder}/words.arrow") as file:
            batch = pa.ipc.open_file(file).read_all()  # one batch, as written
        self.words = batch["word"].chunk(0) if batch.num_rows else pa.array([], pa.string())
        self.counts = batch["count"].to_numpy()
        self._hashes = np.load(f"{folder}/hashes.npy", mmap_mode="r")
        self._order = np.load(f"{folder}/order.npy", mmap_mode="r")
        self._salt = int(pathlib.Path(folder, "salt").read_text(encoding="ascii"))

    def numbers(self, words: pa.Array) -> NDArray[np.int64]:
        """Return the number of each word, -1 where it is not in the vocabulary."""
        if not len(self._hashes) or not len(words):
            return np.full(len(words), -1, np.int64)
        hashes = _hashes(words.to_pylist(), self._salt)
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        numbers = self._order[places]
        same = pc.equal(self.words.take(pa.array(numbers)), words).to_numpy(zero_copy_only=False)
        return np.where(same, numbers, -1)


def write_vocabulary(items: Iterable[tuple[str, int]], folder: str) -> None:
    """Write words and counts for `Vocabulary`; a word's number is its place in `items`."""
    words: list[pa.Array] = []
    counts: list[pa.Array] = []
    batch: list[tuple[str, int]] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH_WORDS:
            _move(batch, words, counts)
    _move(batch, words, counts)
    table = pa.table({"word": pa.concat_arrays(words), "count": pa.concat_arrays(counts)})
    with pa.ipc.new_file(f"{folder}/words.arrow", table.schema) as writer:
        writer.write_table(table)
    salt = 0
    while True:  # two words of one hash: hash all with another salt, so that the search is exact
        hashes = np.concatenate([_hashes(chunk.to_pylist(), salt) for chunk in words])
        order = np.argsort(hashes, kind="stable").astype(np.int64)
        hashes = hashes[order]
        if not (hashes[1:] == hashes[:-1]).any():
            break
        salt += 1
    np.save(f"{folder}/hashes.npy", hashes)
    np.save(f"{folder}/order.npy", order)
    pathlib.Path(folder, "salt").write_text(str(salt), encoding="ascii")


def _move(batch: list[tuple[str, int]], words: list[pa.Array], counts: list[pa.Array]) -> None:
    words.append(pa.array([word for word, _ in batch], pa.string()))
    counts.append(pa.array([count for _, count in batch], pa.int64()))
    batch.clear()


def _hashes(words: Sequence[str], salt: int) -> NDArray[np.uint64]:
    key = salt.to_bytes(8, "big")
    digests = b"".join(
        hashlib.blake2b(word.encode(), digest_size=8, key=key).digest() for word in words
    )
    return np.frombuffer(digests, ">u8").astype(np.uint64)


@functools.lru_cache(maxsize=1)
def open_vocabulary(folder: str) -> Vocabulary:
    """Return the vocabulary of a folder, mapped once per process."""
    return Vocabulary(folder)


def count_pairs(folder: str, path: str) -> Pairs:
    """Count the pairs of neighbouring words of a block that are both in the vocabulary.

    Args:
        folder: of the vocabulary.
        path: of a block, from `corpus.write_block`.
    """
    vocabulary = open_vocabulary(folder)
    words, ids = read_block(path)
    # One more place, which `NO_WORD` = -1 picks.
    numbers = np.append(vocabulary.numbers(words), NO_WORD)[ids]
    first, second = numbers[:-1], numbers[1:]
    known = (first >= 0) & (second >= 0)
    distinct, counts = np.unique(_pair_keys(first[known], second[known]), return_counts=True)
    return distinct, counts.astype(np.int64)


def listed_pairs(folder: str, bigrams: Iterable[tuple[str, str, int]]) -> Iterator[Pairs]:
    """Yield the pairs of counted bigrams of which both words are in the vocabulary."""
    vocabulary = open_vocabulary(folder)
    rest = iter(bigrams)
    while batch := list(itertools.islice(rest, BATCH_WORDS)):
        firsts, seconds = (
            vocabulary.numbers(pa.array([each[place] for each in batch], pa.string()))
            for place in (0, 1)
        )
        known = (firsts >= 0) & (seconds >= 0)
        counts = np.array([count for _, _, count in batch], np.int64)[known]
        yield _sum_pairs([(_pair_keys(firsts[known], seconds[known]), counts)])


def _pair_keys(firsts: NDArray[np.int64], seconds: NDArray[np.int64]) -> NDArray[np.uint64]:
    return firsts.astype(np.uint64) << np.uint64(32) | seconds.astype(np.uint64)


class PairTally:
    """Counts of pairs, exact; about `max_types` of them in memory, the rest in sorted files."""

    def __init__(self, folder: str, max_types: int) -> None:
        """Count nothing yet; runs go to `folder`."""
        self._folder = folder
        self._max_types = max_types
        self._pending: list[Pairs] = []
        self._size = 0
        self._runs = 0

    def add(self, pairs: Pairs) -> None:
        """Add the counts of one block."""
        self._pending.append(pairs)
        self._size += len(pairs[0])
        if self._size >= self._max_types:
            keys, counts = _sum_pairs(self._pending)
            self._pending, self._size = [(keys, counts)], len(keys)
            if self._size > self._max_types // 2:  # summing no longer helps
                np.save(f"{self._folder}/pairs-{self._runs:06d}-keys.npy", keys)
                np.save(f"{self._folder}/pairs-{self._runs:06d}-counts.npy", counts)
                self._pending, self._size, self._runs = [], 0, self._runs + 1

    def items(self) -> Iterator[Pairs]:
        """Yield all pairs in ascending order of keys, some `max_types` at a time."""
        runs = [self._open(number) for number in range(self._runs)]
        if self._pending:
            runs.append(_sum_pairs(self._pending))
        bounds = self._bounds([keys for keys, _ in runs])
        starts = [0] * len(runs)
        for bound in [*bounds, None]:
            parts: list[Pairs] = []
            for index, (keys, counts) in enumerate(runs):
                end = len(keys) if bound is None else int(np.searchsorted(keys, bound))
                parts.append((keys[starts[index] : end], counts[starts[index] : end]))
                starts[index] = end
            yield _sum_pairs(parts)

    def _open(self, number: int) -> Pairs:
        stem = f"{self._folder}/pairs-{number:06d}"
        return np.load(f"{stem}-keys.npy", mmap_mode="r"), np.load(
            f"{stem}-counts.npy", mmap_mode="r"
        )

    def _bounds(self, runs: list[NDArray[np.uint64]]) -> list[np.uint64]:
        # Every `step`-th key of each run; between two bounds lie at most about `max_types` pairs.
        if not runs:
            return []
        step = max(1, self._max_types // (2 * len(runs)))
        sample = np.sort(np.concatenate([keys[step - 1 :: step] for keys in runs]))
        return list(sample[len(runs) - 1 :: len(runs)])


def _sum_pairs(parts: Sequence[Pairs]) -> Pairs:
    keys = np.concatenate([part[0] for part in parts] or [np.zeros(0, np.uint64)])
    counts = np.concatenate([part[1] for part in parts] or [np.zeros(0, np.int64)])
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    if not len(keys):
        return keys, counts
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(counts, starts)


def pmi(both: int, first: int, second: int, words: int) -> float:
    """Return the pointwise mutual information of two words, bits.

    Args:
        both: occurrences of the bigram.
        first: occurrences of its first word.
        second: occurrences of its second word.
        words: N.
    """
    return math.log2(both * words) - math.log2(first * second)


def npmi(both: int, first: int, second: int, words: int) -> float:
    """Return the normalised pointwise mutual information, -1 to 1; arguments as for `pmi`."""
    return pmi(both, first, second, words) / -math.log2(both / words)


def vocabulary_bounds(thresholds: Thresholds, words: int) -> tuple[int, float]:
    """Return the least and the greatest count of a word that a kept bigram can have.

    A bigram occurs at most as often as its words; with a PMI of at least p, each occurs at most
    N / 2^p times.
    """
    least = int(thresholds.bigram_min_count.used or 1)
    floor = thresholds.bigram_min_pmi.used
    return least, math.inf if floor is None else words / 2 ** (floor - 1e-6)


def best_bigrams(
    tally: PairTally, vocabulary: Vocabulary, thresholds: Thresholds, words: int
) -> tuple[list[Candidate], int]:
    """Return the kept bigrams, best first, and how many passed the thresholds.

    Rank: score rounded to 6 decimals descending, count descending, UTF-8 bytes.
    """
    passed = 0

    def ranked() -> Iterator[tuple[float, int, str]]:
        nonlocal passed
        for keys, counts in tally.items():
            for score, both, text in _scored(keys, counts, vocabulary, thresholds, words):
                passed += 1
                yield -score, -both, text

    best = heapq.nsmallest(int(thresholds.bigram_max.used or 0), ranked())
    candidates = [Candidate(text, count=-both, score=-score) for score, both, text in best]
    return candidates, passed


def _scored(
    keys: NDArray[np.uint64],
    counts: NDArray[np.int64],
    vocabulary: Vocabulary,
    thresholds: Thresholds,
    words: int,
) -> Iterator[tuple[float, int, str]]:
    measure = npmi if thresholds.rank == "npmi" else pmi
    floor = thresholds.bigram_min_pmi.used
    enough = counts >= (thresholds.bigram_min_count.used or 1)
    first = (keys[enough] >> np.uint64(32)).astype(np.int64)
    second = (keys[enough] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    columns = zip(
        vocabulary.words.take(pa.array(first)).to_pylist(),
        vocabulary.words.take(pa.array(second)).to_pylist(),
        vocabulary.counts[first].tolist(),
        vocabulary.counts[second].tolist(),
        counts[enough].tolist(),
        strict=True,
    )
    for one, two, n_one, n_two, both in columns:
        if floor is None or round(pmi(both, n_one, n_two, words), 6) >= floor:
            # + 0.0 turns -0.0 into 0.0
            yield round(measure(both, n_one, n_two, words), 6) + 0.0, both, f"{one} {two}"
