import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.consent.content_usage import MAX_CHARACTERS, disallowed

KEYS = ("train-ai",)


@pytest.mark.parametrize(
    "value",
    [
        "train-ai=n",
        "train-ai=n;x=1",
        "search=y, train-ai=n",
        "train-ai=n \t,\t search=y",
        '  a=(1 "x";y tok), b=:aGk=:, c=?0;d, e=-1.5, f=@12, g=%"%c3%bc", train-ai=n  ',
        "train-ai=y, train-ai=n",
    ],
)
def test_the_token_n_disallows(value: str) -> None:
    assert disallowed([value], KEYS) == ["train-ai"]


@pytest.mark.parametrize(
    "value",
    [
        "train-ai=y, train-ai, search=n",
        'train-ai="n"',
        "Train-AI=n",
        "train-ai= n",
        "train-ai=y",
        "train-ai=n, train-ai=y",
        "train-ai=no",
        "train-ai=(n)",
        "train-ai=?0",
        "",
    ],
)
def test_everything_else_says_nothing(value: str) -> None:
    assert disallowed([value], KEYS) == []


@pytest.mark.parametrize(
    "fault",
    [
        ",",
        "=n",
        "a b",
        "a=1,",
        "a,,b",
        "a=(1",
        "a=(1,2)",
        'a=(1"x")',
        'a="x',
        'a="\x80"',
        "a=1.",
        "a=1.2345",
        "a=1234567890123456",
        "a=?2",
        "a=:-:",
        "a;=1",
        "a;B=1",
        "a=\u00fc",
    ],
)
def test_a_fault_anywhere_makes_the_whole_field_unknown(fault: str) -> None:
    assert disallowed(["train-ai=n"], KEYS) == ["train-ai"]
    assert disallowed(["train-ai=n", fault], KEYS) == []


def test_repeated_fields_are_one_dictionary() -> None:
    assert disallowed(["search=n", "train-ai=n;a"], ("train-ai", "search")) == [
        "train-ai",
        "search",
    ]


def test_a_field_of_absurd_length_says_nothing() -> None:
    assert disallowed(["train-ai=n, " + "a" * MAX_CHARACTERS], KEYS) == []


@given(st.text('train-ai=ny,;()?:@%"\\ \t1.*\x00\u00fc', max_size=60))
def test_no_text_raises(value: str) -> None:
    assert disallowed([value], KEYS) in ([], ["train-ai"])


@pytest.mark.parametrize("piece", ["a=(", "a;", "a=(1 ", ",", "a,", '"', "(" * 9, "a;b=1 "])
def test_the_longest_field_costs_little(piece: str) -> None:
    start = time.process_time()
    disallowed([piece * (MAX_CHARACTERS // len(piece))], KEYS)
    assert time.process_time() - start < 0.5
