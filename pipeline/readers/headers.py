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
        self._fields: list[tuple[str, str]] = []
        fields = self._fields
        for line in block.decode("latin-1").split("\n"):
            name, colon, value = line.partition(":")
            if line.startswith((" ", "\t")) and fields:  # the previous value goes on
                name, value = fields[-1]
                # Folding is obsolete; a few lines are joined, a flood of them would be quadratic.
                if len(value) < 4096:
                    fields[-1] = (name, f"{value} {line.strip()}")
            elif colon:
                fields.append((name.strip().lower(), value.strip()))

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
