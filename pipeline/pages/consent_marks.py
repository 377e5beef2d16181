"""Opt-out marks of a page: its headers and its metas together."""

import functools
from collections.abc import Sequence

from filters.consent.decision import TDM_MARK
from filters.consent.marks import Signals
from filters.consent.robots_tag import directives
from filters.consent.tdmrep import reservation
from pipeline.pages.page import Meta

ROBOTS_NAMES = frozenset({"robots", "openwit"})
TDM_NAME = "tdm-reservation"
CONSENT_NAMES = frozenset({*ROBOTS_NAMES, TDM_NAME})
_CACHED_CHARACTERS = 128


def page_signals(header: Signals, metas: Sequence[Meta]) -> Signals:
    """Return the page's marks: for TDMRep a meta beats the header, all else adds up."""
    stated = tuple([meta for meta in metas if meta.name in CONSENT_NAMES])
    if not stated:
        return header
    is_short = sum(len(meta.content) for meta in stated) <= _CACHED_CHARACTERS
    return _often(header, stated) if is_short else _joined(header, stated)


def _joined(header: Signals, metas: Sequence[Meta]) -> Signals:
    stated = [meta.content for meta in metas if meta.name in ROBOTS_NAMES]
    marks = {f"robots:{directive}" for content in stated for directive in directives([content])}
    marks.update(mark for mark in header.marks if mark != TDM_MARK)
    own = reservation(meta.content for meta in metas if meta.name == TDM_NAME)
    tdm = header.tdm if own is None else own
    if tdm == 1:
        marks.add(TDM_MARK)
    return Signals(tuple(sorted(marks)), tdm)


@functools.lru_cache(maxsize=1024)
def _often(header: Signals, metas: tuple[Meta, ...]) -> Signals:
    """Return the same for the same few metas that most pages have."""
    return _joined(header, metas)
