import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from manifests.format.ids import hex_text, pair_id


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
