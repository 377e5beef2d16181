"""Where a new dataset goes: an empty folder, or one that the same command left unfinished."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.format.manifest import Manifest
from manifests.format.naming import ROOT_NAME, shard_name
from manifests.format.records import SHARD_FIELDS, ShardRecord, compact_json

MARKER = ".openwit-unfinished"
"""Says what is being written into a folder; goes when the manifest is there."""
MAX_MARKER_BYTES = 1 << 20


def check_outside(sources: Sequence[Manifest], out: str) -> None:
    """Refuse an output folder inside of a source, which would not be its own any more.

    Raises:
        RefusedError: naming both.
    """
    for source in sources:
        folder = source.tars or source.root
        if storage.is_local(folder) and storage.is_local(out):
            inside = pathlib.Path(out).resolve()
            if inside.is_relative_to(pathlib.Path(folder).resolve()):
                raise RefusedError(f"--out {out}: lies inside the dataset {folder}")


def prepare_out(out: str, sources: Sequence[Manifest], op: str, params: Mapping[str, Any]) -> bool:
    """Take a folder for a new dataset; tell whether the same command has just finished it there.

    Raises:
        RefusedError: if it lies inside a source, or holds something else than what the same
            command, on the same datasets, left behind.
    """
    check_outside(sources, out)
    digests = [source.digest for source in sources]
    mark = compact_json({"op": op, "params": dict(params), "sources": digests}) + b"\n"
    path = storage.join(out, MARKER)
    # A command that was killed before it could write its mark left a temporary file.
    if storage.is_empty(out) or {".tmp-" in name for name in storage.list_files(out)} == {True}:
        storage.write_atomic(path, mark)
    elif _read(path) != mark:
        raise RefusedError(f"--out {out}: is not empty: name a new folder")
    return storage.size_bytes(storage.join(out, ROOT_NAME)) is not None


def finish(out: str) -> None:
    """Give the folder to its dataset."""
    storage.remove(storage.join(out, MARKER))


def finished_shard(out: str, number: int, ids: pa.ChunkedArray) -> ShardRecord | None:
    """Return the record of a shard that an earlier run completed, with just these pairs."""
    data = _read(storage.join(out, shard_name(number, "json")))
    if data is None:
        return None
    try:
        value = json.loads(data)
        record = ShardRecord.from_json({name: value[name] for name in SHARD_FIELDS})
    except (ValueError, KeyError, TypeError):
        return None
    expected = (len(ids), ids[0].as_py(), ids[-1].as_py())
    same = (record.samples, record.pair_id_min, record.pair_id_max) == expected
    sizes = [storage.size_bytes(storage.join(out, file.path)) == file.bytes
             for file in (record.tar, record.parquet)]  # fmt: skip
    return record if same and all(sizes) else None


def _read(path: str) -> bytes | None:
    if storage.size_bytes(path) is None:
        return None
    with storage.open_read(path) as file:
        return file.read(MAX_MARKER_BYTES)
