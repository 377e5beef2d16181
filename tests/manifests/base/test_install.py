import pathlib
import sys
import types

import pytest

from manifests.base.errors import RefusedError
from manifests.base.install import _others, check_install


def test_this_environment_is_fine() -> None:
    check_install()


def test_another_distribution_with_our_package_name_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    info = tmp_path / "django_filters-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: django-filters\nVersion: 1.0\n")
    (info / "RECORD").write_text("django/my_filters/a.py,,\nfilters/__init__.py,sha256=x,3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    _others.cache_clear()
    with pytest.raises(RefusedError, match="filters: also a package of django-filters"):
        check_install()
    (info / "RECORD").write_text("django/filters/a.py,,\n")
    _others.cache_clear()
    check_install()


def test_a_package_from_the_working_folder_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    shadow = types.ModuleType("trainer")
    shadow.__path__ = [str(tmp_path / "trainer")]
    monkeypatch.setitem(sys.modules, "trainer", shadow)
    with pytest.raises(RefusedError, match=r"trainer: loaded from .*in a folder that has no"):
        check_install()
