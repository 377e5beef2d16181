"""`openwit-manifest`: show, check, cut, join, change and export the datasets that openwit makes."""

import sys
from collections.abc import Sequence

from manifests.base.command import run_app
from manifests.commands import change, derive, give, look
from manifests.commands.shared import app

__all__ = ["app", "change", "derive", "give", "look", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 findings, 2 refused, 3 not finished, 130 stopped."""
    sys.exit(run_app(app, "openwit-manifest", arguments))
