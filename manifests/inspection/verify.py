"""`verify`: every recorded number is checked, as deep as asked; no bad file hides the others."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from manifests.base import storage
from manifests.base.console import Progress
from manifests.format.manifest import dataset_folder, parse_root, read_root
from manifests.format.naming import ROOT_NAME, shard_name
from manifests.format.records import (
    LISTED_FIELDS,
    SCHEMA_VERSION,
    SHARD_KIND,
    Finding,
    Level,
    ListedFile,
    ShardRecord,
)
from manifests.format.rules import root_problems, usable_files, usable_shards
from manifests.inspection.contents import Outcome, Task, check_contents, recount
from manifests.inspection.findings import Findings
from manifests.inspection.workers import Died, run_isolated

MAX_RECORD_BYTES = 1 << 20
KNOWN_NAMES = frozenset({ROOT_NAME, "README.md"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What `verify` says."""

    dataset: str
    digest: str
    level: Level
    shards: int
    files: int
    bytes: int
    samples: int
    by_code: Mapping[str, int]
    findings: list[Finding]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "kind": "openwit-verify",
            "ok": not self.by_code,
            "dataset": self.dataset,
            "digest": self.digest,
            "level": self.level,
            "shards": self.shards,
            "files": self.files,
            "bytes": self.bytes,
            "samples": self.samples,
            "by_code": dict(self.by_code),
            "findings": [finding.to_json() for finding in self.findings],
        }


@dataclasses.dataclass(frozen=True)
class _Listing:
    """What of a root can be used, even if the root as a whole cannot be loaded."""

    root: str
    value: Mapping[str, Any]
    shards: tuple[ShardRecord, ...]
    files: tuple[ListedFile, ...]

    @property
    def stored(self) -> dict[str, tuple[int | None, int]]:
        """Shard number, if any, and size of each listed file by path."""
        listed: dict[str, tuple[int | None, int]] = {
            file.path: (None, file.bytes) for file in self.files
        }
        for shard in self.shards:
            listed |= {file.path: (shard.id, file.bytes) for file in (shard.tar, shard.parquet)}
        return listed


def verify(
    uri: str,
    level: Level = "sha256",
    *,
    jobs: int | None = None,
    expect_digest: str | None = None,
    max_findings: int = 1000,
    quiet: bool = True,
) -> Report:
    """Compare a dataset with its manifest.

    Args:
        uri: folder or `manifest.json`.
        level: `fast`: existence, sizes, records, sums; `sha256`: also every byte and the Parquet
            footers; `deep`: also every sample.
        jobs: worker processes; default: one per core.
        expect_digest: what the manifest's digest must be, with or without `sha256:`.
        max_findings: how many are kept; all are counted.
        quiet: whether no progress is shown.

    Raises:
        RefusedError: if the root is missing, not JSON, or of an unknown version.
    """
    root = dataset_folder(uri)
    value, problems = parse_root(read_root(root), storage.join(root, ROOT_NAME))
    findings = Findings(max_findings)
    findings.add(problems)
    findings.add(root_problems(value))
    listing = _Listing(
        root,
        value,
        tuple(ShardRecord.from_json(shard) for shard in usable_shards(value)),
        tuple(ListedFile(**{name: file[name] for name in LISTED_FIELDS})
              for file in usable_files(value)),
    )  # fmt: skip
    digest = str(value.get("digest", ""))
    if expect_digest is not None and digest.removeprefix("sha256:") != expect_digest.removeprefix(
        "sha256:"
    ):
        message = "the manifest is not the one expected"
        findings.add(
            [Finding(code="digest_mismatch", path=ROOT_NAME, message=message,
                     expected=expect_digest, actual=digest)]
        )  # fmt: skip
    findings.add(_check_sum(value))
    skipped = _check_names(listing, findings)
    if level != "fast":
        _check_all(listing, level, skipped, jobs or os.cpu_count() or 1, quiet, findings)
    return Report(
        dataset=uri,
        digest=digest,
        level=level,
        shards=len(listing.shards),
        files=len(listing.files),
        bytes=sum(size for _, size in listing.stored.values()),
        samples=sum(shard.samples for shard in listing.shards),
        by_code=findings.by_code,
        findings=findings.kept,
    )


