"""What the sub-commands share: the application and common arguments."""

import os
from typing import Annotated

import typer

from manifests.base.application import make_app

app = make_app("openwit-manifest", "Look after datasets of openwit.")

Dataset = Annotated[str, typer.Argument(help="A dataset's folder or manifest.json: path or URI.")]
Out = Annotated[str, typer.Option(help="A new folder for the dataset.")]
Seed = Annotated[int, typer.Option(help="Another seed, another choice.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Jobs = Annotated[
    int,
    typer.Option("--jobs", min=1, show_default=False, help="Processes; default: one per core."),
]
CORES = os.cpu_count() or 1
