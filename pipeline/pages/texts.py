"""The texts of an image element, each with its source, normalised and bounded."""

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from filters.text.normalize import text_norm, without_removed

MAX_RAW_CHARACTERS = 8_192
MAX_TEXT_CHARACTERS = 4_096
MAX_MARKS = 30
"""Combining marks in a row, as in the stream-safe format of UAX #15; the rest is cut."""

ATTRIBUTE_SOURCES = ("alt", "title", "aria-label", "data-image-title", "data-image-description")
SOURCES = (
    "alt",
    "figcaption",
    *ATTRIBUTE_SOURCES[1:],
    "og:image:alt",
    "twitter:image:alt",
    "jsonld",
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
    "jsonld",
]

# Lone surrogates, and what a decoder writes where bytes were none of its encoding.
_INVALID = re.compile("[\ufffd\ud800-\udfff]")
_FILE_NAME = re.compile(r"[\w\-. %()]+\.(?:jpe?g|png|gif|webp|avif|svg)", re.IGNORECASE)
_CACHED_CHARACTERS = 256


class FoundText(NamedTuple):
    """A text as `match` will see it."""

    source: str
    text: str
    raw: str | None
    """Before normalisation; None when equal."""
    is_cut: bool


class Texts(NamedTuple):
    """The texts of one element."""

    found: tuple[FoundText, ...]
    """In the order of `SOURCES`, no text twice."""
    has_invalid: bool
    """Whether one was left out because it holds U+FFFD or a lone surrogate."""
    is_truncated: bool = False
    """Whether any text was cut."""
    is_file_name: bool = False
    """Whether the alt text is the name of an image file."""


NO_TEXTS = Texts((), False)


def attribute_texts(attributes: Mapping[str, str], sources: Iterable[str]) -> Texts:
    """Return the texts of an element's own attributes; other sources are passed over."""
    values = [(name, value) for name in sources if (value := attributes.get(name))]
    if not values:
        return NO_TEXTS
    if len(values) == 1 and len(values[0][1]) <= _CACHED_CHARACTERS:
        return _sole_text(*values[0])
    return read_texts(values)


def read_texts(values: Iterable[tuple[str, str]]) -> Texts:
    """Normalise (source, value) pairs in the order of `SOURCES`."""
    found: list[FoundText] = []
    has_invalid = False
    for source, value in values:
        text = _read(source, value)
        if text is None:
            has_invalid = True
        elif text.text and text.text not in [each.text for each in found]:
            found.append(text)
    return _texts(found, has_invalid)


@functools.lru_cache(maxsize=4096)
def _sole_text(source: str, value: str) -> Texts:
    return read_texts([(source, value)])


def _texts(found: Iterable[FoundText], has_invalid: bool) -> Texts:
    texts = tuple(found)
    is_truncated = is_name = False
    for text in texts:
        is_truncated = is_truncated or text.is_cut
        is_name = is_name or (text.source == "alt" and is_file_name(text.text))
    return Texts(texts, has_invalid, is_truncated, is_name)


def merge_texts(first: Texts, second: Texts) -> Texts:
    """Return the texts of two elements that are one image; of equal texts the first rank stays."""
    if not second.found:
        return first if not second.has_invalid else first._replace(has_invalid=True)
    ranked = sorted(
        (*first.found, *second.found), key=lambda each: SOURCES.index(each.source)
    )  # stable: the first element's texts come first
    found: dict[str, FoundText] = {}
    for each in ranked:
        found.setdefault(each.text, each)
    return _texts(found.values(), first.has_invalid or second.has_invalid)


def is_file_name(text: str) -> bool:
    """Say whether a text is the name of an image file."""
    return "." in text and _FILE_NAME.fullmatch(text) is not None


def _read(source: str, value: str) -> FoundText | None:
    """Return the text, which may be empty, or None if it is invalid."""
    if len(value) <= MAX_TEXT_CHARACTERS and value.isascii():  # most: nothing else can be wrong
        text = text_norm(value)
        return FoundText(source, text, None if text == value else value, False)
    raw = value[:MAX_RAW_CHARACTERS]
    if not raw.isascii() and _INVALID.search(raw):
        return None
    shown = raw if raw.isascii() else without_removed(raw)
    kept = _cut_marks(shown)
    normal = text_norm(kept)
    text = _cut_marks(normal)
    is_cut = (
        len(value) > MAX_RAW_CHARACTERS
        or len(kept) < len(shown)
        or len(text) < len(normal)
        or len(text) > MAX_TEXT_CHARACTERS
    )
    if is_cut:
        text = text[:MAX_TEXT_CHARACTERS].strip()
    return FoundText(source, text, None if raw == text else raw, is_cut)


def _cut_marks(text: str) -> str:
    """Cut each run of combining marks to `MAX_MARKS`."""
    if len(text) <= MAX_MARKS or text.isascii() or not any(map(unicodedata.combining, text)):
        return text
    kept: list[str] = []
    run = 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run <= MAX_MARKS:
            kept.append(character)
    return "".join(kept)
