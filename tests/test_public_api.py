"""The public surface: small, sorted, documented, and nothing that got in by accident."""

import importlib
import inspect
import pathlib
import pkgutil
import re
import types

import pytest

ROOT = pathlib.Path(__file__).parent.parent
TOP = ("filters", "manifests", "pipeline", "trainer")
ROW = re.compile(r"^\| `manifests\.(\w+)` \|", re.MULTILINE)


def _packages() -> list[str]:
    """Return the names of all packages; none but themselves is imported."""
    below = [
        each.name
        for name in TOP
        for each in pkgutil.walk_packages([str(ROOT / name)], f"{name}.")
        if each.ispkg
    ]
    return [*TOP, *below]


def _public(module: types.ModuleType) -> set[str]:
    """Return the names that a module holds without a leading underscore, modules left out."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }


@pytest.mark.parametrize("name", _packages())
def test_a_package_exports_all_that_it_imports(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert exported == sorted(set(exported))
    assert _public(module) == set(exported)
    assert name not in TOP or hasattr(module, "__all__")


@pytest.mark.parametrize("name", TOP)
def test_what_is_exported_says_what_it_is(name: str) -> None:
    module = importlib.import_module(name)
    assert [each for each in module.__all__ if not inspect.getdoc(getattr(module, each))] == []


def test_the_surface_of_manifests_is_the_documented_one() -> None:
    page = (ROOT / "docs" / "dataset.md").read_text("utf-8")
    assert ROW.findall(page) == importlib.import_module("manifests").__all__
