"""TDMRep (W3C community report): `tdm-reservation` of a header or meta, and `tdmrep.json`."""

from collections.abc import Iterable, Sequence

import msgspec

from filters.consent.path_pattern import PathPattern, asked_path

MAX_FILE_BYTES = 512 << 10
"""A longer `/.well-known/tdmrep.json` says nothing."""

TdmRule = tuple[PathPattern, int]
"""Which paths, and 1 or 0."""


def reservation(values: Iterable[str]) -> int | None:
    """Return 1 or 0 as the first value that says either does, None if none does."""
    for value in values:
        if value.strip() in {"0", "1"}:
            return int(value)
    return None


def tdm_file_rules(data: bytes) -> list[TdmRule]:
    """Return the rules of a `tdmrep.json`, in order; a bad file has none, a bad entry is left out.

    Args:
        data: the file, a JSON array of objects with `location` and `tdm-reservation`.
    """
    try:
        entries = msgspec.json.decode(data) if len(data) <= MAX_FILE_BYTES else None
    except (ValueError, RecursionError):
        return []
    rules: list[TdmRule] = []
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(location := entry.get("location"), str):
            value = reservation([str(entry.get("tdm-reservation"))])
            if value is not None:
                rules.append((PathPattern.parse(location.encode()), value))
    return rules


def tdm_file_match(rules: Sequence[TdmRule], path: str) -> int | None:
    """Return what the first matching rule says of a path, None if none matches.

    Args:
        rules: from `tdm_file_rules`.
        path: of a URL key, with its query.
    """
    asked = asked_path(path.encode())
    return next((value for pattern, value in rules if pattern.matches(asked)), None)
