"""The texts of an image element, each with its source, normalised and bounded."""

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Literal

from filters.text.normalize import text_norm

MAX_RAW_CHARACTERS = 8_192
MAX_TEXT_CHARACTERS = 4_096

ATTRIBUTE_SOURCES = ("alt", "title", "aria-label", "data-image-title", "data-image-description")
SOURCES = (
    "alt",
    "figcaption",
    *ATTRIBUTE_SOURCES[1:],
    "og:image:alt",
    "twitter:image:alt",
)
"""Where texts come from; the first source of a text has the first rank."""
TextSource = Literal[
    "alt",
    "figcaption",
    "title",
    "aria-label",
    "data-image-title",
    "data-image-description",
    "og:image:alt",
    "twitter:image:alt",
]

# Lone surrogates, and what a decoder writes where bytes were none of its encoding.
_INVALID = re.compile("[\ufffd\ud800-\udfff]")
_FILE_NAME = re.compile(r"[\w\-. %()]+\.(?:jpe?g|png|gif|webp|avif|svg)", re.IGNORECASE)
_CACHED_CHARACTERS = 256


@dataclasses.dataclass(frozen=True, slots=True)
class FoundText:
    """A text as `match` will see it."""

    source: str
    text: str
    raw: str | None
    """Before normalisation; None when equal."""
    is_cut: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one element."""

    found: tuple[FoundText, ...]
    """In the order of `SOURCES`, no text twice."""
    has_invalid: bool
    """Whether one was left out because it holds U+FFFD or a lone surrogate."""

    @property
    def is_truncated(self) -> bool:
        """Whether any text was cut."""
        return any(text.is_cut for text in self.found)

    @property
    def is_file_name(self) -> bool:
        """Whether the alt text is the name of an image file."""
        return any(each.source == "alt" and is_file_name(each.text) for each in self.found)


NO_TEXTS = Texts((), False)


def attribute_texts(attributes: Mapping[str, str], sources: Iterable[str]) -> Texts:
    """Return the texts of an element's own attributes; other sources are passed over."""
    values = [(name, attributes[name]) for name in sources if name in attributes]
    return read_texts(values) if values else NO_TEXTS


def read_texts(values: Iterable[tuple[str, str]]) -> Texts:
    """Normalise (source, value) pairs in the order of `SOURCES`."""
    found: list[FoundText] = []
    has_invalid = False
    for source, value in values:
        cleaned = _clean_short(value) if len(value) <= _CACHED_CHARACTERS else _clean(value)
        if cleaned is None:
            has_invalid = True
            continue
        text, raw, is_cut = cleaned
        if text and all(text != each.text for each in found):
            found.append(FoundText(source, text, raw, is_cut))
    return Texts(tuple(found), has_invalid)


def merge_texts(first: Texts, second: Texts) -> Texts:
    """Return the texts of two elements that are one image; of equal texts the first rank stays."""
    if not second.found:
        return first if not second.has_invalid else Texts(first.found, True)
    ranked = sorted(
        (*first.found, *second.found), key=lambda each: SOURCES.index(each.source)
    )  # stable: the first element's texts come first
    found: dict[str, FoundText] = {}
    for each in ranked:
        found.setdefault(each.text, each)
    return Texts(tuple(found.values()), first.has_invalid or second.has_invalid)


def is_file_name(text: str) -> bool:
    """Say whether a text is the name of an image file."""
    return _FILE_NAME.fullmatch(text) is not None


def _clean(value: str) -> tuple[str, str | None, bool] | None:
    """Return (text, raw if different, whether it was cut), or None for an invalid text."""
    raw = value[:MAX_RAW_CHARACTERS]
    if _INVALID.search(raw):
        return None
    text = text_norm(raw)
    is_cut = len(value) > MAX_RAW_CHARACTERS or len(text) > MAX_TEXT_CHARACTERS
    if is_cut:
        text = text[:MAX_TEXT_CHARACTERS].strip()
    return text, None if raw == text else raw, is_cut


_clean_short = functools.lru_cache(maxsize=4096)(_clean)
