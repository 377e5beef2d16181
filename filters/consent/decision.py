"""From marks to a verdict: which opt-outs are honoured.

A mark is a text, `SIGNAL:STATEMENT`. Marking and honouring are apart, so that a mark that is not
honoured is still on record with its pair.
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from filters.consent.robots_tag import DIRECTIVES
from filters.verdict import Drop, DropReason

TDM_MARK = "tdm:1"
DEFAULT_KEYS = ("train-ai",)
ALL_MARKS = (
    *(f"x-robots-tag:{directive}" for directive in DIRECTIVES),
    *(f"robots:{directive}" for directive in DIRECTIVES),
    TDM_MARK,
    *(f"content-usage:{key}=n" for key in DEFAULT_KEYS),
)
"""Every mark there is under the default keys."""
_TOKEN = re.compile("[A-Za-z_-]+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsentSettings:
    """Which opt-outs are honoured (`[consent]`)."""

    honour: tuple[str, ...] = ALL_MARKS
    """Marks that block a pair before any request; the manifest shows which were taken out."""
    content_usage_keys: tuple[str, ...] = DEFAULT_KEYS
    """Keys of Content-Usage whose `n` is a mark; one that is added here is always honoured."""
    also_obey: tuple[str, ...] = ()
    """Further product tokens of robots.txt, letters, `_` and `-`; what any of them may not fetch
    is not fetched."""
    robots_denied: Literal["disallow", "allow"] = "disallow"
    """What 401 and 403 for robots.txt mean; `allow` as RFC 9309 has it."""
    tdm_file: bool = True
    """Whether `/.well-known/tdmrep.json` is asked for."""

    def __post_init__(self) -> None:
        """Refuse marks that can never occur.

        Raises:
            ValueError: if an entry of `honour` is no mark, a key is empty, or a token is none.
        """
        for token in self.also_obey:
            if not _TOKEN.fullmatch(token):
                raise ValueError(f"also_obey must be letters, _ and -, got {token!r}")
        if not all(self.content_usage_keys):
            raise ValueError(f"content_usage_keys must be names, got {self.content_usage_keys!r}")
        known = {*ALL_MARKS, *usage_marks(self.content_usage_keys)}
        for mark in self.honour:
            if mark not in known:
                raise ValueError(f"honour must be of {', '.join(sorted(known))}, got {mark!r}")


def usage_marks(keys: Iterable[str]) -> list[str]:
    """Return the marks of Content-Usage keys, in their order."""
    return [f"content-usage:{key}=n" for key in keys]


def blocked_by(
    marks: Sequence[str],
    settings: ConsentSettings,
    reason: DropReason = DropReason.OPTOUT_PAGE,
) -> Drop | None:
    """Drop a pair for its first honoured mark, which is the value; None if none is honoured.

    Args:
        marks: of a page or an image, sorted.
        settings: which are honoured.
        reason: `OPTOUT_PAGE` for a page's marks, `OPTOUT_IMAGE` for an image's own.
    """
    added = {*usage_marks(settings.content_usage_keys)} - {*usage_marks(DEFAULT_KEYS)}
    for mark in marks:
        if mark in settings.honour or mark in added:
            return Drop(reason, mark)
    return None
