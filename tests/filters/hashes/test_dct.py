import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import scipy.fftpack
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from filters.hashes.dct import above_median, cosines, low_frequencies


@pytest.mark.parametrize(
    ("points", "frequencies", "entries", "total"),
    [
        (64, 16, {(1, 0): 65516, (1, 31): 1608, (15, 0): 61145, (8, 5): -36410}, 44_279_168),
        (32, 8, {(1, 0): 65457, (7, 31): -61705}, 11_457_824),
    ],
)
def test_cosines_are_the_golden_integers(
    points: int, frequencies: int, entries: dict[tuple[int, int], int], total: int
) -> None:
    table = cosines(points, frequencies)
    assert {place: int(table[place]) for place in entries} == entries
    assert int(np.abs(table).sum()) == total


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(np.uint8, st.sampled_from([(32, 32), (64, 64)])))
def test_low_frequencies_are_exact_and_close_to_scipys(pixels: NDArray[np.uint8]) -> None:
    found = low_frequencies(pixels, len(pixels) // 4)
    table = cosines(len(pixels), len(pixels) // 4).astype(np.int64).astype(object)
    exact = table @ (pixels.astype(object) - 128) @ table.T
    exact[0, 0] = int(pixels.sum()) << 32
    assert (found == exact.astype(np.float64)).all()
    assert [int(value) for value in found.ravel()] == list(exact.ravel())
    theirs = scipy.fftpack.dct(scipy.fftpack.dct(pixels.astype(float), axis=0), axis=1) / 4
    corner = theirs[: len(found), : len(found)]
    assert np.abs(found / 2.0**32 - corner).max() < 4  # 4,096 levels, each cosine off by 2^-17


@given(
    st.lists(st.integers(-(2**51), 2**51), min_size=2, max_size=64).filter(
        lambda v: len(v) % 2 == 0
    )
)
def test_above_median_agrees_with_exact_arithmetic(values: list[int]) -> None:
    bits, equal = above_median(np.array(values, np.float64))
    ordered = sorted(values)
    twice = ordered[len(values) // 2 - 1] + ordered[len(values) // 2]
    assert bits.tolist() == [2 * value > twice for value in values]
    assert equal == sum(2 * value == twice for value in values)
