import imagehash
import numpy as np
import pytest

from filters.hashes.hamming import hamming_distance, near_pairs, words


def test_distance_is_that_of_imagehash() -> None:
    hashes = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    found = hamming_distance(words(hashes[:32]), words(hashes[32:]))
    oracle = [imagehash.ImageHash(np.unpackbits(each).astype(bool)) for each in hashes]
    expected = [left - right for left, right in zip(oracle[:32], oracle[32:], strict=True)]
    assert found.tolist() == expected


def test_all_bits_may_differ() -> None:
    none, all_bits = np.zeros((1, 8), np.uint64), np.full((1, 8), 2**64 - 1, np.uint64)
    assert hamming_distance(none, all_bits).tolist() == [512]
    assert hamming_distance(all_bits, all_bits).tolist() == [0]


@pytest.mark.parametrize("shape", [(2, 8), (1, 4), (8,)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one shape"):
        hamming_distance(np.zeros(shape, np.uint64), np.zeros((1, 8), np.uint64))


@pytest.mark.parametrize("most", [0, 15, 64, 100, 250, 512])
def test_near_pairs_are_those_of_comparing_each_with_each(most: int) -> None:
    random = np.random.default_rng(most)
    left = random.integers(0, 256, (40, 64), dtype=np.uint8)
    right = random.integers(0, 256, (3000, 64), dtype=np.uint8)
    for row in range(40):
        flips = np.zeros(512, np.uint8)
        flips[random.permutation(512)[: 3 * row]] = 1
        right[70 * row] = left[row] ^ np.packbits(flips)
    found = set()
    for rows, others in near_pairs(words(left), words(right), most):
        found |= set(zip(rows.tolist(), others.tolist(), strict=True))
    apart = np.bitwise_count(left[:, None] ^ right).sum(axis=2, dtype=int)
    assert found == set(zip(*(side.tolist() for side in np.nonzero(apart <= most)), strict=True))


def test_nothing_is_near_to_nothing() -> None:
    none = np.zeros((0, 8), np.uint64)
    assert list(near_pairs(none, none, 64)) == []
