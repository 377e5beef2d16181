"""What a worker installs is the four packages with their data, and nothing else."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).parent.parent


PACKAGES = ("filters", "manifests", "pipeline", "trainer")


def build_wheel(folder: pathlib.Path) -> pathlib.Path:
    """Build the package from a copy: setuptools keeps what it once built beside setup.py."""
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copyfile(ROOT / name, source / name)
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    command = [
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--disable-pip-version-check", "--wheel-dir", str(folder), str(source)),
    ]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (words of this file)
    (wheel,) = folder.glob("openwit-*.whl")
    return wheel


def test_the_wheel_holds_the_four_packages_with_their_data(tmp_path: pathlib.Path) -> None:
    wheel = build_wheel(tmp_path)
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == set(PACKAGES)
    source = tmp_path / "source"
    expected = {
        str(path.relative_to(source))
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file()
    }
    assert set(names) == expected
