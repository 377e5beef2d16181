"""What the sub-commands share: the application, common arguments, how results are printed."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from manifests.base.console import printable

app = typer.Typer(
    name="openwit-manifest",
    help="Look after datasets of openwit. With --debug, an unexpected error shows where.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Dataset = Annotated[str, typer.Argument(help="A dataset's folder or manifest.json: path or URI.")]
Out = Annotated[str, typer.Option(help="A new folder for the dataset.")]
Seed = Annotated[int, typer.Option(help="Another seed, another choice.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Jobs = Annotated[
    int,
    typer.Option("--jobs", min=1, show_default=False, help="Processes; default: one per core."),
]
CORES = os.cpu_count() or 1


@app.callback()
def start() -> None:
    """Check the installation, unless just help is asked for."""
    if not {"-h", "--help"} & set(sys.argv):
        from manifests.base.install import check_install

        check_install()


def show_result(value: Mapping[str, Any], lines: Sequence[str], as_json: bool) -> None:
    """Print a result on standard output: one JSON document, or lines made printable."""
    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=True))
        return
    for line in lines:
        typer.echo(printable(line))
