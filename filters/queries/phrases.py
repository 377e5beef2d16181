"""Phrases looked up as token numbers in a trie: exact sets, searched with numpy for many texts."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NONE = -1
"""No token, no node, no entry."""
WORD_BYTES = 8
_MASKS = np.array([2 ** (8 * size) - 1 for size in range(WORD_BYTES + 1)], np.uint64)


class Tokens(NamedTuple):
    """The tokens of many texts, in order."""

    data: bytes
    """Holds the tokens, and `WORD_BYTES` bytes of any kind behind the last one."""
    starts: NDArray[np.int64]
    """Shape (tokens,): where each begins, bytes."""
    lengths: NDArray[np.int64]
    """Shape (tokens,), bytes."""
    rows: NDArray[np.int64]
    """Shape (tokens,), ascending: the text that each belongs to."""


class Phrases:
    """A trie of token sequences; a phrase is in a text where its tokens follow one another."""

    def __init__(self, phrases: Tokens, count: int) -> None:
        """Build the trie.

        Args:
            phrases: the tokens of each phrase; equal phrases share a node.
            count: number of phrases; those without tokens are in no text.
        """
        self._vocabulary = _Vocabulary(phrases)
        tokens = self._vocabulary.numbers(phrases)
        firsts = np.searchsorted(phrases.rows, np.arange(count))
        ends = self._grow(tokens, firsts, np.bincount(phrases.rows, minlength=count))
        order = np.argsort(ends, kind="stable")
        order = order[np.searchsorted(ends[order], 0) :]
        self._ids = order.astype(np.int32)
        counts = np.bincount(ends[order], minlength=self._nodes)
        self._bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)

    def search(self, texts: Tokens) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return (row, phrase) of each place where a phrase begins, in no order."""
        tokens = self._vocabulary.numbers(texts)
        following = np.append(tokens[1:], NONE)  # no phrase goes on behind the end of its text
        following[np.flatnonzero(texts.rows[1:] != texts.rows[:-1])] = NONE
        nodes = self._roots[tokens]
        places = np.flatnonzero(nodes != NONE)
        nodes = nodes[places]
        ends: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []
        while len(places):
            is_end = np.flatnonzero(self._bounds[nodes + 1] != self._bounds[nodes])
            ends.append((places[is_end], nodes[is_end]))
            goes_on = np.flatnonzero(self._is_inner[nodes] & (following[places] != NONE))
            places, nodes = places[goes_on], nodes[goes_on]
            children = self._edges.find(_edge(nodes, following[places]))
            goes_on = np.flatnonzero(children != NONE)
            places = places[goes_on] + 1
            nodes = children[goes_on] + np.int32(self._first_child)
        rows = texts.rows[np.concatenate([each for each, _ in ends] or [places])]
        return self._phrases_at(rows, np.concatenate([each for _, each in ends] or [nodes]))

    def _phrases_at(
        self, rows: NDArray[np.int64], nodes: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return (row, phrase) for each phrase that ends in each node."""
        starts = self._bounds[nodes]
        counts = self._bounds[nodes + 1] - starts
        if (counts == 1).all():
            return rows, self._ids[starts]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(rows, counts), self._ids[np.repeat(starts, counts) + within]

    def _grow(
        self, tokens: NDArray[np.int32], firsts: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Make the nodes, level by level, and return the node in which each phrase ends."""
        ends = np.full(len(firsts), NONE, np.int64)
        at = np.zeros(len(firsts), np.int32)
        active = np.flatnonzero(sizes > 0)
        levels: list[NDArray[np.uint64]] = []
        self._nodes = depth = 0
        while len(active):
            edges = _edge(at[active], tokens[firsts[active] + depth])
            distinct, places = np.unique(edges, return_inverse=True)
            at[active] = self._nodes + places
            levels.append(distinct)
            self._nodes += len(distinct)
            depth += 1
            is_last = sizes[active] == depth
            ends[active[is_last]] = at[active[is_last]]
            active = active[~is_last]
        roots = (levels or [np.zeros(0, np.uint64)])[0]
        self._first_child = len(roots)
        self._roots = np.full(len(self._vocabulary) + 1, NONE, np.int32)  # the last one is of NONE
        self._roots[roots.astype(np.int64)] = np.arange(len(roots), dtype=np.int32)
        edges = np.concatenate([*levels[1:], np.zeros(0, np.uint64)])
        self._edges = _Table(edges)
        self._is_inner = np.zeros(self._nodes + 1, np.bool_)
        self._is_inner[(edges >> np.uint64(32)).astype(np.int64)] = True
        return ends


def _edge(nodes: NDArray[np.int32], tokens: NDArray[np.int32]) -> NDArray[np.uint64]:
    return nodes.astype(np.uint64) << np.uint64(32) | tokens.astype(np.uint64)


class _Vocabulary:
    """Numbers of tokens: found by hash, compared by bytes."""

    def __init__(self, phrases: Tokens) -> None:
        self._tokens = Tokens(b"", *[np.zeros(0, np.int64)] * 3)
        self._longest = int(phrases.lengths.max(initial=0))
        self._salt = np.uint64(0)
        while True:  # until no two tokens of the vocabulary have one hash
            hashes, heads = self._hash(phrases)
            distinct, places = np.unique(hashes, return_index=True)
            self._take(phrases, places, heads[places])
            self._table = _Table(distinct)
            if NONE not in self.numbers(phrases):
                break
            self._salt += np.uint64(1)

    def __len__(self) -> int:
        return len(self._heads)

    def numbers(self, texts: Tokens) -> NDArray[np.int32]:
        """Return the number of each token, `NONE` if it is not in the vocabulary."""
        hashes, heads = self._hash(texts)
        found = self._table.find(hashes)
        lengths = texts.lengths
        if not len(self):
            return found
        is_same = (self._heads[found] == heads) & (self._tokens.lengths[found] == lengths)
        found = np.where(is_same, found, np.int32(NONE))
        at, offset = np.flatnonzero((lengths > WORD_BYTES) & (found != NONE)), WORD_BYTES
        while len(at):
            ours, theirs = self._tokens.starts[found[at]] + offset, texts.starts[at] + offset
            rest = lengths[at] - offset
            is_same = _load(self._tokens.data, ours, rest) == _load(texts.data, theirs, rest)
            found[at[~is_same]] = NONE
            offset += WORD_BYTES
            at = at[is_same & (rest > WORD_BYTES)]
        return found

    def _take(self, phrases: Tokens, places: NDArray[np.int64], heads: NDArray[np.uint64]) -> None:
        lengths = phrases.lengths[places]
        spans = zip(phrases.starts[places].tolist(), lengths.tolist(), strict=True)
        data = b"".join([phrases.data[start : start + length] for start, length in spans])
        starts = np.cumsum(lengths) - lengths
        self._tokens = Tokens(data + bytes(WORD_BYTES), starts, lengths, starts)
        self._heads = heads

    def _hash(self, texts: Tokens) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the hash of each token, and its first bytes."""
        lengths = texts.lengths
        heads = _load(texts.data, texts.starts, lengths)
        hashes = _mixed(heads + self._salt ^ lengths.astype(np.uint64) << np.uint64(56))
        at, offset = np.flatnonzero(lengths > WORD_BYTES), WORD_BYTES
        at = at[lengths[at] <= self._longest]  # a longer one is not in the vocabulary
        while len(at):
            rest = lengths[at] - offset
            hashes[at] = _mixed(hashes[at] ^ _load(texts.data, texts.starts[at] + offset, rest))
            offset += WORD_BYTES
            at = at[rest > WORD_BYTES]
        return hashes, heads


class _Table:
    """Places of distinct 64-bit keys, by open addressing."""

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self._keys = keys if len(keys) else np.zeros(1, np.uint64)
        bits = max(1, (4 * len(keys)).bit_length())  # a quarter to an eighth of the slots are full
        self._shift = np.uint64(64 - bits)
        self._slots = np.full(1 << bits, NONE, np.int32)
        pending = np.arange(len(keys), dtype=np.int32)
        slots = self._slot(keys)
        while len(pending):
            is_free = self._slots[slots] == NONE
            self._slots[slots[is_free]] = pending[is_free]
            is_left = self._slots[slots] != pending
            pending, slots = pending[is_left], self._next(slots[is_left])

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Return the place of each key, or `NONE`."""
        slots = self._slot(keys)
        found = self._slots[slots]
        wrong = np.flatnonzero((self._keys[found] != keys) & (found != NONE))
        slots = slots[wrong]
        while len(wrong):
            slots = self._next(slots)
            found[wrong] = places = self._slots[slots]
            is_wrong = (self._keys[places] != keys[wrong]) & (places != NONE)
            wrong, slots = wrong[is_wrong], slots[is_wrong]
        return found

    def _slot(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        return (_mixed(keys) >> self._shift).astype(np.int64)

    def _next(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        return slots + 1 & len(self._slots) - 1


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return values in which each bit depends on all lower ones, and the low half on the high."""
    mixed = values * np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    return mixed


def _load(data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return up to `WORD_BYTES` bytes from each start as one number, longer spans cut."""
    words = np.ndarray((len(data) - WORD_BYTES + 1,), "<u8", data, strides=(1,))
    return words[starts] & _MASKS[np.minimum(lengths, WORD_BYTES)]
