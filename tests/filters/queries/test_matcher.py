import json
import pathlib
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.queries.match_form import match_form, normalise_v1, pattern
from filters.queries.matcher import JOINED_CHARS, Matcher, Mode

GOLDEN: dict[str, Any] = json.loads(
    (pathlib.Path(__file__).parents[2] / "golden/curation-golden.json").read_text("utf-8")
)["metaclip_v1_matching"]
ENTRIES: list[str] = GOLDEN["entries"]
OPENWIT_DIFFERS = {
    "(hairy photo)": {"photo", "hairy"},
    "St. Louis skyline": {"St. Louis"},
    "New  York": {"New York"},
    "U.S. map": {"U.S."},
    "5 p.m.": {"p.m."},
    "'photo'": {"photo"},
    "cafe\u0301": {"caf\u00e9"},
    "photo\u00a0of a": {"photo", "of", "a", "photo of a"},
}
CHARACTERS = "ab \u00e9\u0301'-.,\u2019\n\t\u5b57\u304b1"
SHORT = st.text(alphabet=CHARACTERS, min_size=1, max_size=4) | st.text(min_size=1, max_size=3)
LONG = st.text(alphabet=CHARACTERS, max_size=30) | st.text(max_size=10)


def matched(queries: list[str], text: str, mode: Mode = "openwit") -> set[str]:
    [ids] = Matcher(queries, mode=mode).match(pa.array([text])).to_pylist()
    assert ids == sorted(set(ids))
    return {queries[query] for query in ids}


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["text"])
def test_metaclip_v1_matches_as_published(case: dict[str, Any]) -> None:
    assert normalise_v1(case["text"]) == case["spaced"]
    assert matched(ENTRIES, case["text"], "metaclip-v1") == set(case["matched"])


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["text"])
def test_openwit_differs_only_where_the_specification_says(case: dict[str, Any]) -> None:
    expected = OPENWIT_DIFFERS.get(case["text"], set(case["matched"]))
    assert matched(ENTRIES, case["text"]) == expected


def test_every_case_that_differs_is_among_the_golden_ones() -> None:
    assert set(OPENWIT_DIFFERS) <= {case["text"] for case in GOLDEN["cases"]}


@pytest.mark.parametrize(
    ("queries", "text", "expected"),
    [
        (
            ["iPhone", "\u624b\u673a", "\u673a", "phone"],
            "iPhone\u624b\u673a\u58f3",
            {"iPhone", "\u624b\u673a", "\u673a"},
        ),
        (["2020", "\u5e74", "20"], "2020\u5e74", {"2020", "\u5e74"}),
        (["AT&T", "AT", "T", "&T"], "AT&T store", {"AT&T", "AT", "T", "&T"}),
        (["don't"], "I don\u2019t", {"don't"}),
        (["New York", "York City", "York"], "New York City", {"New York", "York City", "York"}),
        (["U.S.", "U.S ."], "the U.S.", {"U.S.", "U.S ."}),
        (["Dog"], "dog", set()),
    ],
)
def test_openwit_matches(queries: list[str], text: str, expected: set[str]) -> None:
    assert matched(queries, text) == expected


def test_fold_matches_without_case() -> None:
    found = Matcher(["DOG"], case="fold").match(pa.array(["a dog"]))
    assert found.to_pylist() == [[0]]


def test_fold_is_refused_where_it_does_not_exist() -> None:
    with pytest.raises(ValueError, match="case must be 'sensitive'"):
        Matcher(["a"], mode="metaclip-v1", case="fold")


@pytest.mark.parametrize("mode", ["openwit", "metaclip-v1"])
@given(queries=st.lists(SHORT, max_size=8), texts=st.lists(LONG, max_size=6))
def test_the_automaton_equals_a_loop_over_substrings(
    mode: Mode, queries: list[str], texts: list[str]
) -> None:
    found = Matcher(queries, mode=mode).match(pa.array([*texts, *texts], pa.string()))
    if mode == "openwit":
        wanted, forms = [pattern(query) for query in queries], [match_form(t) for t in texts]
    else:
        wanted, forms = [f" {query} " for query in queries], [normalise_v1(t) for t in texts]
    expected = [[i for i, each in enumerate(wanted) if each and each in form] for form in forms]
    assert found.to_pylist() == expected * 2
    assert found.type == pa.list_(pa.int32())


def test_many_texts_are_searched_in_runs() -> None:
    texts = [f"{number} {'x' * 997}" for number in range(3 * JOINED_CHARS // 1000)]
    found = Matcher([str(number) for number in range(len(texts))]).match(pa.array(texts))
    assert found.to_pylist() == [[number] for number in range(len(texts))]


def test_no_text_gives_no_list() -> None:
    assert Matcher(["a"]).match(pa.array([], pa.string())).to_pylist() == []


def test_a_slice_of_a_column_is_read_from_its_own_start() -> None:
    texts = pa.array(["a", "b", "a b", "c"])[1:3]
    assert Matcher(["a", "b"]).match(texts).to_pylist() == [[1], [0, 1]]
