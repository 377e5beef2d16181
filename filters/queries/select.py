"""Which query selects which pair: keyed hashes against thresholds, all in exact integers.

A query with threshold theta selects a pair iff u(pair, query) <= theta; a pair is kept iff one of
its queries selects it. The cap is that of the CLIP paper, section 2.2, in the form of MetaCLIP.
"""

import bisect
import hashlib
from collections.abc import Iterable, MutableSequence, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

ALL = 2**64 - 1
"""The threshold of a query that selects all its pairs."""


def query_key(lang: str, query: str) -> bytes:
    """Return the 16 bytes that name a query across lists."""
    return hashlib.blake2b(f"{lang}\0{query}".encode(), digest_size=16).digest()


class QueryKeys:
    """The `query_key` of each query of a list, by id; 16 bytes a query."""

    def __init__(self, queries: Iterable[tuple[str, str]]) -> None:
        """Hash the queries of a list, given as (language, query) in its order."""
        data = bytearray()
        for lang, query in queries:
            data += query_key(lang, query)
        self.array = np.frombuffer(data, np.uint8).reshape(-1, 16)
        """The keys as bytes, shape (queries, 16)."""

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, query_id: int) -> bytes:
        return self.array[query_id].tobytes()


class PairHash:
    """u(pair, query): unsigned 64-bit, uniform, the same in every run with one seed."""

    def __init__(self, seed: int) -> None:
        """Prepare the keyed state once; a hash copies it."""
        key = f"openwit-select:{seed}".encode("ascii")
        self._state = hashlib.blake2b(digest_size=8, key=key)

    def __call__(self, pair_id: bytes, key: bytes) -> int:
        """Return u of a pair id and a `query_key`."""
        state = self._state.copy()
        state.update(pair_id + key)
        return int.from_bytes(state.digest(), "big")

    def digests(self, messages: NDArray[np.uint8]) -> bytes:
        """Return u of each message, 8 bytes each, big-endian.

        Args:
            messages: shape (n, 32), contiguous: pair ids with a `query_key` behind each.
        """
        copy, found = self._state.copy, []
        for message in messages.view("V32").reshape(-1).tolist():  # as bytes
            state = copy()
            state.update(message)
            found.append(state.digest())
        return b"".join(found)


class StrictOrder:
    """v(pair): the place of a pair in the order in which the strict rule asks for pairs."""

    def __init__(self, seed: int) -> None:
        """Prepare the keyed state once."""
        key = f"openwit-strict:{seed}".encode("ascii")
        self._state = hashlib.blake2b(digest_size=8, key=key)

    def __call__(self, pair_id: bytes) -> int:
        """Return v of a pair id."""
        state = self._state.copy()
        state.update(pair_id)
        return int.from_bytes(state.digest(), "big")


def take_room(queries: Sequence[int], room: MutableSequence[int]) -> int | None:
    """Take one place of each query of a pair, or none and return the first query that is full.

    Args:
        queries: of the pair, ascending.
        room: places left, by query.
    """
    full = next((query for query in queries if not room[query]), None)
    if full is None:
        for query in queries:
            room[query] -= 1
    return full


def widened_cap(cap: int, expected_yield: Fraction) -> int:
    """Return how many pairs to fetch so that about `cap` survive."""
    return -(-cap * expected_yield.denominator // expected_yield.numerator)


def share_threshold(pairs: int, cap: int) -> int:
    """Return the threshold under which about `cap` of `pairs` pairs fall."""
    return ALL if pairs <= cap else (cap << 64) // pairs - 1


def narrowed_threshold(theta: int, survivors: int, cap: int) -> int:
    """Return the threshold that keeps about `cap` of the `survivors` at or below `theta`."""
    return theta if survivors <= cap else (theta + 1) * cap // survivors - 1


def exact_threshold(hashes: Sequence[int], cap: int) -> int:
    """Return the greatest hash with at most `cap` at or below it, or one below the smallest.

    Args:
        hashes: of all pairs of one query, more than `cap`, ascending; ties are possible.
        cap: at least 1.

    Raises:
        ValueError: if more than `cap` hashes are 0; no threshold excludes those.
    """
    theta = hashes[cap - 1]
    if bisect.bisect_right(hashes, theta) <= cap:
        return theta
    first = bisect.bisect_left(hashes, theta)
    if not first and not theta:
        raise ValueError(f"hashes must hold at most {cap} zeros, got more")
    return hashes[first - 1] if first else theta - 1


def smallest_cap(u: int, pairs: int) -> int:
    """Return the smallest cap at which a query with that many pairs would select this one."""
    return (u * pairs >> 64) + 1


def tail_share(counts: Sequence[int], cap: int) -> Fraction:
    """Return the share of all matches that belongs to queries below the cap (t_to_p).

    Args:
        counts: pairs of each query, at least one pair in all; so below.
        cap: pairs per query.
    """
    return Fraction(sum(count for count in counts if count < cap), sum(counts))


def cap_from_tail(counts: Sequence[int], share: Fraction) -> int:
    """Return the largest cap whose tail share is at most `share` < 1: `tail_share`'s inverse."""
    allowed = share * sum(counts)
    tail = 0
    for count in sorted(counts):
        if tail + count > allowed:
            return count
        tail += count
    return max(counts) + 1


def nearest_cap(counts: Sequence[int], share: Fraction) -> int:
    """Return the count at which the cumulative share is nearest to `share` (p_to_t, no inverse)."""
    total = sum(counts)
    best, best_gap, tail = 0, Fraction(2), 0
    for count in sorted(counts):
        tail += count
        gap = abs(Fraction(tail, total) - share)
        if gap < best_gap:
            best, best_gap = count, gap
    return best
