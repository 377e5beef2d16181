"""What can be seen without reading contents: existence, sizes, records, files nobody lists."""

import json
from collections.abc import Collection

from manifests.base import storage
from manifests.format.naming import EXPORT_NAMES, LOCK_NAME, ROOT_NAME
from manifests.format.records import SCHEMA_VERSION, SHARD_KIND, Finding, ListedFile, ShardRecord
from manifests.inspection.findings import Findings

MAX_RECORD_BYTES = 1 << 20
KNOWN_NAMES = frozenset({ROOT_NAME, LOCK_NAME, *EXPORT_NAMES})


def check_names(
    root: str,
    shards: Collection[ShardRecord],
    files: Collection[ListedFile],
    spec: str | None,
    findings: Findings,
    *,
    follow_links: bool,
) -> frozenset[str]:
    """Check existence, sizes and records of listed files; return the paths not to be opened.

    Args:
        root: the dataset.
        shards: those to look at.
        files: the tables to look at.
        spec: the root's, as the records repeat it.
        findings: what is wrong is added here.
        follow_links: whether a symbolic link to a file stands for that file.
    """
    skipped = set()
    for path, shard, size in _stored(shards, files):
        found = _check_path(root, path, shard, size, follow_links)
        findings.add(found)
        if any(finding.code in ("symlink", "missing_file") for finding in found):
            skipped.add(path)
    for record in shards:
        findings.add(_check_record(root, record, spec, follow_links))
    return frozenset(skipped)


def check_unlisted(
    root: str, shards: Collection[ShardRecord], files: Collection[ListedFile], findings: Findings
) -> None:
    """Name each file of the folder that is neither listed nor a name that openwit knows."""
    listed = {path for path, _, _ in _stored(shards, files)}
    listed |= {shard.record_path for shard in shards} | KNOWN_NAMES
    for path in storage.list_files(root):
        if ".tmp-" in path.rpartition("/")[2]:
            findings.add([Finding(code="leftover_temp", path=path, message="an unfinished file")])
        elif path not in listed:
            message = "the manifest does not list it"
            findings.add([Finding(code="unlisted_file", path=path, message=message)])


def _stored(
    shards: Collection[ShardRecord], files: Collection[ListedFile]
) -> list[tuple[str, int | None, int]]:
    """Return path, shard number if any, and size of each listed file."""
    return [(file.path, None, file.bytes) for file in files] + [
        (file.path, shard.id, file.bytes) for shard in shards for file in (shard.tar, shard.parquet)
    ]


def _is_barred(root: str, path: str, follow_links: bool) -> str | None:
    """Return the link on the way to a file that must not be followed, or None."""
    link = storage.link_on_the_way(root, path)
    # A linked folder may hold anything; a cache links files, one by one.
    return None if link == path and follow_links else link


def _check_path(
    root: str, path: str, shard: int | None, size: int, follow_links: bool
) -> list[Finding]:
    link = _is_barred(root, path, follow_links)
    if link is not None:
        message = f"{link} is a symbolic link: it may lead out of the dataset, so it is not read"
        return [Finding(code="symlink", path=path, shard=shard, message=message)]
    found = storage.size_bytes(storage.join(root, path))
    if found is None:
        return [Finding(code="missing_file", path=path, shard=shard, message="no such file")]
    if found == size:
        return []
    return [
        Finding(
            code="size_mismatch",
            path=path,
            shard=shard,
            message="another number of bytes",
            expected=str(size),
            actual=str(found),
        )
    ]


def _check_record(
    root: str, shard: ShardRecord, spec: str | None, follow_links: bool
) -> list[Finding]:
    path = shard.record_path
    full = storage.join(root, path)
    size = None if _is_barred(root, path, follow_links) else storage.size_bytes(full)
    if size is None:
        message = "the shard has no record of its own"
        return [Finding(code="record_missing", path=path, shard=shard.id, message=message)]
    expected = {"kind": SHARD_KIND, "schema_version": SCHEMA_VERSION, "spec": spec}
    try:
        with storage.open_read(full) as file:
            found = json.loads(file.read(MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        found = str(error)[:100]
    if found == expected | shard.to_json():
        return []
    message = "the shard's own record is not what the manifest lists"
    return [Finding(code="record_mismatch", path=path, shard=shard.id, message=message)]
