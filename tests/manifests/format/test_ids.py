import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from manifests.format.ids import (
    are_first,
    are_in,
    hex_text,
    id_array,
    keyed_uniform,
    keyed_uniforms,
    pair_id,
)


def test_pair_ids_are_those_of_the_specification() -> None:
    url = "http://example.com/a.jpg"
    assert pair_id(url, "a photo of a dog").hex() == "5836a3eecff53951d31311f58fb160f1"
    assert pair_id(f"urn:sha256:{'ab' * 32}", "café").hex() == "2d82ce527288b8209181bb4785833c43"


@given(st.lists(st.none() | st.binary(min_size=3, max_size=3)), st.integers(0, 4))
def test_hex_text_is_that_of_each_value(values: list[bytes | None], start: int) -> None:
    array = pa.array(values, pa.binary(3)).slice(start)
    text = hex_text(array)
    text.validate(full=True)
    assert text.to_pylist() == [value and value.hex() for value in values[start:]]


IDS = st.lists(st.binary(min_size=16, max_size=16).map(bytes.hex), max_size=40)


@given(IDS, st.integers(0, 2**64 - 1), st.integers(0, 3))
def test_many_ids_are_read_and_hashed_like_single_ones(
    ids: list[str], seed: int, start: int
) -> None:
    column = pa.chunked_array([pa.array(ids, pa.string())]).slice(start)
    found = id_array(column)
    assert [each.decode() for each in found.tolist()] == ids[start:]
    single = [keyed_uniform(seed, bytes.fromhex(each), b"person") for each in ids[start:]]
    assert keyed_uniforms(seed, found, b"person").tolist() == single


@given(IDS, IDS)
def test_sorted_ids_are_found_among_others(ids: list[str], others: list[str]) -> None:
    left, right = (np.array(sorted(each), "S32") for each in ([*ids, *others[:3]], others))
    assert are_in(left, right).tolist() == [each in set(right.tolist()) for each in left.tolist()]
    assert left[are_first(left)].tolist() == sorted(set(left.tolist()))


def test_ids_of_other_lengths_are_read_too() -> None:
    assert id_array(pa.chunked_array([["a", "bcd", ""]])).tolist() == [b"a", b"bcd", b""]
