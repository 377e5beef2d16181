"""How an openwit command ends: its result on stdout, one error line on stderr, an exit code."""

import os
import sys
from collections.abc import Callable, Sequence

from manifests.base.console import printable, say
from manifests.base.errors import ExitCode, OpenwitError

INTERRUPTED = "interrupted: finished units are kept; run the same command to go on"
DEBUG = "--debug"


def run_app(app: Callable[..., object], name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a Typer application and return its exit code; errors are lines, not tracebacks.

    Args:
        app: the application; a command may end by raising an `OpenwitError` or `typer.Exit`.
        name: the command's name, as help and usage say it.
        arguments: the command line; `sys.argv` by default. `--debug` lets an unexpected error
            through with its traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = app(
            args=[word for word in given if word != DEBUG], prog_name=name, standalone_mode=False
        )
        sys.stdout.flush()
    except OpenwitError as error:
        _say_error(str(error))
        return error.exit_code
    except BrokenPipeError:  # the reader of our result, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except KeyboardInterrupt:
        result = ExitCode.INTERRUPTED
    except Exception as error:
        if hasattr(error, "format_message"):  # Typer's usage errors, wherever it takes them from
            return _usage(error)
        if DEBUG in given:
            raise
        _say_error(f"{type(error).__name__}: {error}: {DEBUG} shows where")
        return ExitCode.UNFINISHED
    if result == ExitCode.INTERRUPTED:
        say(INTERRUPTED)
    return int(result) if isinstance(result, int) else ExitCode.DONE


def _usage(error: Exception) -> int:
    text = str(error.format_message())  # type: ignore[attr-defined]
    if type(error).__name__ == "NoArgsIsHelpError":
        say(text)
    else:
        context = getattr(error, "ctx", None)
        hint = f": see {context.command_path} --help" if context else ""
        _say_error(text.rstrip(".") + hint)
    return ExitCode.REFUSED


def _say_error(text: str) -> None:
    for line in text.split("\n"):
        say(f"error: {printable(line)}")
