"""The start-up check: that our four package names are ours alone in this environment."""

import functools
import importlib.metadata
import pathlib
import sys

from manifests.base.errors import RefusedError

DISTRIBUTION = "openwit"
PACKAGES = ("filters", "manifests", "pipeline", "trainer")


def check_install() -> None:
    """Refuse to work where another distribution, or the working folder, shadows a package of ours.

    Raises:
        RefusedError: naming the package and what it would be taken from.
    """
    here = pathlib.Path(__file__).parents[2]
    others = _others()
    for package in PACKAGES:
        if package in others:
            names = ", ".join(others[package])
            raise RefusedError(
                f"{package}: also a package of {names}, which overwrites ours: "
                "install openwit in an environment of its own"
            )
        loaded = sys.modules.get(package)
        places = [pathlib.Path(place) for place in (loaded.__path__ if loaded else ())]
        if places and here / package not in places:
            raise RefusedError(
                f"{package}: loaded from {places[0]}, not from {here / package}: run the command "
                f"in a folder that has no {package}/"
            )


@functools.cache
def _others() -> dict[str, list[str]]:
    """Return the other distributions that install files in packages of ours, once a process.

    The lists of files are searched as text: `packages_distributions` takes 0.7 CPU-s to parse them.
    """
    found: dict[str, list[str]] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.name
        files = "\n" + (distribution.read_text("RECORD") or "") if name != DISTRIBUTION else ""
        for package in PACKAGES:
            if f"\n{package}/" in files:
                found.setdefault(package, []).append(name)
    return {package: sorted(set(names)) for package, names in found.items()}
