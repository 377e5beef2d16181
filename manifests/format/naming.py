"""Names in a dataset: keys of samples, files of shards, and which paths a manifest may hold."""

import re
import unicodedata

KEY_DIGITS = 9
MAX_SAMPLES = 10**KEY_DIGITS
MAX_PATH_CHARACTERS = 200
ROOT_NAME = "manifest.json"
LOCK_NAME = ".openwit-lock"
"""Held by a command that changes a dataset in place."""
EXPORT_NAMES = (
    "README.md",
    "SHA256SUMS",
    "blocklist/domain.txt",
    "blocklist/pair.txt",
    "blocklist/sha256.txt",
    "croissant.json",
    "datacomp.npy",
    "shards/sizes.json",
    "wids.json",
)
"""Files that `export` writes into a dataset; no manifest lists them."""
IMAGE_EXT = "jpg"
"""Of every image: readers are told one extension for a dataset."""

# One character class with a bounded count: linear in the text.
_KEY = re.compile(r"[0-9]{9}")
_PLAIN_PATH = re.compile(r"[a-z0-9_-][a-z0-9._-]*(?:/[a-z0-9_-][a-z0-9._-]*)*")


def format_key(number: int) -> str:
    """Return the key of a sample: its rank in the dataset, 9 digits.

    Raises:
        ValueError: if the number needs more digits.

    >>> format_key(10000)
    '000010000'
    """
    if not 0 <= number < MAX_SAMPLES:
        raise ValueError(f"key must be from 0 to {MAX_SAMPLES - 1}, got {number}")
    return f"{number:0{KEY_DIGITS}d}"


def parse_key(key: str) -> int:
    """Return the number of a key.

    Raises:
        ValueError: if it is not 9 ASCII digits.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"key must be {KEY_DIGITS} digits, got {key!r}")
    return int(key)


def shard_name(number: int, ext: str, revision: int = 0) -> str:
    """Return the path of a shard's file relative to the dataset.

    >>> shard_name(42, "tar")
    'shards/00000042.tar'
    >>> shard_name(42, "tar", 1)
    'shards/00000042-r1.tar'
    """
    return f"shards/{number:08d}{revision_mark(revision)}.{ext}"


def revision_mark(revision: int) -> str:
    """Return what the names of files have that a takedown in place wrote; "" at the first."""
    return f"-r{revision}" if revision else ""


def path_problem(path: str) -> str | None:
    """Return why a manifest may not hold this path, or None.

    Paths are relative, with `/` only, so that nothing outside the dataset can be named.
    """
    if _PLAIN_PATH.fullmatch(path) and len(path) <= MAX_PATH_CHARACTERS:
        return None
    parts = path.split("/")
    problems = {
        f"is longer than {MAX_PATH_CHARACTERS} characters": len(path) > MAX_PATH_CHARACTERS,
        "has an empty part, '.' or '..'": any(part in ("", ".", "..") for part in parts),
        "has a backslash": "\\" in path,
        "has a control character": any(unicodedata.category(char)[0] == "C" for char in path),
        "has ':' in its first part": ":" in parts[0],
        "is not NFC": not unicodedata.is_normalized("NFC", path),
    }
    return next((problem for problem, found in problems.items() if found), None)
