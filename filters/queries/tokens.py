"""Texts to the spans of their tokens, without writing the spaced texts out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from filters.queries.match_form import JOIN, SEPARATOR, V1_BLANKS, V1_SPACED, Case, match_forms
from filters.queries.phrases import WORD_BYTES, Tokens

_WORD, _BLANK, _MARK, _JOIN = range(4)
"""Classes of bytes; a blank makes one cut, a mark two."""
_PADDING = b"\n" * WORD_BYTES


def _classes() -> NDArray[np.uint8]:
    """Return the class of each byte; those of longer characters are parts of words."""
    table = np.full(256, _WORD, np.uint8)
    for byte in range(128):
        character = chr(byte)
        if character <= " " or byte == 127:
            table[byte] = _BLANK
        elif character in JOIN:
            table[byte] = _JOIN
        elif not character.isalnum():
            table[byte] = _MARK
    return table


_CLASSES = _classes()
_V1_CLASSES = np.full(256, _WORD, np.uint8)
_V1_CLASSES[list(f" {V1_BLANKS}".encode())] = _BLANK
_V1_CLASSES[list(V1_SPACED.encode())] = _MARK
_SPLIT_CLASSES = np.full(256, _WORD, np.uint8)
_SPLIT_CLASSES[list(b" \n")] = _BLANK


def forms_of(texts: Sequence[str], case: Case = "sensitive") -> list[str]:
    """Return what `form_tokens` cuts: ASCII texts as they are, of others their `match_form`."""
    forms = list(texts)
    others = [place for place, text in enumerate(forms) if not text.isascii()]
    if others:
        found = match_forms([forms[place] for place in others], case).split(SEPARATOR)
        for place, form in zip(others, found, strict=True):
            forms[place] = form
    return forms


def form_tokens(forms: Sequence[str], case: Case = "sensitive") -> Tokens:
    """Return the tokens between the blanks of each text's `match_form`.

    ASCII texts are cut where they are: at blanks, around marks, but not at a joint inside a word.
    The same rule cuts a form into its own tokens.

    Args:
        forms: of `forms_of`.
        case: as in `forms_of`.
    """
    joined = _joined(forms)
    if case == "fold":
        joined = joined.casefold()  # of a form this changes nothing
    data = b"\n" + joined.encode() + _PADDING
    classes = _CLASSES[np.frombuffer(data, np.uint8)]
    joints = np.flatnonzero(classes == _JOIN)
    is_inside = (classes[joints - 1] == _WORD) & (classes[joints + 1] == _WORD)
    classes[joints] = np.where(is_inside, _WORD, _MARK)
    is_mark = classes == _MARK
    is_word = classes == _WORD
    starts = np.flatnonzero(is_mark[1:] | (is_word[1:] & ~is_word[:-1])) + 1
    stops = np.flatnonzero(is_mark[:-1] | (is_word[:-1] & ~is_word[1:])) + 1
    return _with_rows(data, starts, stops - starts, len(forms))


def v1_tokens(texts: Sequence[str]) -> Tokens:
    """Return what is between any two blanks of each text's `normalise_v1`, be it nothing."""
    return _cut(texts, _V1_CLASSES)


def split_tokens(queries: Sequence[str]) -> Tokens:
    """Return what is between any two blanks of each query, be it nothing."""
    return _cut(queries, _SPLIT_CLASSES)


def _cut(texts: Sequence[str], table: NDArray[np.uint8]) -> Tokens:
    data = b"\n" + _joined(texts).encode() + _PADDING
    classes = table[np.frombuffer(data, np.uint8, len(data) - WORD_BYTES + 1)]
    cuts = np.flatnonzero(classes != _WORD)
    # A blank is one cut; a mark has one on each side, which leaves the mark between them.
    sizes = classes[cuts].astype(np.int64)
    last = np.cumsum(sizes) - 1
    marks = last[sizes == _MARK]
    starts, stops = np.repeat(cuts + 1, sizes), np.repeat(cuts, sizes)
    starts[marks - 1] -= 1
    stops[marks] += 1
    return _with_rows(data, starts[:-1], stops[1:] - starts[:-1], len(texts))


def _joined(texts: Sequence[str]) -> str:
    return SEPARATOR.join([text.replace(SEPARATOR, " ") for text in texts])


def _with_rows(
    data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64], count: int
) -> Tokens:
    if not count:
        return Tokens(data, *[np.zeros(0, np.int64)] * 3)
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord(SEPARATOR))[: count + 1]
    firsts = np.searchsorted(starts, ends, side="right")
    rows = np.repeat(np.arange(count), np.diff(firsts))
    return Tokens(data, starts, lengths, rows)
