"""Synsets of WordNet 3.0 or 3.1: one name each, or all their words."""

from collections.abc import Iterator
from typing import Literal

from manifests.base import storage
from manifests.base.errors import RefusedError

FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
MARKERS = ("(a)", "(p)", "(ip)")
"""Adjective markers at the end of a word: attributive, predicative, immediately postnominal."""


def wordnet_paths(folder: str) -> list[str]:
    """Return the paths of the four data files.

    Raises:
        RefusedError: if one is missing.
    """
    paths = [storage.join(folder, name) for name in FILES]
    for path in paths:
        if storage.size_bytes(path) is None:
            raise RefusedError(
                f"{path}: no such file: queries.wordnet must be a folder with {', '.join(FILES)}"
            )
    return paths


def read_synsets(folder: str) -> Iterator[list[str]]:
    """Yield the words of each synset, lower case, blanks for underscores, first word first.

    Raises:
        RefusedError: if a file is missing or a line is no synset; names the line.
    """
    for path in wordnet_paths(folder):
        with storage.open_read(path) as file:
            for number, line in enumerate(file, 1):
                if not line.startswith(b"  "):  # two blanks: licence text
                    yield _words(line, path, number)


def read_names(folder: str, lemmas: Literal["first", "all"]) -> list[str]:
    """Return the distinct names, sorted as UTF-8 bytes.

    Args:
        folder: holds the four data files.
        lemmas: `first` takes the first word of a synset, `all` every word.
    """
    end = 1 if lemmas == "first" else None
    names = {word for words in read_synsets(folder) for word in words[:end]}
    return sorted(names)


def _words(line: bytes, path: str, number: int) -> list[str]:
    # Fields: offset, file number, type, number of words (hex), then word and sense in turns.
    try:
        fields = line.decode().split(" ")
        count = int(fields[3], 16)
        words = fields[4 : 4 + 2 * count : 2]
    except (UnicodeDecodeError, IndexError, ValueError):
        words, count = [], 0
    if not count or len(words) != count:
        raise RefusedError(f"{path} line {number}: {line[:40]!r}: not a synset of WordNet 3")
    return [_name(word) for word in words]


def _name(word: str) -> str:
    for marker in MARKERS:
        word = word.removesuffix(marker)
    return word.lower().replace("_", " ")
