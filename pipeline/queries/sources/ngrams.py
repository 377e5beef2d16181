"""Counts of words and bigrams that were made elsewhere, as tab-separated lines."""

import dataclasses
from collections.abc import Iterator

from filters.queries.match_form import match_form
from manifests.base.errors import RefusedError
from pipeline.queries.lines import MALFORMED_PERCENT, split_lines
from pipeline.queries.sources.inflate import Inflater


@dataclasses.dataclass
class NgramCounts:
    """What the reading of files found besides the counts."""

    total: int = 0
    """Words in all, as the files say; 0 if none does."""
    malformed: int = 0
    """Lines that are none."""


def read_ngrams(paths: tuple[str, ...], found: NgramCounts) -> Iterator[tuple[str, ...]]:
    """Yield (word, count) and (first, second, count), counts as digits; add to `found`.

    A line is malformed if a word of it is not one token of `match_form`.

    Raises:
        RefusedError: if a file has more than 1 % of malformed lines; names the first.
    """
    for path in paths:
        lines = bad = first_bad = 0
        for lines, line in enumerate(split_lines(Inflater(path)), 1):
            fields = _fields(line)
            if fields is None:
                bad += 1
                first_bad = first_bad or lines
            elif fields[0]:
                yield fields
            else:
                found.total += int(fields[1])
        if bad * 100 > lines * MALFORMED_PERCENT:
            raise RefusedError(
                f"{path} line {first_bad}: {bad} of {lines} lines are not `word TAB count` or "
                "`first TAB second TAB count`: is it a file of counts?"
            )
        found.malformed += bad


def _fields(line: bytes) -> tuple[str, ...] | None:
    try:
        *words, count = line.decode().rstrip("\r").split("\t")
    except UnicodeDecodeError:
        return None
    if not (count.isascii() and count.isdigit() and len(count) <= 18 and 1 <= len(words) <= 2):
        return None
    if words == [""]:
        return ("", count)
    if any(match_form(word) != f" {word} " or " " in word for word in words):
        return None
    return (*words, count)
