"""`openwit-pipeline hashes show` and `check`: what is in a hash file, and whether it is whole."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.hashes.files import describe, faults, read_hashes


def show_hashes(path: str) -> dict[str, Any]:
    """Return what a hash file says of itself, its rows by set and variant, and its duplicates.

    Raises:
        RefusedError: if it is no hash file.
    """
    described = describe(path)
    names = ["set", "item", "variant", "dedup_hash", "dedup_chroma", "dedup_pixels"]
    table = pa.Table.from_batches([batch.select(names) for batch in read_hashes(path)])
    images = table.filter(pc.equal(table["variant"], "id"))
    distinct = images.group_by(["dedup_hash", "dedup_chroma", "dedup_pixels"]).aggregate([])
    return {
        **dataclasses.asdict(described),
        "sets": _counts(images, "set"),
        "variants": _counts(table, "variant"),
        "duplicates": images.num_rows - distinct.num_rows,
    }


def _counts(table: pa.Table, name: str) -> dict[str, int]:
    counted = table.group_by(name).aggregate([([], "count_all")])
    values = (counted[each].to_pylist() for each in (name, "count_all"))
    return dict(sorted(zip(*values, strict=True)))


def show_lines(shown: dict[str, Any]) -> list[str]:
    """Return what `show_hashes` gave as lines for people."""
    sets = ", ".join(f"{name} {count:,}" for name, count in shown["sets"].items())
    variants = ", ".join(f"{name} {count:,}" for name, count in shown["variants"].items())
    return [
        f"{shown['path']}: {shown['kind']}, hash version {shown['hash_version']}",
        f"images: {shown['images']:,} ({sets}); flat {shown['flats']:,}, equal to another "
        f"{shown['duplicates']:,}, unreadable when it was made {shown['bad']:,}",
        f"rows: {shown['rows']:,} ({variants})",
        f"digest: {shown['digest']}",
    ]


def check_hashes(paths: Sequence[str]) -> list[str]:
    """Return what is wrong with hash files.

    Raises:
        RefusedError: if one is missing.
    """
    return [fault for path in paths for fault in faults(path)]
