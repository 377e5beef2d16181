import dataclasses

import pytest

from manifests.base.config import from_tables
from manifests.base.errors import ConfigError
from pipeline.queries.settings import QueriesSettings, as_paths
from pipeline.queries.thresholds import thresholds_for, with_unigrams


def test_thresholds_shrink_with_the_corpus() -> None:
    small = thresholds_for(QueriesSettings(profile="metaclip"), 413_962)
    assert (small.unigram_min_count.used, small.bigram_min_count.used) == (3, 3)
    assert small.bigram_min_pmi.used == 16.591861
    half = thresholds_for(QueriesSettings(), 2_250_000_000)
    assert (half.unigram_min_count.used, half.bigram_min_count.used) == (50, 5)
    half = thresholds_for(QueriesSettings(profile="metaclip"), 2_250_000_000)
    assert half.bigram_min_pmi.used == 29


@pytest.mark.parametrize(
    ("unigrams", "bigrams", "titles"), [(10_000, 4002, 2435), (251_465, 100_646, 61_235)]
)
def test_bigrams_and_titles_follow_the_unigrams(unigrams: int, bigrams: int, titles: int) -> None:
    settings = QueriesSettings()
    scaled = with_unigrams(thresholds_for(settings, 10**9), settings, 10**9, unigrams)
    assert (scaled.bigram_max.used, scaled.title_max.used) == (bigrams, titles)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (QueriesSettings(scale="off"), 1000),
        (QueriesSettings(), 4_500_000_000),
        (QueriesSettings(), 0),
    ],
)
def test_thresholds_are_literal_when_nothing_is_scaled(
    settings: QueriesSettings, words: int
) -> None:
    thresholds = with_unigrams(thresholds_for(settings, words), settings, words, 5)
    assert thresholds.unigram_min_count.used == 100
    assert thresholds.bigram_min_count.used == 10
    assert thresholds.bigram_max.used == 100_646
    assert thresholds.title_max.used == 500_000


def test_view_thresholds_are_for_views_only() -> None:
    views = thresholds_for(QueriesSettings(profile="metaclip", pageviews="x"), 1000)
    links = thresholds_for(QueriesSettings(profile="metaclip", dump="x"), 1000)
    assert (views.title_min_views.used, links.title_min_views.used) == (70, 0)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"budget": 0}, "budget must be at least 1, got 0"),
        ({"bigram_min_count": 0}, "bigram_min_count must be at least 1, got 0"),
        ({"lang": "EN"}, "lang must be a BCP 47 primary tag"),
        ({"namespaces": []}, "namespaces must name at least one"),
        ({"file": "a", "dump": "b"}, "file must be empty"),
        ({"title_min_views": 5, "dump": "b"}, "title_min_views must be unset"),
        (
            {"dump": "a", "index": ["b", "c"]},
            "index must name one index for each of 1",
        ),
        ({"dump": "a", "languages": {"en": {"dump": "b"}}}, "languages must not name 'en' again"),
        ({"languages": {"de": {"dumps": "b"}}}, "did you mean dump"),
        ({"languages": {"de-AT": {"dump": "b"}}}, "lang must be a BCP 47 primary tag"),
        ({"profile": "laion"}, "'laion' is not one of"),
    ],
)
def test_wrong_settings_are_refused(table: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        from_tables(QueriesSettings, table)


def test_a_path_or_a_list_of_paths_is_taken_and_resolved() -> None:
    settings = from_tables(QueriesSettings, {"dump": ["a", "b"], "text": "c", "namespaces": [0, 4]})
    resolved = settings.resolved(lambda path: f"/x/{path}")
    assert as_paths(resolved.dump) == ("/x/a", "/x/b")
    assert as_paths(resolved.text) == ("/x/c",)
    assert as_paths(resolved.pageviews) == ()
    assert resolved.file == ""
    assert dataclasses.replace(resolved, dump=("a", "b"), text="c") == settings


def test_languages_have_the_rules_of_the_table() -> None:
    given = {
        "dump": "a",
        "budget": 9,
        "title_min_views": 4,
        "languages": {"de": {"text": ["b"], "pageviews": "v"}, "fr": {}, "da": {"ngrams": "n"}},
    }
    settings = from_tables(QueriesSettings, given).resolved(lambda path: f"/x/{path}")
    assert [each.lang for each in settings.of_each] == ["da", "de", "en"]
    assert {each.budget for each in settings.of_each} == {9}
    danish, german, english = settings.of_each
    assert (danish.ngrams, german.text, english.dump) == ("/x/n", ("/x/b",), "/x/a")
    assert [each.title_min_views for each in settings.of_each] == [None, 4, None]
    assert QueriesSettings().of_each == ()