def _check_sum(value: Mapping[str, Any]) -> list[Finding]:
    """Compare what the last stage let through with the samples that are listed."""
    funnel, totals = value.get("funnel"), value.get("totals")
    if not isinstance(funnel, list) or not funnel or not isinstance(totals, dict):
        return []
    last = funnel[-1].get("rows_out") if isinstance(funnel[-1], dict) else None
    if last == totals.get("samples"):
        return []
    message = "the funnel's last stage let another number of rows through"
    return [
        Finding(
            code="count_mismatch",
            path=ROOT_NAME,
            message=message,
            expected=str(last),
            actual=str(totals.get("samples")),
        )
    ]


def _check_names(listing: _Listing, findings: Findings) -> frozenset[str]:
    """Check existence, sizes, records, unlisted files; return the paths not to be opened."""
    skipped = set()
    stored = listing.stored
    for path, (shard, size) in stored.items():
        found = _check_path(listing.root, path, shard, size)
        findings.add(found)
        if any(finding.code in ("symlink", "missing_file") for finding in found):
            skipped.add(path)
    records = {shard_name(shard.id, "json"): shard for shard in listing.shards}
    spec = listing.value.get("spec")
    if spec is not None:
        for path, record in records.items():
            findings.add(_check_record(listing.root, path, record, spec))
    for path in storage.list_files(listing.root):
        if ".tmp-" in path.rpartition("/")[2]:
            findings.add([Finding(code="leftover_temp", path=path, message="an unfinished file")])
        elif path not in stored and path not in records and path not in KNOWN_NAMES:
            message = "the manifest does not list it"
            findings.add([Finding(code="unlisted_file", path=path, message=message)])
    return frozenset(skipped)


def _check_path(root: str, path: str, shard: int | None, size: int) -> list[Finding]:
    link = storage.link_on_the_way(root, path)
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


def _check_record(root: str, path: str, shard: ShardRecord, spec: str) -> list[Finding]:
    full = storage.join(root, path)
    size = None if storage.link_on_the_way(root, path) else storage.size_bytes(full)
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


def _check_all(
    listing: _Listing,
    level: Level,
    skipped: frozenset[str],
    jobs: int,
    quiet: bool,
    findings: Findings,
) -> None:
    """Check the content of every file in worker processes."""
    queries = next((file.rows for file in listing.files if file.role == "queries"), None)
    schema = listing.value.get("schema")
    tasks = [
        Task(listing.root, level, file=file) for file in listing.files if file.path not in skipped
    ] + [
        Task(
            listing.root,
            level,
            shard=shard,
            schema=schema if isinstance(schema, list) else None,
            sorted_ids=listing.value.get("order") == "pair_id",
            queries=queries,
            skipped=skipped,
        )
        for shard in listing.shards
    ]

    def after_death(task: Task, died: Died) -> Task | None:
        findings.add([task.death(died)])
        return task.without(died.item)

    outcomes: list[tuple[Task, Outcome]] = []
    samples = 0
    shown = None if quiet else Progress(f"verify {level}", len(tasks))
    try:
        for done, (task, outcome) in enumerate(
            run_isolated(check_contents, tasks, jobs, after_death), start=1
        ):
            findings.merge(outcome.by_code, outcome.findings)
            samples += task.shard.samples if task.shard else 0
            outcomes.append((task, dataclasses.replace(outcome, findings=[])))
            if shown:
                shown.update(done, samples)
    finally:
        if shown:
            shown.close()
    if level == "deep":
        funnel = listing.value.get("funnel")
        findings.add(recount(listing.files, len(listing.shards), funnel, outcomes))
