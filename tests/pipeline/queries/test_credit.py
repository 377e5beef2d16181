import pytest

from pipeline.queries.credit import Candidate, Row, merge_sources, reject_reason
from pipeline.queries.settings import Profile


def _sources(rows: list[Row]) -> dict[str, tuple[str, int]]:
    return {row.query: (row.source, row.sources) for row in rows}


FOUND = {
    "unigram": [Candidate("dog", count=9), Candidate("cat", count=8)],
    "bigram": [Candidate("hot dog", count=3, score=0.5)],
    "title": [Candidate("hot dog", views=7), Candidate("Cat", views=6)],
    "wordnet": [Candidate("dog"), Candidate("hot dog"), Candidate("newt")],
    "digits": [Candidate("7")],
}


def test_the_first_source_in_the_profiles_order_is_credited() -> None:
    rows, _ = merge_sources(FOUND, "clip", 100)
    assert _sources(rows) == {
        "Cat": ("title", 8),
        "cat": ("unigram", 2),
        "dog": ("unigram", 3),
        "hot dog": ("bigram", 13),
        "newt": ("wordnet", 1),
    }
    rows, _ = merge_sources(FOUND, "metaclip", 100)
    assert _sources(rows)["hot dog"] == ("wordnet", 13)
    assert _sources(rows)["7"] == ("digits", 16)


def test_a_row_has_the_figures_of_all_its_sources() -> None:
    rows, _ = merge_sources(FOUND, "metaclip", 100)
    row = next(row for row in rows if row.query == "hot dog")
    assert (row.count, row.score, row.views) == (3, 0.5, 7)


def test_equal_forms_leave_the_first_in_credit_order_then_bytes() -> None:
    found = {
        "title": [Candidate("C++", views=2)],
        "wordnet": [Candidate("c++"), Candidate("c + +"), Candidate("C + +")],
    }
    rows, drops = merge_sources(found, "clip", 100)
    assert [row.query for row in rows] == ["C++", "c + +"]
    assert drops == {("wordnet", "equal_form"): 2}
    rows, drops = merge_sources(found, "metaclip", 100)
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("budget", "kept"),
    [
        (5, ["Cat", "cat", "dog", "hot dog", "newt"]),
        (4, ["cat", "dog", "hot dog", "newt"]),
        (3, ["dog", "hot dog", "newt"]),  # no title and no bigram is left to cut
        (1, ["dog", "hot dog", "newt"]),  # WordNet is never cut
    ],
)
def test_over_budget_titles_go_first_and_wordnet_never(budget: int, kept: list[str]) -> None:
    rows, drops = merge_sources(FOUND, "clip", budget)
    assert [row.query for row in rows] == kept
    assert sum(drops.values()) == 5 - len(kept)


def test_the_worst_rank_is_cut_first() -> None:
    found = {"unigram": [Candidate(name) for name in ("z", "y", "a")]}
    rows, drops = merge_sources(found, "clip", 2)
    assert [row.query for row in rows] == ["y", "z"]
    assert drops == {("unigram", "over_budget"): 1}


@pytest.mark.parametrize(
    ("query", "clip", "metaclip"),
    [
        ("", "empty", "empty"),
        ("x" * 257, "too_long", "too_long"),
        ("x" * 256, None, None),
        ("!", "punctuation", "punctuation"),
        ("!!!", "punctuation", None),
        ("€", "punctuation", None),
        ("a\x07b", "controls", None),
        ("\u200b", "empty", None),
        ("½", None, None),
        ("C++", None, None),
    ],
)
def test_what_cannot_be_a_query_depends_on_the_profile(
    query: str, clip: str | None, metaclip: str | None
) -> None:
    reasons: dict[Profile, str | None] = {"clip": clip, "metaclip": metaclip}
    for profile, reason in reasons.items():
        assert reject_reason(query, profile) == reason
