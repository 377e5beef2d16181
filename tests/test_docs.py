"""The documentation says what the program does: pages are current, what they show runs."""

import gc
import importlib.util
import json
import pathlib
import re
import shlex
import shutil
import tomllib
import types
from collections.abc import Iterator
from typing import Any

import pytest

from filters.verdict import DropReason
from pipeline.readers.reasons import Fault, PageDrop, Skip
from tests.doc_pages import (
    DOCS,
    FENCE,
    NOT_RUN,
    PAGES,
    ROOT,
    SHELL,
    blocks,
    follow,
    is_followed,
    our_lines,
    shell_lines,
    why_not_run,
)

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LONG = pytest.mark.timeout(400)
SOURCE_PAGES = (DOCS / "howto" / "add-a-filter.md", DOCS / "howto" / "add-an-input-kind.md")
FOLLOWED = [
    page
    for page in PAGES
    if is_followed(page) and page not in (DOCS / "tutorial.md", *SOURCE_PAGES)
]
CHANGES = {
    "README.md": {
        'wordnet = "/usr/share/wordnet"': 'file = "queries.txt"',
        "epochs = 30": "epochs = 1",
    }
}
"""Texts of pages, and what stands there when they are followed: a smaller list, less training."""


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


SETTINGS = {
    ".".join(filter(None, (table, row["key"].strip("`"))))
    for kind, root in ((generate.RunConfig, ""), (generate.TrainConfig, "train"))
    for table, _, rows in generate.settings(kind, root)
    for row in rows
}


def _name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def parse(line: str) -> None:
    """Parse a command line as the command would; its usage errors are raised."""
    words = shlex.split(line, comments=True)
    words = words[: next((at for at, word in enumerate(words) if word in SHELL), None)]
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
    for line in our_lines(page):
        parse(line)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_in_pages_are_run_or_listed_as_not(page: pathlib.Path) -> None:
    assert [line for line in our_lines(page, [""]) if not why_not_run(line)] == []


def test_every_command_that_is_not_run_is_still_in_a_page() -> None:
    lines = "\n".join(
        line
        for page in PAGES
        for language, text in blocks(page)
        if language in ("", "sh")
        for line in shell_lines(text)
    )
    assert [part for part in NOT_RUN if part not in lines] == []


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


def test_every_metric_of_a_benchmark_is_in_its_source() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    texts = re.findall(r'"([\w{}]+)"', source)  # some are put together: f"{scheme}_ratio"
    made = re.compile("|".join(re.sub(r"{\w+}", r"[\\w<>]+", text) for text in texts))
    names = [name for metrics in generate.MEANINGS["benchmarks"].values() for name in metrics]
    assert [name for name in names if not made.fullmatch(name)] == []


def test_what_shows_a_promise_exists() -> None:
    page = (DOCS / "promises.md").read_text("utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", page)
    assert len(re.findall("^## ", page, re.MULTILINE)) <= len(named)
    absent = [each for each in named if f"\ndef {each[1]}(" not in (ROOT / each[0]).read_text()]
    metrics = re.findall(r"`(\w+): ([\w<>]+)`", page)
    assert absent == []
    assert [
        each for each in metrics if each[1] not in generate.MEANINGS["benchmarks"][each[0]]
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_settings_in_pages_exist(page: pathlib.Path) -> None:
    for language, text in blocks(page):
        if language == "toml":
            assert set(_keys(tomllib.loads(text))) <= SETTINGS


def _keys(table: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in table.items():
        nested = value if isinstance(value, list) else [value]
        tables = [each for each in nested if isinstance(each, dict)]
        for each in tables:
            yield from _keys(each, f"{above}{name}.")
        if not tables:
            yield f"{above}{name}"


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder in which the tutorial was followed, with a shorter training."""
    folder = tmp_path_factory.mktemp("tutorial")
    follow(DOCS / "tutorial.md", folder, {"epochs = 30": "epochs = 1"})
    return folder


@LONG
def test_the_tutorial_can_be_followed(followed: pathlib.Path) -> None:
    assert json.loads((followed / "training" / "run.json").read_text())["status"] == "finished"


@LONG
def test_metrics_of_a_training_are_in_their_page(followed: pathlib.Path) -> None:
    lines = (followed / "training" / "metrics.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert {event["event"] for event in events} <= set(generate.MEANINGS["events"])
    train = {name for event in events if event["event"] == "train" for name in event}
    assert train | {"logit_bias"} == {"event", "step", "time", *generate.MEANINGS["train"]}


@LONG
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("page", FOLLOWED, ids=_name)
def test_the_page_can_be_followed_where_the_tutorial_ends(
    page: pathlib.Path, followed: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(followed, folder)
    follow(page, folder, CHANGES.get(_name(page), {}))
    gc.collect()  # webdataset leaves its files to the collector


@LONG
def test_source_can_be_added_as_the_pages_say(tmp_path: pathlib.Path) -> None:
    tree = tmp_path / "openwit"
    names = [*generate.PACKAGES, "benchmarks", "docs", "tests", "pyproject.toml"]
    for name in names:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, tree / name)
    for page in SOURCE_PAGES:
        follow(page, tree)
