"""Fixtures that many tests share: steps run in a plain loop, without Beam."""

import pathlib
from collections.abc import Callable

import hypothesis
import pytest

from pipeline.planning.plain import PlainEngine
from tests.whole_run import make_job, run

# A busy machine must not fail a law.
hypothesis.settings.register_profile("without_clock", deadline=None)
hypothesis.settings.load_profile("without_clock")


@pytest.fixture(scope="session")
def make_engine() -> Callable[[pathlib.Path], PlainEngine]:
    """Makes engines like `plain_engine`, for tests that need one for each example."""
    return lambda folder: PlainEngine(root=str(folder / "root"))


@pytest.fixture
def plain_engine(tmp_path: pathlib.Path) -> PlainEngine:
    """An engine on a temporary ROOT that runs steps in a plain loop."""
    return PlainEngine(root=str(tmp_path / "root"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a whole run that was finished in one process."""
    folder = tmp_path_factory.mktemp("one")
    done = run(make_job(folder), 'engine.mode="memory"')
    assert done.returncode == 0, done.stderr
    return folder
