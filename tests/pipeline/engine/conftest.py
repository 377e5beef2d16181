"""The usual units, and what two steps make of them in one process."""

import pytest

from pipeline.engine.units import Unit
from tests.pipeline.engine.engine_kernels import COUNTS, make_units, run_both, tree


@pytest.fixture(scope="session")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[Unit]:
    return make_units(tmp_path_factory.mktemp("inputs"), COUNTS)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, units: list[Unit]) -> dict[str, str]:
    root = tmp_path_factory.mktemp("reference")
    run_both(root, units)
    return tree(root)
