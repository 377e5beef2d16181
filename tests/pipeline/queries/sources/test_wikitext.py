import time

import pytest

from pipeline.queries.sources.wikitext import link_title, plain_page, unclosed_marks


def _segments(wikitext: str) -> list[str]:
    page = plain_page(wikitext)
    assert page is not None
    return page.segments


@pytest.mark.parametrize(
    ("wikitext", "segments"),
    [
        ("one\ntwo\n\nthree", ["one two", "three"]),
        ("before\n* one\n* two\nafter", ["before", "one", "two", "after"]),
        ("== Head ==\nBody", ["Head", "Body"]),
        ("a {{template|b}}<!-- c --> d", ["a  d"]),
        ("a<ref name=x>b</ref> c<ref name=y />", ["a c"]),
        ("a\n{| class=x\n| cell\n|}\nb", ["a", "b"]),
        ("<math>x^2</math> is ''it''", ["is it"]),
        ("[[File:a.jpg|thumb|a [[dog]]]] [[Category:B]] c", ["c"]),
        ("a [[Dog|hound]], [[cat]] and [[:Category:Pets]]", ["a hound, cat and Category:Pets"]),
        ("[http://a.example label] http://b.example [http://c.example]", ["label"]),
        ("caf&eacute; &#xD800; &#1; x<br>y", ["café x y"]),
        ("<blockquote>quote</blockquote>rest", ["quote", "rest"]),
        ("'''bold''' <small>tiny</small>", ["bold tiny"]),
    ],
)
def test_running_text_stays_and_the_rest_goes(wikitext: str, segments: list[str]) -> None:
    assert [" ".join(text.split()) for text in _segments(wikitext)] == [
        " ".join(text.split()) for text in segments
    ]


def test_links_are_titles_each_once() -> None:
    page = plain_page("[[dog]] [[Dog#Part|d]] [[new_york]] {{x|[[hidden]]}} [[File:a.jpg|b]] [[|]]")
    assert page is not None
    assert page.links == ["Dog", "New york"]


def test_local_names_of_files_go_too() -> None:
    page = plain_page("[[Datei:a.jpg|mini]] x", frozenset({"datei"}))
    assert page is not None
    assert page.segments == ["x"]


@pytest.mark.parametrize(
    ("target", "title"),
    [
        ("dog", "Dog"),
        (" new_york  city#History", "New york city"),
        (":Dog", "Dog"),
        ("#Part", ""),
        ("a{b}", ""),
        ("x" * 256, ""),
        ("ßa", "ßa"),  # its upper case is two letters
    ],
)
def test_link_titles_have_the_form_of_titles(target: str, title: str) -> None:
    assert link_title(target) == title


@pytest.mark.parametrize(
    "mark", ["[[a|", "{|\n", "<b>", "<ref>", "<!--", "[http://a ", "{{a|", '<b a="', "<br x "]
)
def test_pages_that_would_take_hours_are_given_up_at_once(mark: str) -> None:
    start = time.process_time()
    assert plain_page(mark * (1_000_000 // len(mark))) is None
    assert time.process_time() - start < 5


def test_templates_nested_without_end_are_given_up() -> None:
    assert plain_page("{{{" * 1500 + "}}}" * 1500) is None


def test_closed_marks_do_not_count() -> None:
    assert unclosed_marks("[[a]] {{b}} {| |} <b>c</b> <br> <ref name=x /> <!-- --> [x]") == 0
    assert unclosed_marks("]] [[") == 1
