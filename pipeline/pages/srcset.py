"""The srcset attribute: its candidates by the WHATWG algorithm, and the one we would fetch."""

import dataclasses
import re

MAX_CANDIDATES = 256
"""Of one attribute; the rest is ignored."""
BEST_DENSITY = 2.0

# Classes, or possessive repetitions of them: linear.
_SEPARATORS = re.compile(r"[ \t\n\f\r,]*")
_BLANKS = re.compile(r"[ \t\n\f\r]*")
_URL = re.compile(r"[^ \t\n\f\r]*")
_DESCRIPTOR = re.compile(r"(?:[^ \t\n\f\r,(]++|\([^)]*+\)?+)++")
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class SourceCandidate:
    """One image of a srcset."""

    url: str
    width_px: int | None
    density: float | None


def parse_srcset(text: str) -> list[SourceCandidate]:
    """Return the candidates in order; one with a bad descriptor is left out.

    Source: HTML standard, "parse a srcset attribute".
    """
    candidates: list[SourceCandidate] = []
    at = 0
    while len(candidates) < MAX_CANDIDATES:
        at = _end(_SEPARATORS, text, at)
        if at >= len(text):
            break
        start, at = at, _end(_URL, text, at)
        url = text[start:at]
        descriptors: list[str] = []
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            descriptors, at = _descriptors(text, at)
        candidate = _candidate(url, descriptors)
        if candidate:
            candidates.append(candidate)
    return candidates


def by_preference(candidates: list[SourceCandidate], max_width_px: int) -> list[SourceCandidate]:
    """Sort candidates, the one to fetch first.

    If any has a width, only those count: the largest up to `max_width_px`, then the smallest above.
    Else the largest density up to 2, then the smallest above. Equal ones stay in order.
    """
    if len(candidates) < 2:
        return candidates
    wide = [(each.width_px, each) for each in candidates if each.width_px is not None]
    if wide:
        return _sorted(wide, max_width_px)
    return _sorted([(each.density or 1.0, each) for each in candidates], BEST_DENSITY)


def _sorted(
    sized: list[tuple[int, SourceCandidate]] | list[tuple[float, SourceCandidate]], most: float
) -> list[SourceCandidate]:
    fitting = sorted((pair for pair in sized if pair[0] <= most), key=lambda pair: -pair[0])
    above = sorted((pair for pair in sized if pair[0] > most), key=lambda pair: pair[0])
    return [candidate for _, candidate in [*fitting, *above]]


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _descriptors(text: str, at: int) -> tuple[list[str], int]:
    """Return the words up to the next comma outside parentheses, and what follows that comma."""
    words: list[str] = []
    while True:
        at = _end(_BLANKS, text, at)
        word = _DESCRIPTOR.match(text, at)
        if not word:
            return words, at + 1
        words.append(word[0])
        at = word.end()


def _candidate(url: str, descriptors: list[str]) -> SourceCandidate | None:
    width: int | None = None
    height: int | None = None
    density: float | None = None
    for word in descriptors:
        number, unit = word[:-1], word[-1]
        if unit == "w" and _WHOLE.fullmatch(number) and int(number) and width is density is None:
            width = int(number)
        elif unit == "x" and _NUMBER.fullmatch(number) and width is density is height is None:
            density = float(number)
            if density < 0:
                return None
        elif unit == "h" and _WHOLE.fullmatch(number) and int(number) and height is density is None:
            height = int(number)
        else:
            return None
    if height is not None and width is None:
        return None
    return SourceCandidate(url, width, density)
