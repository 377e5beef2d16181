"""What a worker installs is the four packages with their data, and nothing else."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).parent.parent


PACKAGES = ("filters", "manifests", "pipeline", "trainer")


def test_the_wheel_holds_the_four_packages_with_their_data(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "source"  # a copy: setuptools keeps what it once built beside setup.py
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copyfile(ROOT / name, source / name)
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    command = [
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--disable-pip-version-check", "--wheel-dir", str(tmp_path), str(source)),
    ]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (words of this file)
    (wheel,) = tmp_path.glob("openwit-*.whl")
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == set(PACKAGES)
    expected = {
        str(path.relative_to(source))
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file()
    }
    assert set(names) == expected
