import collections
import functools
import gzip
import pathlib

import pytest

from manifests.base.errors import RefusedError
from pipeline.queries.corpus import Corpus
from pipeline.queries.counts import SortedTable, Tally
from pipeline.queries.credit import Drops
from pipeline.queries.settings import QueriesSettings
from pipeline.queries.sources.ngrams import NgramCounts
from pipeline.queries.sources.titles import ranked_titles, settle
from pipeline.queries.thresholds import thresholds_for

VIEWS = """\
en Dog 60 0
en.m dog 40 0
en Hound 7 0
en Mercury_(planet) 30 0
en Mercury_(element) 20 0
en Talk:Dog 900 0
de Hund 900 0
en Stra%C3%9Fe 10 0
en 100% 5 0
"""


@pytest.fixture
def new(tmp_path: pathlib.Path) -> functools.partial[Tally]:
    return functools.partial(Tally, str(tmp_path), max_types=2)


@pytest.fixture
def corpus(tmp_path: pathlib.Path, new: functools.partial[Tally]) -> Corpus:
    made = Corpus(
        words=new("words"),
        links=new("links"),
        titles=new("titles"),
        redirects=SortedTable(str(tmp_path), "redirects", 2),
        pages=collections.Counter(),
        blocks=[],
        ngrams=NgramCounts(),
    )
    for title in ("Dog", "Cat", "Mercury (planet)", "Mercury (element)", "2001: A Space Odyssey"):
        made.titles.add(title, 0)
    for source, target in (
        ("Hound", "Pooch"),
        ("Pooch", "Dog"),
        ("Loop", "Ring"),
        ("Ring", "Loop"),
    ):
        made.redirects.add(source, target)
    for title, pages in (("Dog", 2), ("Hound", 3), ("Loop", 9), ("Red link", 8)):
        made.links.add(title, pages)
    return made


def _rank(
    settings: QueriesSettings, corpus: Corpus, new: functools.partial[Tally]
) -> tuple[list[tuple[str, int | None]], Drops]:
    titles, _, drops = ranked_titles(settings, corpus, thresholds_for(settings, 0), new)
    return [(title.query, title.views) for title in titles], drops


def _write_views(tmp_path: pathlib.Path, text: str) -> str:
    path = tmp_path / "pageviews.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return str(path)


def test_in_links_follow_redirects_and_every_kept_page_counts(
    corpus: Corpus, new: functools.partial[Tally]
) -> None:
    ranked, _ = _rank(QueriesSettings(dump="x"), corpus, new)
    assert ranked == [("Dog", 5), ("2001: A Space Odyssey", 0), ("Cat", 0), ("Mercury", 0)]
    ranked, _ = _rank(QueriesSettings(dump="x", profile="metaclip"), corpus, new)
    assert ("Mercury (planet)", 0) in ranked


def test_views_with_a_dump_count_for_kept_pages_only(
    tmp_path: pathlib.Path, corpus: Corpus, new: functools.partial[Tally]
) -> None:
    path = _write_views(tmp_path, VIEWS)
    ranked, _ = _rank(QueriesSettings(dump="x", pageviews=(path, path)), corpus, new)
    assert ranked == [("Dog", 214), ("Mercury", 100)]


def test_views_without_a_dump_count_for_every_title(
    tmp_path: pathlib.Path, corpus: Corpus, new: functools.partial[Tally]
) -> None:
    settings = QueriesSettings(pageviews=_write_views(tmp_path, VIEWS), title_min_views=10)
    ranked, drops = _rank(settings, corpus, new)
    assert ranked == [("Dog", 100), ("Mercury", 50), ("Straße", 10)]
    assert drops == {("title", "below_min_views"): 2}


def test_metaclip_takes_busy_hours_of_the_main_project_untouched(
    tmp_path: pathlib.Path, corpus: Corpus, new: functools.partial[Tally]
) -> None:
    text = VIEWS + "en Mercury_(planet) 90 0\nen Cat 60 0\n"
    settings = QueriesSettings(profile="metaclip", pageviews=_write_views(tmp_path, text))
    ranked, drops = _rank(settings, corpus, new)
    assert ranked == [("Mercury (planet)", 90)]
    assert drops["title", "below_min_views"] == 2


def test_few_malformed_lines_are_counted_and_many_refused(
    tmp_path: pathlib.Path, corpus: Corpus, new: functools.partial[Tally]
) -> None:
    good = "en Dog 60 0\n" * 198
    bad = "en Dog 60\nen Stra%DFe 1 0\n"
    settings = QueriesSettings(pageviews=_write_views(tmp_path, good + bad))
    assert _rank(settings, corpus, new)[1]["title", "malformed"] == 2
    settings = QueriesSettings(pageviews=_write_views(tmp_path, bad + good + bad))
    with pytest.raises(RefusedError, match=r"line 1: 4 of 202 lines"):
        _rank(settings, corpus, new)


def test_equal_forms_stand_for_one_title(corpus: Corpus, new: functools.partial[Tally]) -> None:
    for title in ("AT&T", "AT & T", "!!!"):
        corpus.titles.add(title, 0)
    ranked, drops = _rank(QueriesSettings(dump="x"), corpus, new)
    assert ("AT & T", 0) in ranked
    assert drops == {("title", "equal_form"): 1, ("title", "punctuation"): 1}


def test_the_worst_titles_go_beyond_the_budget(
    corpus: Corpus, new: functools.partial[Tally]
) -> None:
    ranked, drops = _rank(QueriesSettings(dump="x", budget=1), corpus, new)
    assert ranked == [("Dog", 5)]
    assert drops == {("title", "over_max"): 3}


def test_chains_of_redirects_end_after_five(
    tmp_path: pathlib.Path, new: functools.partial[Tally]
) -> None:
    redirects = SortedTable(str(tmp_path), "redirects", 100)
    for number in range(6):
        redirects.add(f"{number}", f"{number + 1}")
    values = new("values")
    for number in range(7):
        values.add(f"{number}", 10**number)
    assert list(settle(values, redirects, new).items()) == [("6", 1_111_110)]
