import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.format.naming import format_key, parse_key, path_problem, shard_name


@given(st.integers(0, 10**9 - 1))
def test_keys_are_read_back(number: int) -> None:
    assert parse_key(format_key(number)) == number


@pytest.mark.parametrize("number", [-1, 10**9])
def test_a_number_that_needs_more_digits_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="key must be from 0 to 999999999"):
        format_key(number)


@pytest.mark.parametrize("key", ["", "12", "0000000000", "00000000a", "\u0660" * 9, "000000000\n"])
def test_a_key_is_nine_ascii_digits(key: str) -> None:
    with pytest.raises(ValueError, match="key must be 9 digits"):
        parse_key(key)


@pytest.mark.parametrize(
    "path",
    [shard_name(3, "tar"), "queries.parquet", "ledger/match-00000.parquet", "ä/b c:d"],
)
def test_paths_inside_the_dataset_are_allowed(path: str) -> None:
    assert path_problem(path) is None


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/etc/passwd", "empty part"),
        ("../x", "'..'"),
        ("a/../../x", "'..'"),
        ("a//b", "empty part"),
        ("./a", "'.'"),
        ("", "empty part"),
        ("a/", "empty part"),
        ("a\\b", "backslash"),
        ("a\nb", "control"),
        ("a\u202eb", "control"),
        ("C:/x", "':'"),
        ("file:x", "':'"),
        ("cafe\u0301", "NFC"),
        ("a" * 201, "longer"),
    ],
)
def test_paths_that_could_lead_out_say_why(path: str, problem: str) -> None:
    assert problem in (path_problem(path) or "")
