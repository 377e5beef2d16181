"""Which queries a text contains: one automaton over all patterns, searched once for many texts."""

from collections.abc import Iterator, Sequence
from typing import Literal

import ahocorasick_rs
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.queries.match_form import SEPARATOR, Case, as_pattern, match_forms, normalise_v1_all

Mode = Literal["openwit", "metaclip-v1"]
JOINED_CHARS = 1 << 16
"""Characters searched at once; bounds the matches in memory: "a a a" has one for each a."""


class Matcher:
    """Finds the queries of a list in texts; built once per process."""

    def __init__(
        self, queries: Sequence[str], *, mode: Mode = "openwit", case: Case = "sensitive"
    ) -> None:
        """Build the automaton.

        Args:
            queries: by id; those that can never match take no part.
            mode: `openwit` compares `match_form`s, `metaclip-v1` the published spacing.
            case: for `openwit` only.

        Raises:
            ValueError: if `case` does not go with `mode`.
        """
        if mode == "metaclip-v1" and case != "sensitive":
            raise ValueError(f"case must be 'sensitive' in mode metaclip-v1, got {case!r}")
        self._mode, self._case = mode, case
        ids_of: dict[str, list[int]] = {}
        for query_id, wanted in enumerate(self._patterns(queries)):
            if wanted and SEPARATOR not in wanted:
                ids_of.setdefault(wanted, []).append(query_id)
        self._automaton = ahocorasick_rs.BytesAhoCorasick(
            [wanted.encode() for wanted in ids_of],
            matchkind=ahocorasick_rs.MatchKind.Standard,  # the only kind that can overlap
        )
        counts = np.array([len(ids) for ids in ids_of.values()], np.int64)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._ids = np.array([query for ids in ids_of.values() for query in ids], np.int64)

    def match(self, texts: pa.Array) -> pa.ListArray:
        """Return the ids of the queries in each text, ascending, each once.

        Args:
            texts: strings without nulls; a text that comes twice is searched once.

        Returns:
            As many lists of int32 as texts.
        """
        distinct = texts.dictionary_encode()
        forms = distinct.dictionary.to_pylist()
        found = [self._search(forms[start:stop], start) for start, stop in _joined(forms)]
        keys = np.concatenate(found) if found else np.zeros(0, np.int64)
        counts = np.bincount(keys >> 32, minlength=len(forms))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        ids = (keys & 0xFFFFFFFF).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids)).take(distinct.indices)

    def _patterns(self, queries: Sequence[str]) -> Iterator[str]:
        """Yield what is looked for, by query id; empty for what can never match."""
        for start, stop in _joined(queries):
            if self._mode == "metaclip-v1":
                yield from (f" {query} " for query in queries[start:stop])
            else:
                forms = match_forms(queries[start:stop], self._case)
                yield from map(as_pattern, forms.split(SEPARATOR))

    def _search(self, texts: list[str], first: int) -> NDArray[np.int64]:
        """Return `row << 32 | query id` of every match, ascending; rows count from `first`."""
        if self._mode == "metaclip-v1":
            data = normalise_v1_all(texts).encode()
        else:
            data = match_forms(texts, self._case).encode()
        matches = self._automaton.find_matches_as_indexes(data, overlapping=True)
        table = np.array(matches, np.int64).reshape(-1, 3)
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord(SEPARATOR))
        rows = np.searchsorted(ends, table[:, 1]) + first
        # One pattern can stand for many queries, such as "U.S." and "U.S .".
        starts = self._starts[table[:, 0]]
        counts = self._starts[table[:, 0] + 1] - starts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        ids = self._ids[np.repeat(starts, counts) + within]
        return np.unique(np.repeat(rows, counts) << 32 | ids)


def _joined(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of runs of texts with about `JOINED_CHARS` characters."""
    start = size = 0
    for stop, text in enumerate(texts, 1):
        size += len(text)
        if size >= JOINED_CHARS or stop == len(texts):
            yield start, stop
            start, size = stop, 0
