"""Opt-out marks of headers: what a page or an image says of itself before its first byte."""

import dataclasses
from collections.abc import Callable, Sequence

from filters.consent.content_usage import disallowed
from filters.consent.decision import TDM_MARK, usage_marks
from filters.consent.robots_tag import directives
from filters.consent.tdmrep import reservation

SIGNAL_HEADERS = ("tdm-reservation", "x-robots-tag", "content-usage")


@dataclasses.dataclass(frozen=True, slots=True)
class Signals:
    """Opt-outs as found; nothing is decided yet."""

    marks: tuple[str, ...] = ()
    """Sorted, each once."""
    tdm: int | None = None
    """TDMRep: 1, 0, or None if nothing was said."""


_NOTHING = Signals()


def header_signals(values: Callable[[str], Sequence[str]], keys: Sequence[str]) -> Signals:
    """Return the marks of HTTP headers.

    Args:
        values: gives all values of a header by its lower-case name.
        keys: of Content-Usage that count.
    """
    reserved, tags, usage = map(values, SIGNAL_HEADERS)
    if not (reserved or tags or usage):  # most
        return _NOTHING
    tdm = reservation(reserved)
    marks = {f"x-robots-tag:{directive}" for directive in directives(tags)}
    marks.update(usage_marks(disallowed(usage, keys)))
    if tdm == 1:
        marks.add(TDM_MARK)
    return Signals(tuple(sorted(marks)), tdm)
