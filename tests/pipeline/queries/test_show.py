import pathlib

import pytest

from manifests.base.errors import RefusedError
from pipeline.queries.build import build_list
from pipeline.queries.settings import QueriesSettings
from pipeline.queries.show import show_lines, show_list


@pytest.fixture
def path(tmp_path: pathlib.Path, wordnet: str) -> str:
    out = str(tmp_path / "list.parquet")
    settings = QueriesSettings(profile="metaclip", wordnet=wordnet)
    build_list(settings, out, report=lambda line: None)
    return out


def test_a_list_shows_its_header_and_first_rows(path: str) -> None:
    shown = show_list(path, limit=2)
    assert shown["header"]["profile"] == "metaclip"
    assert [row["query"] for row in shown["rows"]] == ["0", "1"]
    assert shown["matching"] == 104
    lines = show_lines(shown)
    assert lines[0].endswith(shown["list_digest"])
    assert lines[-1] == "2 of 104 rows"


def test_a_text_shows_its_form_and_its_queries(path: str) -> None:
    shown = show_list(path, text="a Hot-Dog, hot dog 5")
    assert shown["form"] == " a Hot-Dog , hot dog 5 "
    assert [row["query"] for row in shown["rows"]] == ["5", "hot dog"]
    shown = show_list(path, text="hot dog.", mode="metaclip-v1")
    assert shown["form"] == " hot dog .  "
    assert [row["query"] for row in shown["rows"]] == ["hot dog"]


def test_rows_are_chosen_by_query_source_and_language(path: str) -> None:
    assert show_list(path, query="galore")["matching"] == 1
    assert show_list(path, query="Galore")["matching"] == 0
    assert show_list(path, source="wordnet")["matching"] == 4
    assert show_list(path, source="digits", lang="en")["matching"] == 100
    assert show_list(path, lang="de")["matching"] == 0


def test_control_characters_are_shown_not_sent(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "list"
    path.write_text("a \u202eb\n", encoding="utf-8")
    text = "\n".join(show_lines(show_list(str(path))))
    assert "\u202e" not in text
    assert "a \\u{202e}b" in text


def test_wrong_choices_are_refused(path: str) -> None:
    with pytest.raises(RefusedError, match="--source titles: not a source"):
        show_list(path, source="titles")
    with pytest.raises(RefusedError, match="--limit -1"):
        show_list(path, limit=-1)
