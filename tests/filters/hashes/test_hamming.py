import imagehash
import numpy as np
import pytest

from filters.hashes.hamming import hamming_distance, words


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
