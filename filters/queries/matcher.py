"""Which queries a text contains: phrases of tokens in a trie, other patterns in an automaton."""

from collections.abc import Iterator, Sequence
from typing import Literal

import ahocorasick_rs
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.queries.match_form import SEPARATOR, Case, as_pattern, has_unspaced
from filters.queries.phrases import Phrases, Tokens
from filters.queries.tokens import form_tokens, forms_of, split_tokens, v1_tokens

Mode = Literal["openwit", "metaclip-v1"]
JOINED_CHARS = 1 << 18
"""Characters searched at once; bounds the matches in memory: "a a a" has one for each a."""


class Matcher:
    """Finds the queries of a list in texts; built once per process.

    A pattern between two blanks is a sequence of tokens. Scripts that are written without blanks
    have patterns without them: those are looked for as substrings, in the texts of such scripts.
    """

    def __init__(
        self,
        queries: Sequence[str],
        *,
        ids: Sequence[int] | None = None,
        mode: Mode = "openwit",
        case: Case = "sensitive",
    ) -> None:
        """Build trie and automaton.

        Args:
            queries: those that can never match take no part.
            ids: of the queries, ascending; their positions if not given.
            mode: `openwit` compares `match_form`s, `metaclip-v1` the published spacing.
            case: for `openwit` only.

        Raises:
            ValueError: if `case` does not go with `mode`.
        """
        if mode == "metaclip-v1" and case != "sensitive":
            raise ValueError(f"case must be 'sensitive' in mode metaclip-v1, got {case!r}")
        self._mode, self._case = mode, case
        numbers = np.arange(len(queries)) if ids is None else np.array(ids, np.int64)
        if mode == "metaclip-v1":
            usable = [place for place, query in enumerate(queries) if SEPARATOR not in query]
            tokens = split_tokens([queries[place] for place in usable])
            self._unspaced = _Substrings([], numbers[:0])
        else:
            forms = forms_of(queries, case)
            patterns = [as_pattern(form) if has_unspaced(form) else " " for form in forms]
            is_bounded = [each[:1] == each[-1:] == " " for each in patterns]
            others = [place for place, bounded in enumerate(is_bounded) if not bounded]
            self._unspaced = _Substrings([patterns[place] for place in others], numbers[others])
            usable = [place for place, bounded in enumerate(is_bounded) if bounded]
            tokens = form_tokens([forms[place] for place in usable], case)
        self._phrases = Phrases(tokens, len(usable))
        self._ids = numbers[usable]

    def match(self, texts: pa.Array) -> pa.ListArray:
        """Return the ids of the queries in each text, ascending, each once.

        Args:
            texts: strings without nulls; a text that comes twice is searched once.

        Returns:
            As many lists of int32 as texts.
        """
        distinct = texts.dictionary_encode()
        forms = distinct.dictionary.to_pylist()
        found = [self._search(forms[start:stop], start) for start, stop in _runs(forms)]
        keys = np.concatenate(found) if found else np.zeros(0, np.int64)
        counts = np.bincount(keys >> 32, minlength=len(forms))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        ids = (keys & 0xFFFFFFFF).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))
        return lists if len(forms) == len(texts) else lists.take(distinct.indices)

    def _search(self, texts: list[str], first: int) -> NDArray[np.int64]:
        """Return `row << 32 | query id` of every match, ascending; rows count from `first`."""
        if self._mode == "metaclip-v1":
            return _sorted_keys(first, [self._find_phrases(v1_tokens(texts))])
        forms = forms_of(texts, self._case)
        found = self._find_phrases(form_tokens(forms, self._case))
        return _sorted_keys(first, [found, self._unspaced.find(forms)])

    def _find_phrases(self, tokens: Tokens) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows, phrases = self._phrases.search(tokens)
        return rows, self._ids[phrases]


class _Substrings:
    """Patterns looked for as they are, by one automaton over the joined texts."""

    def __init__(self, patterns: Sequence[str], ids: NDArray[np.int64]) -> None:
        ids_of: dict[str, list[int]] = {}
        for pattern, query in zip(patterns, ids.tolist(), strict=True):
            ids_of.setdefault(pattern, []).append(query)
        self._ids_of = [np.array(each, np.int64) for each in ids_of.values()]
        self._automaton = ahocorasick_rs.BytesAhoCorasick(
            [pattern.encode() for pattern in ids_of],
            matchkind=ahocorasick_rs.MatchKind.Standard,  # the only kind that can overlap
        )

    def find(self, forms: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (row, query id) of every match."""
        rows = [row for row, form in enumerate(forms) if self._ids_of and has_unspaced(form)]
        data = SEPARATOR.join([forms[row] for row in rows]).encode()
        matches = self._automaton.find_matches_as_indexes(data, overlapping=True) if rows else []
        if not matches:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord(SEPARATOR))
        at = np.array(rows)[np.searchsorted(ends, [start for _, start, _ in matches])]
        ids = [self._ids_of[pattern] for pattern, _, _ in matches]
        return np.repeat(at, [len(each) for each in ids]), np.concatenate(ids)


def _sorted_keys(
    first: int, found: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> NDArray[np.int64]:
    keys = np.concatenate([rows + first << 32 | ids for rows, ids in found])
    keys.sort()
    is_new = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=is_new[1:])
    return keys[is_new]


def _runs(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of runs of texts with about `JOINED_CHARS` characters."""
    start = size = 0
    for stop, text in enumerate(texts, 1):
        size += len(text)
        if size >= JOINED_CHARS or stop == len(texts):
            yield start, stop
            start, size = stop, 0
