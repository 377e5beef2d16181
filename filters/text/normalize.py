"""Raw text to the text of a pair: character references, invisible characters, NFC, blanks."""

import functools
import html
import html.entities
import itertools
import re
import unicodedata

from filters.text.categories import ranges, regex_class

REMOVE = (
    *((0x00AD, 0x00AD), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x2064)),
    *((0x2066, 0x2069), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
)
"""Invisible characters, as inclusive ranges: soft hyphen, zero-width, bidi controls, variation
selectors."""
LONG_RUN = 64
"""Marks in a row from which `nfc` sorts them itself; UAX #15 finds 30 more than any text needs."""

# All linear: single classes, or one bounded alternative after a fixed character.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_REMOVED = re.compile(f"[{regex_class(REMOVE)}]+")
_REFERENCE = re.compile(r"&(#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,7}|[A-Za-z][A-Za-z0-9]{1,31});")


def text_norm(text: str, entity_passes: int = 0) -> str:
    """Return the text of a pair.

    Args:
        text: as found; an HTML parser has already decoded its character references.
        entity_passes: how often to decode references that end in `;`: 0 after an HTML parser.
    """
    text = decode_references(text, entity_passes)
    if not text.isascii():
        text = nfc(without_removed(text))
    if not text.isprintable():
        text = _CONTROLS.sub(" ", text)
    return " ".join(text.split())  # several times faster than a pattern of all white space


def decode_references(text: str, passes: int = 1) -> str:
    """Return a text with its character references decoded, so many times; only those with a `;`."""
    for _ in range(passes):
        text = _REFERENCE.sub(_decode, text)
    return text


def without_removed(text: str) -> str:
    """Return a text without the characters of `REMOVE`."""
    return _REMOVED.sub("", text)


def nfc(text: str) -> str:
    """Return Unicode normalisation form C, in linear time.

    `unicodedata` sorts a run of combining marks by insertion, quadratic in its length: 6 seconds
    for 65,536 marks. Long runs are put in canonical order first, which changes no result.
    """
    if len(text) >= LONG_RUN and _long_run().search(text):
        text = _ordered(text)
    return unicodedata.normalize("NFC", text)


def _decode(reference: re.Match[str]) -> str:
    # `html.unescape` would also decode a known beginning, such as that of "&notit;".
    if reference[1].startswith("#"):
        return html.unescape(reference[0])
    return html.entities.html5.get(f"{reference[1]};", reference[0])


def _ordered(text: str) -> str:
    """Return the text decomposed, each run of marks sorted by combining class."""
    decomposed = "".join([unicodedata.normalize("NFD", character) for character in text])
    return "".join(
        character
        for is_run, run in itertools.groupby(decomposed, lambda c: unicodedata.combining(c) > 0)
        for character in (sorted(run, key=unicodedata.combining) if is_run else run)
    )


@functools.cache
def _long_run() -> re.Pattern[str]:
    # All beyond the first plane counts as marks: many ranges there make the class 30 times slower.
    marks = [span for span in ranges("M") if span[1] < 0x10000]
    mark = f"[{regex_class([*marks, (0x10000, 0x10FFFF)])}]"
    return re.compile(f"{mark}{mark}{{{LONG_RUN - 1}}}")  # a first class of its own is scanned for
