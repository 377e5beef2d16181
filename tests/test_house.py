"""The rules of the house that no linter knows: sizes, docstrings, and imports that stay cheap."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("filters", "manifests", "pipeline", "trainer")
FOLDERS = (*PACKAGES, "benchmarks", "docs", "examples", "tests")
SOURCES = sorted(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_FOLDER_FILES = 12


def _relative(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_files_and_functions_stay_short(path: pathlib.Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    long = [
        f"{node.name}: {(node.end_lineno or node.lineno) - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not long


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_says_what_it_is(name: str) -> None:
    for folder in sorted({path.parent for path in (ROOT / name).rglob("*.py")}):
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))), folder
        modules = [path for path in folder.glob("*.py") if not path.name.startswith("__")]
        assert len(modules) <= MAX_FOLDER_FILES, folder
    assert (ROOT / name / "py.typed").exists()


def test_tests_stand_beside_no_init() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("manifests.cli", {"apache_beam", "torch", "duckdb", "PIL"}),
        ("pipeline.cli", {"apache_beam", "torch", "duckdb"}),
        ("trainer.cli", {"apache_beam", "torch", "open_clip"}),
    ],
)
def test_a_command_starts_without_its_heavy_libraries(module: str, forbidden: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({forbidden!r} & set(sys.modules)))"
    done = subprocess.run(  # noqa: S603 (words of this file)
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.split() == []
