"""The start-up check: that our four package names are ours alone in this environment."""

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
    providers = importlib.metadata.packages_distributions()
    here = pathlib.Path(__file__).parents[2]
    for package in PACKAGES:
        others = sorted(set(providers.get(package, ())) - {DISTRIBUTION})
        if others:
            raise RefusedError(
                f"{package}: also a package of {', '.join(others)}, which overwrites ours: "
                "install openwit in an environment of its own"
            )
        loaded = sys.modules.get(package)
        places = [pathlib.Path(place) for place in (loaded.__path__ if loaded else ())]
        if places and here / package not in places:
            raise RefusedError(
                f"{package}: loaded from {places[0]}, not from {here / package}: run the command "
                f"in a folder that has no {package}/"
            )
