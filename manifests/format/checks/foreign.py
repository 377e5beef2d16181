"""Samples of a tar that others wrote: each is looked at by its offsets, names are not ours."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from manifests.base.errors import OpenwitError
from manifests.format.checks.members import decode_problem
from manifests.format.ids import pair_id
from manifests.format.reader import ShardReader
from manifests.format.records import Finding

FORMATS = ("JPEG", "PNG", "WEBP")
READ_ROWS = 64
"""Samples that are read at once."""


def check_foreign(
    reader: ShardReader,
    rows: pa.RecordBatch | None,
    *,
    skip: frozenset[int],
    progress: Callable[[int], None],
) -> list[Finding]:
    """Compare a tar with its recorded digest, and each sample with its row of the sidecar."""
    file = reader.shard.tar
    findings = reader.check_sha256(file)
    try:
        for number, row, image, text in _samples(reader, rows):
            for code, message in _problems(number, row, image, text, skip, progress):
                findings.append(reader.finding(code, file, message, key=row["key"]))
    except OpenwitError as error:
        findings.append(reader.finding("unreadable_file", file, str(error)[:200]))
    return findings


def _samples(
    reader: ShardReader, rows: pa.RecordBatch | None
) -> Iterator[tuple[int, dict[str, Any], bytes, bytes]]:
    values = [] if rows is None else rows.to_pylist()
    for start in range(0, len(values), READ_ROWS):
        part = values[start : start + READ_ROWS]
        ranges = [(row[f"{kind}_offset"], row[f"{kind}_bytes"])
                  for kind in ("image", "text") for row in part]  # fmt: skip
        found = reader.read_ranges(ranges)
        for at, row in enumerate(part):
            yield start + at, row, found[at], found[len(part) + at]


def _problems(
    number: int,
    row: dict[str, Any],
    image: bytes,
    text: bytes,
    skip: frozenset[int],
    progress: Callable[[int], None],
) -> Iterator[tuple[str, str]]:
    if hashlib.sha256(image).hexdigest() != row["sha256"]:
        yield "image_mismatch", "another image"
    elif number not in skip:
        progress(number)
        code, message = decode_problem(image, row, FORMATS)
        progress(-1)
        if code:
            yield code, message
    if row["text_bytes"] and text != row["caption"].encode():
        yield "caption_mismatch", "the text member is not the caption of its row"
    if pair_id(row["url"], row["caption"]).hex() != row["pair_id"]:
        yield "pair_id_mismatch", "is not the id of its url and caption"
