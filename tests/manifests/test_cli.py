"""Exit codes, one line for an error, one JSON document, nothing hostile on the terminal."""

import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from manifests import cli
from manifests.commands import look
from manifests.format import Manifest

MakeDataset = Callable[..., Manifest]
COMMANDS = (
    *("show", "verify", "stats", "diff", "provenance"),
    *("split", "merge", "sample", "filter", "drop", "gc", "build", "export", "report"),
)


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, in_process: None
) -> Callable[..., tuple[int, str, str]]:
    """Call the command line; the exit code, what it printed, and what it said on stderr."""
    monkeypatch.setattr("manifests.base.install.check_install", lambda: None)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return call


Run = Callable[..., tuple[int, str, str]]


def test_a_summary_is_shown(run: Run, make_dataset: MakeDataset) -> None:
    code, out, err = run("show", make_dataset(5).root)
    assert (code, err) == (0, "")
    assert out.startswith("toy 1: 5 samples, 1 shards\n")


@pytest.mark.parametrize(
    "arguments",
    [("show",), ("show", "--key", "000000001"), ("verify", "--deep"), ("stats",)],
)
def test_json_is_one_document(
    run: Run, make_dataset: MakeDataset, arguments: tuple[str, ...]
) -> None:
    command, *options = arguments
    code, out, _ = run(command, make_dataset(5).root, "--json", *options)
    value = json.loads(out)
    assert (code, value["kind"], value["ok"]) == (0, f"openwit-{command}", True)


def test_findings_exit_with_1(run: Run, make_dataset: MakeDataset) -> None:
    manifest = make_dataset(5)
    pathlib.Path(manifest.path("shards/00000000.tar")).unlink()
    code, out, err = run("verify", manifest.root, "--quiet")
    assert (code, err) == (1, "")
    assert "shards/00000000.tar: missing_file: no such file" in out
    assert run("show", manifest.root, "--pair-id", "0" * 32)[0] == 1


