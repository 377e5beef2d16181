"""Band keys of hashes: near images share at least one of their keys.

The bits of a hash are cut into bands, one a table; a band's bits are the hash's key in that table.
Two hashes of 512 bits that differ in fewer bits than the keys of 16 bands that one of them emits
share a key. Keys that say nothing, those of plain areas, are not emitted.

Tables 0 to 7 are row pairs of the pHash, 8 to 15 row pairs of the dHash, 16 to 23 blocks of the
dHash (4 rows x 8 columns), 24 to 31 column pairs of the pHash.
"""

import dataclasses
import functools
import itertools

import numpy as np
from numpy.typing import NDArray

HASH_BITS = 512
DHASH_BITS = (4, 28)
"""A dHash key is emitted if it has so many bits set: plain areas give keys that say nothing.
Measured on clip art: 44.6 candidates per image without this rule, 5.75 with it."""
SHORT_HASH_BITS = 64
"""Bits of a pHash of imagehash; it stands in the last bits of an otherwise empty hash."""
MAX_SHORT_DISTANCE = 4
"""Beyond, 64 bits need hundreds of tables, and chance alone makes pairs."""
FEW_HASHES = 1_000_000
"""Up to so many, keys of 16 bits are enough for distance 3."""

_KEY_BITS = 32
_BITS_AT_ONCE = 4096  # rows whose bits are unpacked in one step: 2 MiB
_UNUSED = -1
_DHASH = np.arange(256).reshape(16, 16)
_PHASH = _DHASH + 256
_TABLE_BITS = np.concatenate(
    [
        _PHASH.reshape(8, 32),
        _DHASH.reshape(8, 32),
        _DHASH.reshape(4, 4, 2, 8).transpose(0, 2, 1, 3).reshape(8, 32),
        _PHASH.reshape(16, 8, 2).transpose(1, 0, 2).reshape(8, 32),
    ]
)


@dataclasses.dataclass(frozen=True, eq=False)
class Bands:
    """How hashes are cut into keys."""

    keys: NDArray[np.int64]
    """Shape (tables, 32): the bits of each table's key, most significant first; -1 is always 0."""
    bits: NDArray[np.int64]
    """The bits in use."""
    judged: NDArray[np.bool_]
    """Shape (tables,): whether a key of the table must have `DHASH_BITS` bits set."""
    sub_bands: int
    """Parts of the bits outside a key. Two hashes with a key in common that differ in fewer bits
    share one of them."""

    @property
    def tables(self) -> int:
        """Number of tables."""
        return len(self.keys)

    def of(self, hashes: NDArray[np.uint8]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """Return the keys of hashes and which of them are emitted.

        Whether a key is emitted depends on the key alone, so both hashes of a pair agree on it.

        Args:
            hashes: shape (n, 64); of 512 bits dHash-256, then pHash-256.

        Returns:
            Keys of shape (n, tables), and a mask of the same shape.
        """
        keys = _picked(hashes, self.keys)
        count = np.bitwise_count(keys)
        emitted = (count >= DHASH_BITS[0]) & (count <= DHASH_BITS[1])
        emitted[:, ~self.judged] = True
        return keys, emitted

    def of_table(
        self, hashes: NDArray[np.uint8], table: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return the emitted keys of one table, and the rows that emit them; see `of`."""
        one = Bands(self.keys[table : table + 1], self.bits, self.judged[[table]], self.sub_bands)
        keys, emitted = one.of(hashes)
        rows = np.flatnonzero(emitted[:, 0])
        return keys[rows, 0], rows

    def sub_keys(self, hashes: NDArray[np.uint8], table: int) -> NDArray[np.uint32]:
        """Return the bits that are not in a table's key as `sub_bands` numbers of 30 bits at most.

        Args:
            hashes: shape (n, 64).
            table: number of the table.

        Returns:
            Shape (n, sub_bands).
        """
        parts = np.array_split(np.setdiff1d(self.bits, self.keys[table]), self.sub_bands)
        return _picked(hashes, np.stack([_key(part) for part in parts]))


@functools.cache
def wide_bands(tables: int, *, judged: bool = True) -> Bands:
    """Return the bands of hashes of 512 bits.

    Args:
        tables: 16, or 32 for more recall at twice the cost.
        judged: whether keys that say nothing are left out.
    """
    is_judged = np.zeros(tables, np.bool_)
    is_judged[8:24] = judged
    return Bands(_TABLE_BITS[:tables], np.arange(HASH_BITS), is_judged, sub_bands=16)


@functools.cache
def short_bands(distance: int, *, few: bool = False) -> Bands:
    """Return bands in which all pairs of 64-bit hashes within a distance share a key.

    The bits are cut into blocks; whatever `distance` bits differ, some of the blocks are equal, and
    each choice of so many blocks is a table: 6 tables for 2, 20 for 3, 35 for 4.

    Args:
        distance: 0 to 4, bits.
        few: whether there are at most `FEW_HASHES`, for which 4 tables serve distance 3.

    Raises:
        ValueError: if the distance is another.
    """
    blocks_of = {0: (1, 1), 1: (2, 1), 2: (4, 2), 3: (4, 1) if few else (6, 3), 4: (7, 3)}
    if distance not in blocks_of:
        raise ValueError(f"distance must be 0 to {MAX_SHORT_DISTANCE}, got {distance}")
    blocks, chosen = blocks_of[distance]
    bits = np.arange(HASH_BITS - SHORT_HASH_BITS, HASH_BITS)
    parts = np.array_split(bits, blocks)
    keys = [
        _key(np.concatenate(each)[:_KEY_BITS]) for each in itertools.combinations(parts, chosen)
    ]
    return Bands(np.stack(keys), bits, np.zeros(len(keys), np.bool_), sub_bands=distance + 1)


def _key(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.full(_KEY_BITS - len(bits), _UNUSED), bits])


def _picked(hashes: NDArray[np.uint8], bits: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return the named bits, shape (m, 32), of each hash as shape (n, m) numbers of 32 bits."""
    found = np.empty((len(hashes), len(bits)), np.uint32)
    # Whole words of the hash need no unpacking.
    whole = (bits[:, 0] % _KEY_BITS == 0) & (np.diff(bits, axis=1) == 1).all(axis=1)
    words = np.ascontiguousarray(hashes).view(">u4")
    found[:, whole] = words[:, bits[whole, 0] // _KEY_BITS]
    others = bits[~whole].reshape(-1)
    for start in range(0, len(hashes) if len(others) else 0, _BITS_AT_ONCE):
        unpacked = np.unpackbits(hashes[start : start + _BITS_AT_ONCE], axis=1)
        with_zero = np.concatenate([unpacked, np.zeros((len(unpacked), 1), np.uint8)], axis=1)
        packed = np.packbits(with_zero.take(others, axis=1), axis=1)
        found[start : start + _BITS_AT_ONCE, ~whole] = packed.view(">u4")
    return found
