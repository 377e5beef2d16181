"""Near-duplicates: the groups with most members, and those whose members are farthest apart."""

import collections
import dataclasses
import heapq
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.format.manifest import Manifest
from manifests.format.naming import path_problem
from manifests.report.pictures import Picture, find, largest, picture

LISTED = 20
MEMBERS = 6
"""Dropped members of a group that are shown: the farthest ones."""
FEW = 6
"""Distances of a group that are listed one by one."""
READ_ROWS = 65_536
ID_DIGITS = 32
_FETCHED = ("pair_id", "text", "width", "height", "blob", "blob_offset", "blob_bytes")


@dataclasses.dataclass(frozen=True)
class Group:
    """A stored image and near-duplicates that were dropped for it."""

    kept: Picture
    distances: str
    """Hamming distances to it, bits."""
    members: list[Picture]


def groups(manifest: Manifest, stages: str | None) -> dict[str, list[Group]]:
    """Return the largest and the widest groups by title.

    Args:
        manifest: the dataset.
        stages: ROOT/stages of its run, where the images of dropped members are.

    Raises:
        RefusedError: if there are none.
    """
    shown = {
        "Largest groups": largest(manifest, LISTED),
        "Widest groups": find(manifest, _widest(manifest)),
    }
    wanted = {each.row["pair_id"] for pictures in shown.values() for each in pictures}
    if not wanted:
        raise RefusedError("no pair stands for near-duplicates")
    bits, members = _members(manifest, wanted)
    images = _images(stages, {row["pair_id"] for found in members.values() for _, row in found})
    return {
        title: [
            Group(
                each,
                _distances(bits[each.row["pair_id"]]),
                [_member(row, far, images) for far, row in members[each.row["pair_id"]]],
            )
            for each in pictures
        ]
        for title, pictures in shown.items()
    }


def _members(
    manifest: Manifest, wanted: set[str]
) -> tuple[dict[str, collections.Counter[int]], dict[str, list[tuple[int, dict[str, Any]]]]]:
    """Return for each group how often which distance occurs, and its farthest members."""
    bits: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)
    members: dict[str, list[tuple[int, dict[str, Any]]]] = collections.defaultdict(list)
    for table, kept, distances in _dropped(manifest):
        hits = pc.is_in(kept, value_set=pa.array(sorted(wanted)))
        found = (kept.filter(hits).to_pylist(), distances.filter(hits).to_pylist())
        for row, identity, distance in zip(table.filter(hits).to_pylist(), *found, strict=True):
            bits[identity][distance] += 1
            members[identity].append((distance, row))
        for identity, held in members.items():
            members[identity] = heapq.nsmallest(
                MEMBERS, held, lambda each: (-each[0], each[1]["pair_id"])
            )
    return bits, members


def ledger(manifest: Manifest) -> Iterator[pa.Table]:
    """Yield the dropped pairs of all stages, a bounded number at a time."""
    for file in manifest.listed("ledger"):
        with storage.open_read(manifest.path(file.path)) as opened:
            for batch in pq.ParquetFile(opened).iter_batches(READ_ROWS):
                yield pa.table(batch)


def _dropped(manifest: Manifest) -> Iterator[tuple[pa.Table, pa.ChunkedArray, pa.ChunkedArray]]:
    """Yield near-duplicates: their ledger rows, the id kept for each, and the distance to it."""
    for table in ledger(manifest):
        # Written as `<kept id>:<distance>`.
        told = pc.match_substring_regex(table["value"], "^[0-9a-f]{32}:[0-9]{1,3}$")
        part = table.filter(pc.and_(pc.equal(table["stage"], "dedup"), told.fill_null(False)))
        if len(part):
            kept = pc.utf8_slice_codeunits(part["value"], 0, ID_DIGITS)
            bits = pc.utf8_slice_codeunits(part["value"], ID_DIGITS + 1).cast(pa.int64())
            yield part, kept, bits


def _widest(manifest: Manifest) -> list[str]:
    """Return the ids of the groups with the largest distance, above 0, widest first."""
    best: dict[str, int] = {}
    for _, kept, bits in _dropped(manifest):
        found = pa.table({"kept": kept, "bits": bits}).filter(pc.greater(bits, 0))
        found = found.group_by("kept").aggregate([("bits", "max")])
        for identity, most in zip(*(column.to_pylist() for column in found.columns), strict=True):
            best[identity] = max(most, best.get(identity, 0))
        order = sorted(best, key=lambda identity: (-best[identity], identity))
        best = {identity: best[identity] for identity in order[:LISTED]}
    return list(best)


def _distances(bits: collections.Counter[int]) -> str:
    if bits.total() <= FEW:
        return ", ".join(map(str, sorted(bits.elements())))
    return f"{min(bits)} to {max(bits)}"


def _member(row: dict[str, Any], bits: int, images: dict[str, Picture]) -> Picture:
    found = images.get(row["pair_id"]) or Picture({"caption": row["caption"] or row["pair_id"]}, "")
    return dataclasses.replace(found, row=found.row | {"bits": bits})


def _images(stages: str | None, ids: set[str]) -> dict[str, Picture]:
    """Return dropped images from the blobs of a run, as far as they are there."""
    if stages is None or not ids:
        return {}
    found: dict[str, Picture] = {}
    wanted = pa.array([bytes.fromhex(each) for each in sorted(ids)], pa.binary(16))
    for name in storage.list_files(stages):
        folder, _, base = name.rpartition("/")
        if not (folder.startswith("fetch-") and base.startswith("part-")
                and base.endswith(".parquet")):  # fmt: skip
            continue
        with storage.open_read(storage.join(stages, name)) as file:
            parquet = pq.ParquetFile(file)
            if not set(_FETCHED) <= set(parquet.schema_arrow.names):
                continue
            rows = parquet.read(list(_FETCHED))
        for row in rows.filter(pc.is_in(rows["pair_id"], value_set=wanted)).to_pylist():
            found[row["pair_id"].hex()] = _from_blob(stages, row)
    return found


def _from_blob(stages: str, row: dict[str, Any]) -> Picture:
    name = str(row["blob"]).removeprefix("stages/")
    about = {"caption": row["text"], "width": row["width"], "height": row["height"]}
    if path_problem(name) or storage.link_on_the_way(stages, name):
        return Picture(about, "", "its blob is not in the folder")
    place = (row["blob_offset"], row["blob_bytes"])
    try:
        return picture(about, storage.read_ranges(storage.join(stages, name), [place])[0])
    except OSError:
        return Picture(about, "", "its blob cannot be read")
