import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.consent.robots_tag import DIRECTIVES, directives


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["NoAI"], ["noai"]),
        (["max-image-preview:large, noai"], ["noai"]),
        (["noai, max-image-preview:large"], ["noai"]),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noimageai"], ["noimageai"]),
        (["none"], ["noindex"]),
        (["OpenWIT/1.0: noai"], ["noai"]),
        (["noai;"], ["noai"]),
        (["index noai"], ["noai"]),
        (["otherbot: noindex", "noai"], ["noai"]),
        (["otherbot: nofollow, openwit: noimageai"], ["noimageai"]),
        (["noindex: noml"], ["noindex", "noml"]),
        (["*: noimageindex"], ["noimageindex"]),
    ],
)
def test_directives_for_everybody_or_for_us_are_found(
    values: list[str], expected: list[str]
) -> None:
    assert directives(values) == expected


@pytest.mark.parametrize(
    "value",
    [
        "otherbot: noai",
        "otherbot: nofollow, noai",
        ":, :, ,;: -:: ",
        "max-snippet:-1, max-image-preview:large",
        "notnoai, noaid",
        "index, follow, all",
        "",
    ],
)
def test_other_agents_and_other_words_do_not_bind_us(value: str) -> None:
    assert directives([value]) == []


def test_an_agent_of_one_field_does_not_reach_into_the_next() -> None:
    assert directives(["otherbot: noai", "noml"]) == ["noml"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("noindex", ["noindex"]),
        ("otherbot: noindex", []),
        ("otherbot: nofollow, noindex", []),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST, noindex", ["noindex"]),
        ("otherbot: noai, noindex, *: noimageai", ["noimageai"]),
        ("noindex, nofollow, noai", ["noai", "noindex"]),
    ],
)
def test_forms_of_googles_documentation_are_read(value: str, expected: list[str]) -> None:
    assert directives([value]) == expected


@pytest.mark.parametrize(
    ("value", "is_free"),
    [
        ("", True),
        ("all", True),
        ("other", True),
        ("noai", False),
        ("noimageai", False),
        ("other, noai", False),
        ("openwit: noai", False),
        ("openwit: noimageai", False),
        ("other, openwit: noai", False),
        ("other, openwit:noai", False),
        ("openwit:other, openwit: noai", False),
        ("spawningbot: noai", True),
        ("other, spawningbot:noai", True),
        ("openwit: all", True),
        ("openwit: other, openwit: all, test:noai", True),
        ("demobot: noai, examplebot: noai, openwit: all", True),
        ("demobot: noai, examplebot: noai, openwit: noai", False),
        (":,", True),
        ("none, noindex", False),
    ],
)
def test_facts_of_datadiligence_hold(value: str, is_free: bool) -> None:
    """As its 0.1.7 tests say, but `noindex` and other spellings bind us too."""
    assert (directives([value]) == []) is is_free


@given(st.lists(st.text("NOAInoaimgedx*:;,/ -_.\t\n\u0130\u212a", max_size=40), max_size=4))
def test_any_text_gives_known_directives_in_order(values: list[str]) -> None:
    found = directives(values)
    assert set(found) <= set(DIRECTIVES)
    assert found == sorted(set(found))
