"""X-Robots-Tag headers and robots metas: which of the directives that concern us they state."""

import re
from collections.abc import Iterable

DIRECTIVES = ("noai", "noimageai", "noml", "noimageindex", "noindex")
AGENTS = frozenset({"*", "openwit"})
VALUED = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})
"""Directives with a value of their own after the colon; they name no agent."""

_MEANING = {name: name for name in DIRECTIVES} | {"none": "noindex"}  # none: noindex and nofollow
# One character class, then a literal: linear.
_SCOPED = re.compile(r"([A-Za-z*][A-Za-z0-9_.*/-]*):(.*)", re.DOTALL)


def directives(values: Iterable[str], agents: frozenset[str] = AGENTS) -> list[str]:
    """Return the directives of `DIRECTIVES` that bind us, sorted, each once.

    Args:
        values: the values of all header fields of the name, or one meta's content.
        agents: lower-case names that mean us; an item before any name means everybody.

    Source: Google's X-Robots-Tag documentation for the form; each field value begins unscoped, an
    agent's name holds until the next.
    """
    found: set[str] = set()
    for value in values:
        applies = True
        for part in re.split("[,;]", value):
            item = part.strip()
            if scoped := _SCOPED.fullmatch(item):
                name, rest = scoped[1].lower(), scoped[2]
                if name in _MEANING:
                    item = f"{name} {rest}"
                else:
                    item = rest
                    if name not in VALUED:
                        applies = name.partition("/")[0] in agents
            if applies:
                found.update(_MEANING[word] for word in item.lower().split() if word in _MEANING)
    return sorted(found)
