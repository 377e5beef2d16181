import json
import pathlib

import pytest
from typer.testing import CliRunner

from pipeline.cli import app, main

RUNNER = CliRunner()
COMMANDS = [
    ("run",),
    ("plan",),
    ("stage",),
    ("queries", "build"),
    ("queries", "check"),
    ("queries", "show"),
]


def code_of(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_command_has_help_with_an_example(words: tuple[str, ...]) -> None:
    shown = RUNNER.invoke(app, [*words, "--help"])
    assert shown.exit_code == 0
    assert f"Example: openwit-pipeline {' '.join(words)} " in shown.stdout


def test_a_list_is_built_checked_and_shown(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words.txt").write_text("a red dog in St. Louis\n" * 4)
    config = tmp_path / "config.toml"
    config.write_text('[queries]\ntext = "words.txt"\nunigram_min_count = 2\n')
    out = str(tmp_path / "list.parquet")
    assert code_of("queries", "build", str(config), "--out", out, "--workers", "1", "--json") == 0
    built = json.loads(capsys.readouterr().out)
    assert built["rows"]["unigram"] >= 5
    assert code_of("queries", "check", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    assert code_of("queries", "show", out, "--text", "a dog", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["query"] for row in shown["rows"]] == ["a", "dog"]
    (tmp_path / "own.txt").write_text("dog\nSt. Louis\n")
    own = str(tmp_path / "own.txt")
    assert code_of("queries", "check", own) == 0
    assert code_of("queries", "check", own, "--mode", "metaclip-v1") == 1
    assert "never_matches" in capsys.readouterr().out


def test_usage_errors_are_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("run") == 2
    assert code_of("run", "absent.toml") == 2
    assert code_of("stage", "extract", "absent.toml") == 2
    assert code_of("queries", "show", "absent.parquet") == 2
    said = capsys.readouterr().err
    assert all(line.startswith("error: ") for line in said.splitlines())
    assert "absent.toml: no such file" in said


def test_beam_options_come_after_two_dashes(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        'root = "run"\n[input]\nkind = "warc"\npaths = ["a"]\n[queries]\nfile = "list.txt"\n'
    )
    assert code_of("run", str(config), "--", "--no_such_option=1") == 2
    assert "--no_such_option: not a Beam option" in capsys.readouterr().err
