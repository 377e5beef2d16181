import importlib.metadata
import pathlib
import sys
import types

import pytest

from manifests.base.errors import RefusedError
from manifests.base.install import check_install


def test_this_environment_is_fine() -> None:
    check_install()


def test_another_distribution_with_our_package_name_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        importlib.metadata,
        "packages_distributions",
        lambda: {"filters": ["openwit", "django-filters"], "pipeline": ["openwit", "openwit"]},
    )
    with pytest.raises(RefusedError, match="filters: also a package of django-filters"):
        check_install()


def test_a_package_from_the_working_folder_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    shadow = types.ModuleType("trainer")
    shadow.__path__ = [str(tmp_path / "trainer")]
    monkeypatch.setitem(sys.modules, "trainer", shadow)
    with pytest.raises(RefusedError, match=r"trainer: loaded from .*in a folder that has no"):
        check_install()
