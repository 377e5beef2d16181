"""The one exception tree of openwit, and the exit code of each branch.

OpenwitError            3  could not finish: I/O, disk full, a file is not what its record says
    RefusedError        2  refused before any work: usage, inputs, a plan that cannot finish
        ConfigError     2  a setting is unknown, of the wrong type or out of range
    AccountingError     1  sums that do not match: rows in is not rows out plus drops
"""

import enum


class ExitCode(enum.IntEnum):
    """Exit codes of every openwit command; `openwit-train` adds its own above 3."""

    DONE = 0
    FINDINGS = 1
    REFUSED = 2
    UNFINISHED = 3
    INTERRUPTED = 130


class OpenwitError(Exception):
    """Work that could not be finished; the message is `WHAT: VALUE SEEN: WAY OUT`."""

    exit_code: int = ExitCode.UNFINISHED


class RefusedError(OpenwitError):
    """A wrong argument or input, found before any work was done."""

    exit_code = ExitCode.REFUSED


class ConfigError(RefusedError):
    """One or more wrong settings, all listed in the message, one a line."""


class AccountingError(OpenwitError):
    """Sums that do not match: something was lost, repeated or invented."""

    exit_code = ExitCode.FINDINGS
