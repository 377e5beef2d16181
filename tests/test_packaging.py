"""What a worker installs is the four packages with their data, and nothing else."""

import pathlib
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).parent.parent


def test_the_wheel_holds_the_four_packages_with_their_data(tmp_path: pathlib.Path) -> None:
    command = [
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--disable-pip-version-check", "--wheel-dir", str(tmp_path), str(ROOT)),
    ]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (words of this file)
    (wheel,) = tmp_path.glob("openwit-*.whl")
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"filters", "manifests", "pipeline", "trainer"}
    packages = ("filters", "manifests", "pipeline", "trainer")
    expected = {
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set(names) == expected
