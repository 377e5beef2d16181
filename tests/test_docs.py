"""The documentation says what the program does: pages are current, what they show runs."""

import importlib.util
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from filters.verdict import DropReason
from manifests.format import schema
from pipeline.readers.reasons import Fault, PageDrop, Skip
from tests.toy_site import QUERIES, write_archives

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SHELL_END = {"|", "||", "&&", ";", ">"}


def _load_generate() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _load_generate()
SUB_COMMANDS = {
    path: example
    for command in generate.COMMANDS
    for path, _, example in generate.commands(command)
    if path not in {"openwit-pipeline", "openwit-manifest", "openwit-train"}
}


def _name(path: pathlib.Path) -> str:
    return path.name


def blocks(page: pathlib.Path) -> list[tuple[str, str]]:
    """Return (language, text) of the code blocks of a page."""
    return FENCE.findall(page.read_text("utf-8"))


def shell_lines(page: pathlib.Path) -> Iterator[str]:
    """Yield the lines of a page's code blocks that call one of the commands."""
    for language, text in blocks(page):
        if language in ("", "sh"):
            lines = text.replace("\\\n", " ").splitlines()
            yield from (line for line in lines if line.startswith("openwit-"))


def parse(line: str) -> None:
    """Parse a command line as the command would; its usage errors are raised."""
    words = shlex.split(line, comments=True)
    words = words[: next((at for at, word in enumerate(words) if word in SHELL_END), None)]
    command: Any = {each.name: each for each in generate.COMMANDS}[words[0]]
    rest = words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(command.name, rest)


def test_generated_pages_are_current_whatever_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for name, text in generate.pages().items():
        assert (DOCS / name).read_text("utf-8") == text, f"docs/{name}: run make docs"


@pytest.mark.parametrize("path", SUB_COMMANDS)
def test_every_sub_command_has_an_example_that_parses(path: str) -> None:
    if any(other.startswith(f"{path} ") for other in SUB_COMMANDS):
        return  # a group
    example = SUB_COMMANDS[path] or ""
    assert example.startswith(f"Example: {path} ")
    parse(example.removeprefix("Example: "))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_in_pages_parse(page: pathlib.Path) -> None:
    for line in shell_lines(page):
        parse(line)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        if anchor:
            titles = HEADING.findall(target.read_text("utf-8"))
            assert anchor in {_anchor(title) for title in titles}, link


def _anchor(title: str) -> str:
    """Return what GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_every_setting_has_a_meaning_and_is_in_its_page() -> None:
    page = (DOCS / "settings.md").read_text("utf-8")
    for kind, root in ((generate.RunConfig, ""), (generate.TrainConfig, "train")):
        for table, _, rows in generate.settings(kind, root):
            for row in rows:
                assert row["meaning"], f"[{table}] {row['key']} has no docstring below it"
                assert f"| {row['key']} | {row['type']} |" in page


@pytest.mark.parametrize("kind", [DropReason, Skip, PageDrop, Fault])
def test_every_reason_is_in_its_page(kind: type[DropReason | Skip | PageDrop | Fault]) -> None:
    page = (DOCS / "reasons.md").read_text("utf-8")
    assert [each for each in kind if f"`{each}`" not in page] == []
    assert set(generate.attribute_docs(kind)) == {each.name for each in kind}


def test_some_code_gives_every_drop_reason() -> None:
    paths = [path for name in generate.PACKAGES for path in (ROOT / name).rglob("*.py")]
    code = "".join(path.read_text("utf-8") for path in paths)
    given = set(re.findall(r"\bDropReason\.([A-Z0-9_]+)", code))
    assert {each.name for each in DropReason} - given == set()


@pytest.mark.parametrize("table", ["SAMPLES", "QUERIES", "INPUTS", "LEDGER"])
def test_every_column_is_in_its_page(table: str) -> None:
    page = (DOCS / "dataset.md").read_text("utf-8")
    columns = getattr(schema, table).names
    assert [name for name in columns if f"`{name}`" not in page] == []


def run_blocks(
    page: pathlib.Path, folder: pathlib.Path, changes: Mapping[str, str] | None = None
) -> None:
    """Write a page's TOML files and run its commands and Python, in their order, in a folder.

    Args:
        page: the page.
        folder: where its paths begin.
        changes: texts of its TOML files, and what stands there instead.
    """
    binaries = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": binaries, "PYTHONPATH": str(ROOT)}
    for language, text in blocks(page):
        if language == "toml":
            name = text.partition("\n")[0].removeprefix("# ")
            for old, new in (changes or {}).items():
                assert old in text
                text = text.replace(old, new)
            (folder / name).write_text(text)
        words = runnable(language, text)
        if words:
            done = subprocess.run(  # noqa: S603 (words of our own pages)
                words, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


def runnable(language: str, text: str) -> list[str]:
    """Return the command that runs a code block, or none."""
    if language == "python":
        return [sys.executable, "-c", text]
    is_shell = language == "sh" or (not language and "\nopenwit-" in f"\n{text}")
    return ["bash", "-euo", "pipefail", "-c", text] if is_shell else []


def write_inputs(folder: pathlib.Path) -> pathlib.Path:
    """Write what the pages take for given: three archives and a list of queries."""
    for number, name in enumerate(write_archives(folder, pictures=210)):
        (folder / name).rename(folder / f"crawl-{number:05d}.warc.gz")
    (folder / "queries.txt").write_text("\n".join(QUERIES))
    return folder


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder in which the README was followed, with another list and a shorter training."""
    folder = write_inputs(tmp_path_factory.mktemp("readme"))
    changes = {
        'wordnet = "/usr/share/wordnet"': 'file = "queries.txt"',
        "epochs = 30": "epochs = 1",
    }
    run_blocks(ROOT / "README.md", folder, changes)
    return folder


@pytest.mark.timeout(400)
def test_the_readme_can_be_followed(followed: pathlib.Path) -> None:
    assert (followed / "run" / "dataset" / "manifest.json").exists()
    assert json.loads((followed / "training" / "run.json").read_text())["status"] == "finished"


@pytest.mark.timeout(400)
def test_datasets_can_be_read_as_their_page_says(followed: pathlib.Path) -> None:
    run_blocks(DOCS / "dataset.md", followed)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_training_can_be_followed(followed: pathlib.Path) -> None:
    run_blocks(DOCS / "training.md", followed)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_running_can_be_followed(tmp_path: pathlib.Path) -> None:
    run_blocks(DOCS / "running.md", write_inputs(tmp_path))
