"""Header blocks of WARC records and HTTP messages: bytes that were never text for certain."""

import datetime
import re
from collections.abc import Iterator

BLANK_LINE = re.compile(rb"\n\r?\n")
"""From the end of the line before; a literal first byte makes the search several times faster."""
# Fixed repetitions only: linear.
_DATE = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?[Zz]", re.ASCII)
_EPOCH = datetime.datetime(1970, 1, 1)


class Headers:
    """Fields in order, names in lower case, values decoded as Latin-1 so that no byte is lost."""

    __slots__ = ("_fields",)

    def __init__(self, block: bytes) -> None:
        """Parse the lines between the first and the blank one; those without colon are ignored."""
        text = block.decode("latin-1")
        if "\n " in text or "\n\t" in text:
            self._fields = _unfolded(text)
        else:
            lines = [line.partition(":") for line in text.split("\n")]
            self._fields = [
                (name.strip().lower(), value.strip()) for name, colon, value in lines if colon
            ]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Iterate over (name, value)."""
        return iter(self._fields)

    def get(self, name: str) -> str | None:
        """Return the first value of a lower-case name, or None."""
        for field, value in self._fields:
            if field == name:
                return value
        return None

    def all(self, name: str) -> list[str]:
        """Return all values of a lower-case name, in order."""
        return [value for field, value in self._fields if field == name]


def _unfolded(text: str) -> list[tuple[str, str]]:
    """Return the fields of lines of which some go on the value before; that is obsolete."""
    fields: list[tuple[str, str]] = []
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        if line.startswith((" ", "\t")) and fields:
            name, value = fields[-1]
            if len(value) < 4096:  # a flood of lines would be quadratic
                fields[-1] = (name, f"{value} {line.strip()}")
        elif colon:
            fields.append((name.strip().lower(), value.strip()))
    return fields


def content_length(headers: Headers) -> int | None:
    """Return the one Content-Length in bytes; None if it is missing, contradicted or no number."""
    text, *others = headers.all("content-length") or [""]
    is_number = text.isascii() and text.isdigit() and len(text) <= 18
    return int(text) if is_number and others == [text] * len(others) else None


def record_time(text: str | None) -> int | None:
    """Return a WARC-Date as microseconds since 1970 UTC, or None if it is not one."""
    found = _DATE.fullmatch(text) if text else None
    if not found:
        return None
    try:
        since = datetime.datetime.fromisoformat(found[1]) - _EPOCH
    except ValueError:
        return None
    fraction = int(f"{found[2]:0<6}"[:6]) if found[2] else 0
    return (since.days * 86_400 + since.seconds) * 1_000_000 + fraction


def media_type(value: str | None) -> str:
    """Return the `type/subtype` of a Content-Type in lower case, empty if there is none."""
    return (value or "").partition(";")[0].strip().lower()


def bounded(value: str | None, characters: int = 256) -> str | None:
    """Return a header value for a column; None if it is missing, empty or too long to be real."""
    return value if value and len(value) <= characters else None
