"""What the commands share: the Typer application, common options, how results are printed."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from manifests.base.console import printable

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Set one setting; may be repeated."),
]


def make_app(name: str, purpose: str) -> typer.Typer:
    """Return the application of a command, which checks the installation before any work.

    Args:
        name: of the command.
        purpose: the first sentence of its help.
    """
    app = group(f"{purpose} With --debug, an unexpected error shows where.", name)
    app.callback()(_start)
    return app


def group(purpose: str, name: str | None = None) -> typer.Typer:
    """Return an application of sub-commands."""
    return typer.Typer(
        name=name,
        help=purpose,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _start() -> None:
    if not {"-h", "--help"} & set(sys.argv):
        from manifests.base.install import check_install

        check_install()


def show_result(value: Mapping[str, Any], lines: Sequence[str], as_json: bool) -> None:
    """Print a result on standard output: one JSON document, or lines made printable."""
    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=True))
        return
    for line in lines:
        for part in line.split("\n"):  # of a table
            typer.echo(printable(part))
