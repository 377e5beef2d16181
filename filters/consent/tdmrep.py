"""TDMRep (W3C community report): `tdm-reservation` of a header or meta."""

from collections.abc import Iterable


def reservation(values: Iterable[str]) -> int | None:
    """Return 1 or 0 as the first value that says either does, None if none does."""
    for value in values:
        if value.strip() in {"0", "1"}:
            return int(value)
    return None
