import json
import pathlib
import unicodedata

import pytest

from manifests.base.errors import RefusedError
from pipeline.queries.build import build_list
from pipeline.queries.check import check_list
from pipeline.queries.settings import QueriesSettings

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "curation-golden.json"


def _write(tmp_path: pathlib.Path, text: str) -> str:
    path = tmp_path / "list"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_queries_that_published_curation_never_matches_are_found(tmp_path: pathlib.Path) -> None:
    entries = json.loads(GOLDEN.read_text(encoding="utf-8"))["metaclip_v1_matching"]["entries"]
    path = _write(tmp_path, json.dumps(entries))
    report = check_list(path, "metaclip-v1")
    assert [(each.kind, each.query) for each in report.findings] == [
        ("never_matches", "St. Louis"),
        ("never_matches", "U.S."),
        ("never_matches", "p.m."),
    ]
    assert report.exit_code == 1
    assert check_list(path).findings == []
    assert check_list(path).exit_code == 0


@pytest.mark.parametrize(
    ("query", "reachable"),
    [("a . b", True), (".", True), ("a . . b", False), ("a.b", False), ("a .", True)],
)
def test_reachable_means_that_some_text_has_it(
    tmp_path: pathlib.Path, query: str, reachable: bool
) -> None:
    report = check_list(_write(tmp_path, json.dumps([query])), "metaclip-v1")
    assert (report.findings == []) is reachable


def test_every_kind_of_finding_names_its_query(tmp_path: pathlib.Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    entries = ["AT&T", "AT & T", decomposed, "x" * 257, "\u200b", "a\x00b", " ", "dog", "dog"]
    report = check_list(_write(tmp_path, json.dumps(entries)))
    assert [(each.kind, each.query) for each in report.findings] == [
        ("equal_form", "AT & T"),
        ("not_nfc", decomposed),
        ("too_long", "x" * 257),
        ("never_matches", "\u200b"),
        ("never_matches", "a\x00b"),
        ("empty", " "),
        ("duplicate", "dog"),
    ]
    assert report.to_json()["findings"][0]["detail"] == "reads like 'AT&T', which comes before"
    assert "\\u{200b}" in report.lines()[3]


def test_texts_tell_which_share_is_dead(tmp_path: pathlib.Path) -> None:
    path = _write(tmp_path, "dog\ncat\nNew York\nnewt\n")
    texts = tmp_path / "texts"
    texts.write_text("a dog\na dog in New York\n", encoding="utf-8")
    report = check_list(path, texts=str(texts))
    assert (report.queries, report.texts, report.dead) == (4, 2, 2)
    assert "2 queries (50.0%) are in none of 2 texts" in report.lines()


def test_a_list_of_our_own_is_clean(tmp_path: pathlib.Path, wordnet: str) -> None:
    out = str(tmp_path / "list.parquet")
    build_list(QueriesSettings(wordnet=wordnet), out, report=lambda line: None)
    assert check_list(out).findings == []


@pytest.mark.parametrize("text", ["[1]", "[\n", ""])
def test_what_is_no_list_is_refused(tmp_path: pathlib.Path, text: str) -> None:
    with pytest.raises(RefusedError, match="not a list of queries"):
        check_list(_write(tmp_path, text))


def test_a_missing_list_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RefusedError, match="no such file"):
        check_list(str(tmp_path / "none"))


def test_a_broken_parquet_file_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RefusedError, match="not a list of queries"):
        check_list(_write(tmp_path, "PAR1 and no more"))