def test_what_is_refused_exits_with_2_and_says_each_problem_on_a_line(
    run: Run, make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    manifest = make_dataset(5)
    path = pathlib.Path(manifest.root, "manifest.json")
    path.write_text(path.read_text().replace('"revision":0', '"revision":-1,"zebra":NaN'))
    code, out, err = run("show", manifest.root)
    assert (code, out) == (2, "")
    assert [line.startswith("error: ") for line in err.splitlines()] == [True, True]
    assert run("show", str(tmp_path / "nowhere"))[0] == 2
    assert run("verify", manifest.root, "--deep", "--fast")[0] == 2
    assert run("nonsense")[0] == 2
    assert run("verify")[0] == 2


def test_what_cannot_be_finished_exits_with_3(run: Run, make_dataset: MakeDataset) -> None:
    manifest = make_dataset(5)
    pathlib.Path(manifest.path("shards/00000000.parquet")).write_bytes(b"x")
    code, _, err = run("show", manifest.root, "--key", "000000001")
    assert code == 3
    assert re.fullmatch(r"error: [^\n]*00000000\.parquet: cannot be read: [^\n]*\n", err)


def test_an_unexpected_error_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(dataset: str) -> Any:
        raise RuntimeError("odd\x1b[2J")

    monkeypatch.setattr(look, "load", fail)
    assert run("show", "x") == (3, "", "error: RuntimeError: odd\\u{1b}[2J: --debug shows where\n")
    with pytest.raises(RuntimeError):
        cli.main(["--debug", "show", "x"])


def test_captions_cannot_reach_the_terminal(run: Run, make_dataset: MakeDataset) -> None:
    manifest = make_dataset(5)
    path = pathlib.Path(manifest.root, "manifest.json")
    path.write_text(
        path.read_text().replace('"description":""', '"description":"a\\u001b[31m\\u202eb\\u2028"')
    )
    _, out, _ = run("show", manifest.root)
    assert "description: a\\u{1b}[31m\\u{202e}b\\u{2028}" in out


def test_statistics_are_written_to_a_file(
    run: Run, make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    code, out, _ = run("stats", make_dataset(5).root, "--out", str(tmp_path / "stats.json"))
    assert code == 0
    assert json.loads((tmp_path / "stats.json").read_text())["pairs"] == 5
    assert "unique_url: 5" in out


def test_a_dataset_is_split(run: Run, make_dataset: MakeDataset, tmp_path: pathlib.Path) -> None:
    parts = ("--part", "train=0.5", "--part", "test=0.5")
    arguments = ("--out", str(tmp_path / "parts"), *parts, "--by", "sha256", "--json", "--quiet")
    code, out, _ = run("split", make_dataset(9).root, *arguments)
    value = json.loads(out)
    assert code == 0
    assert sum(part["samples"] for part in value["parts"]) == 9
    assert run("verify", value["parts"][0]["path"], "--deep", "--quiet")[0] == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"Example: openwit-manifest {command} " in out


def test_help_and_a_summary_need_no_heavy_library(make_dataset: MakeDataset) -> None:
    code = (
        "import sys\nfrom manifests import cli\n"
        f"try:\n    cli.main(['show', {make_dataset(3).root!r}])\nexcept SystemExit:\n    pass\n"
        "heavy = {'apache_beam', 'torch', 'duckdb', 'PIL'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run(  # noqa: S603 (words of this file)
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"
    assert done.stdout.startswith("toy 1: 3 samples")


def test_a_dataset_is_drawn_filtered_joined_and_compared(
    run: Run, make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    source = make_dataset(9).root
    paths = {name: str(tmp_path / name) for name in ("small", "rest", "whole", "ids", "changes")}
    code, out, err = run("sample", source, "--n", "99", "--out", paths["small"], "--quiet")
    assert (code, out.startswith("9 samples")) == (0, True)
    assert err == "warning: --n 99: the dataset has 9 pairs: all are taken\n"
    assert run("sample", source, "--n", "4", "--list-only", paths["ids"], "--quiet")[0] == 0
    for name, options in (("rest", ("--exclude",)), ("whole", ())):
        words = ("--ids", paths["ids"], "--out", paths[name], "--quiet", "--json", *options)
        code, out, _ = run("filter", source, *words)
        assert (code, json.loads(out)["rows_in"]) == (0, 9)
    code, out, _ = run(
        "merge", paths["rest"], paths["whole"], "--out", str(tmp_path / "m"), "--quiet"
    )
    assert (code, "near-duplicates between the datasets are kept" in out) == (0, True)
    code, out, _ = run("diff", source, str(tmp_path / "m"), "--json")
    assert json.loads(out)["digests"][0] == json.loads(out)["digests"][1]
    assert (code, json.loads(out)["libraries"] != {}) == (1, True)
    code, out, _ = run("diff", source, paths["rest"], "--out", paths["changes"], "--json")
    assert (code, json.loads(out)["pairs"]["removed"]) == (1, 4)
    assert run("filter", source, "--where", "true")[0] == 2


def test_pairs_are_withdrawn_and_leftovers_collected(run: Run, make_dataset: MakeDataset) -> None:
    root = make_dataset(9).root
    words = ("drop", root, "--domain", "host1.example", "--reason", "optout", "--date")
    code, out, _ = run(*words, "2026-01-02")
    assert (code, "nothing was changed" in out) == (0, True)
    assert run(*words, "soon")[0] == 2
    code, out, _ = run(*words, "2026-01-02", "--apply", "--json")
    assert (code, json.loads(out)["revision"]) == (0, 1)
    (pathlib.Path(root) / "shards/x.tmp-1").write_bytes(b"")
    assert run("gc", root, "--older-than", "0s")[0] == 1
    assert run("gc", root, "--older-than", "0s", "--apply")[0] == 0
    assert run("verify", root, "--deep", "--quiet")[0] == 0
    assert run("provenance", root)[0] == 0
    assert run("provenance", root, "--pair-id", "0" * 32)[0] == 1


def test_a_page_and_exports_are_written_and_a_root_is_rebuilt(
    run: Run, make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    root = make_dataset(9).root
    counted, page = str(tmp_path / "stats.json"), str(tmp_path / "page.html")
    run("stats", root, "--out", counted)
    code, out, _ = run("report", root, "--out", page, "--stats", counted, "--json")
    assert (code, json.loads(out)["left_out"]) == (0, ["Takedowns", "Training"])
    assert run("export", root, "sizes", "--json")[0] == 0
    assert run("export", root, "sizes")[0] == 2
    (pathlib.Path(root) / "manifest.json").unlink()
    code, out, _ = run("build", root, "--from", "records", "--json")
    assert (code, json.loads(out)["samples"]) == (0, 9)
    other = run("report", make_dataset(5, name="other").root, "--out", page, "--stats", counted)
    assert other[0] == 0
    assert "of another dataset" in pathlib.Path(page).read_text()
