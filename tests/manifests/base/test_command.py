from typing import Annotated

import pytest
import typer

from manifests.base.command import run_app
from manifests.base.errors import AccountingError, ConfigError, OpenwitError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
ERRORS: dict[str, BaseException] = {
    "lost": AccountingError("sums: 3: report it"),
    "wrong": ConfigError("a: 1: b\nc: 2: d"),
    "broken": OpenwitError("disk: full: make room"),
    "web": OpenwitError("bad \x1b[31m name"),
    "stop": KeyboardInterrupt(),
    "bug": KeyError("x"),
    "pipe": BrokenPipeError(),
}


@app.command()
def work(
    how: str, code: Annotated[int, typer.Option()] = 0, many: Annotated[int, typer.Option()] = 1
) -> None:
    if how in ERRORS:
        raise ERRORS[how]
    typer.echo(f"{how} {many}")
    raise typer.Exit(code)


@app.command()
def other() -> None:
    """Stand beside `work`, so that sub-commands have names."""


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["work", "well"], 0, ""),
        (["work", "well", "--code", "1"], 1, ""),
        (["work", "lost"], 1, "error: sums: 3: report it\n"),
        (["work", "wrong"], 2, "error: a: 1: b\nerror: c: 2: d\n"),
        (["work", "broken"], 3, "error: disk: full: make room\n"),
        (["work", "web"], 3, "error: bad \\u{1b}[31m name\n"),
        (["work", "bug"], 3, "error: KeyError: 'x': --debug shows where\n"),
        (["work", "well", "--many=x"], 2, "error: Invalid value for '--many'"),
        (["work", "well", "--man=3"], 2, "error: No such option: --man"),
        (["wrok"], 2, "error: No such command 'wrok'"),
        ([], 2, "Usage: "),
    ],
)
def test_each_end_has_its_code_and_one_line(
    arguments: list[str], code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(app, "tool", arguments) == code
    assert capsys.readouterr().err.startswith(line)


def test_ctrl_c_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, "tool", ["work", "stop"]) == 130
    assert capsys.readouterr().err.endswith(
        "interrupted: finished units are kept; run the same command to go on\n"
    )


def test_debug_lets_an_unexpected_error_through() -> None:
    with pytest.raises(KeyError):
        run_app(app, "tool", ["work", "bug", "--debug"])
