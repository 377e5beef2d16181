"""Hash files made of made-up fetched rows."""

import pathlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline.hashes.files import HASHES, write_hashes
from tests.pipeline.dedup.fetched_rows import Row


def hash_rows(row: Row, name: str = "flowers", item: str = "", **columns: Any) -> list[Row]:
    """The rows of one image, as `hashes build` writes them but for the mirrored ones."""
    first = {
        "set": name,
        "item": item or row["pair_id"].hex(),
        "variant": "id",
        **{key: row.get(key) for key in HASHES.names if key.startswith("dedup_")},
        "width": row["original_width"],
        "height": row["original_height"],
        **columns,
    }
    trim = row.get("dedup_trim")
    if not trim:
        return [first]
    second = {"dedup_hash": trim[:64], "dedup_chroma": trim[64:96], "dedup_flags": trim[96]}
    return [first, {**first, "variant": "trim", **second}]


def hash_file(
    path: pathlib.Path, rows: Sequence[Row], kind: str = "eval", version: str = "ow1/p12"
) -> str:
    """Write a hash file and return where it is."""
    table = pa.Table.from_pylist(list(rows), schema=HASHES)
    write_hashes(str(path), table, kind=kind, hash_version=version, bad=0)
    return str(path)
