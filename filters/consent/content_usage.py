"""Content-Usage (IETF AIPREF drafts): which uses a structured-field dictionary disallows.

The dictionary grammar is RFC 9651, section 4.2; a fault anywhere makes the whole field say nothing.
"""

import re
from collections.abc import Iterable, Sequence

MAX_CHARACTERS = 8_192
"""A longer field says nothing; real ones have under a hundred."""

# Each pattern is one character class or literal after another, none nested: linear.
_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")
_OTHER = re.compile(
    r'"(?:[ !#-\[\]-~]|\\["\\])*"'  # string
    r"|:[A-Za-z0-9+/=]*:"  # bytes
    r"|\?[01]"  # boolean
    r"|@?-?[0-9]{1,15}(?![0-9.])"  # date, integer
    r"|-?[0-9]{1,12}\.[0-9]{1,3}(?![0-9])"  # decimal
    r'|%"(?:[ !#$&-~]|%[0-9a-f]{2})*"'  # display string
)
_BLANKS = re.compile("[ \t]*")
_SPACES = re.compile(" *")


class _FieldError(ValueError):
    """The text is no structured-field dictionary."""


def disallowed(values: Iterable[str], keys: Sequence[str]) -> list[str]:
    """Return those of `keys` whose value is the token `n`, in the order of `keys`.

    Args:
        values: the values of all Content-Usage fields; they are one dictionary, joined by ", ".
        keys: uses to ask for, such as `train-ai`; lower-case, as the grammar wants.
    """
    stated = statements(values)
    return [key for key in keys if stated.get(key) == "n"]


def statements(values: Iterable[str]) -> dict[str, str]:
    """Return each key's token, empty for a value that is none; nothing if the field is faulty."""
    text = ", ".join(values)
    if not text or len(text) > MAX_CHARACTERS:
        return {}
    try:
        return _parse(text)
    except _FieldError:
        return {}


def _parse(text: str) -> dict[str, str]:
    """Return each key's token, or an empty string for a value that is no token."""
    text = text.strip(" ")
    result: dict[str, str] = {}
    at = 0
    while at < len(text):
        key, at = _match(_KEY, text, at)
        value = ""
        if text.startswith("=", at):
            value, at = _value(text, at + 1)
        result[key] = value
        at = _match(_BLANKS, text, _parameters(text, at))[1]
        if at == len(text):
            break
        at = _match(_BLANKS, text, _literal(text, at, ","))[1]
        if at == len(text):
            raise _FieldError("a comma ends the field")
    return result


def _value(text: str, at: int) -> tuple[str, int]:
    """Return the token at `at`, empty for another kind of value, and where it ends."""
    if not text.startswith("(", at):
        return _bare_item(text, at)
    at += 1
    while True:
        start, at = at, _match(_SPACES, text, at)[1]
        if text.startswith(")", at):
            return "", at + 1
        if start == at and text[at - 1] != "(":
            raise _FieldError("no blank between members of a list")
        at = _parameters(text, _bare_item(text, at)[1])


def _bare_item(text: str, at: int) -> tuple[str, int]:
    if token := _TOKEN.match(text, at):
        return token[0], token.end()
    return "", _match(_OTHER, text, at)[1]


def _parameters(text: str, at: int) -> int:
    """Skip `;key=value` parameters and return where they end."""
    while text.startswith(";", at):
        at = _match(_KEY, text, _match(_SPACES, text, at + 1)[1])[1]
        if text.startswith("=", at):
            at = _bare_item(text, at + 1)[1]
    return at


def _match(pattern: re.Pattern[str], text: str, at: int) -> tuple[str, int]:
    found = pattern.match(text, at)
    if not found:
        raise _FieldError(f"no {pattern.pattern} at {at}")
    return found[0], found.end()


def _literal(text: str, at: int, wanted: str) -> int:
    if not text.startswith(wanted, at):
        raise _FieldError(f"no {wanted!r} at {at}")
    return at + len(wanted)
