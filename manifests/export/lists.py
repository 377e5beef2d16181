"""Plain lists: sizes, checksums, wids, DataComp subset files, block lists."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.format.ids import npy_bytes
from manifests.format.manifest import Manifest

UID_DIGITS = 32


def sizes(manifest: Manifest) -> dict[str, bytes]:
    """Return `sizes.json` as open_clip reads it: samples by the tar's base name.

    Raises:
        RefusedError: if the tars are not in `shards/`, where open_clip looks for the file.
    """
    folders = {shard.tar.path.rpartition("/")[0] for shard in manifest.shards} or {"shards"}
    if len(folders) > 1:
        raise RefusedError(f"{manifest.root}: tars in several folders: sizes.json is of one")
    counts = {shard.tar.path.rpartition("/")[2]: shard.samples for shard in manifest.shards}
    name = "/".join([*filter(None, folders), "sizes.json"])
    return {name: _json(counts)}


def sha256sums(manifest: Manifest) -> dict[str, bytes]:
    """Return `SHA256SUMS`, which `sha256sum -c` checks; the digest is of its lines for shards."""
    lines = [shard.digest_lines for shard in manifest.shards]
    lines += [f"{file.sha256}  {file.path}\n" for file in manifest.files]
    return {"SHA256SUMS": "".join(lines).encode()}


def wids(manifest: Manifest) -> dict[str, bytes]:
    """Return the index of WebDataset's random access, wids-shard-index-v1."""
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": manifest.name,
        "shardlist": [
            {"url": shard.tar.path, "nsamples": shard.samples, "filesize": shard.tar.bytes}
            for shard in manifest.shards
        ],
    }
    return {"wids.json": _json(index)}


def datacomp_npy(manifest: Manifest) -> dict[str, bytes]:
    """Return DataComp's subset file: the uids of foreign shards if they have some, else pair ids.

    Raises:
        RefusedError: if a uid is not 32 hexadecimal digits.
    """
    has_uid = any(column["name"] == "uid" for column in manifest.schema)
    name = "uid" if has_uid else "pair_id"
    ids: list[str] = []
    for shard in manifest.shards:
        table = manifest.reader(shard).table(sorted({name, "pair_id"}))
        uids = table[name].to_pylist()
        pairs = table["pair_id"].to_pylist()
        ids += [uid or pair for uid, pair in zip(uids, pairs, strict=True)]
    for uid in ids:
        if len(uid) != UID_DIGITS or not set(uid) <= set("0123456789abcdef"):
            raise RefusedError(f"{manifest.root}: uid {uid[:50]!r}: not {UID_DIGITS} hex digits")
    return {"datacomp.npy": npy_bytes(pa.array(ids, pa.string()))}


def blocklist(manifest: Manifest) -> dict[str, bytes]:
    """Return what the tombstones name, as lists that keep it out of the next run.

    The lists are of pairs, images as received, and domains; URLs are in no tombstone.
    """
    pairs, images, domains = set(), set(), set()
    for file in manifest.listed("tombstones"):
        with storage.open_read(manifest.path(file.path)) as opened:
            for row in pq.read_table(opened).to_pylist():
                kind, _, host = row["selector"].partition(":")
                pairs.add(row["pair_id"])
                domains.add(host if kind == "domain" else None)
                images.add(row["original_sha256"] if kind in ("sha256", "phash") else None)
    lists = {"pair": pairs, "sha256": images, "domain": domains}
    return {f"blocklist/{name}.txt": _lines(entries) for name, entries in lists.items()}


def _lines(entries: set[str | None]) -> bytes:
    return "".join(f"{entry}\n" for entry in sorted(each for each in entries if each)).encode()


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"
