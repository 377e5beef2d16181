"""`verify`: every recorded number is checked, as deep as asked; no bad file hides the others."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from manifests.base import storage
from manifests.base.console import Progress
from manifests.base.errors import RefusedError
from manifests.format.ids import keyed_uniform
from manifests.format.manifest import dataset_folder, parse_root, read_root
from manifests.format.naming import ROOT_NAME
from manifests.format.records import DEEP, LISTED_FIELDS, Finding, Level, ListedFile, ShardRecord
from manifests.format.rules import root_problems, usable_files, usable_shards
from manifests.inspection.contents import Sums, Task, check_contents
from manifests.inspection.findings import Findings
from manifests.inspection.names import check_names, check_unlisted
from manifests.inspection.state import State
from manifests.inspection.workers import Died, run_isolated

PERSON = b"openwit.m.pick"
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which shards are looked at, and how links are taken. Tables are always looked at."""

    first: int = 0
    last: int | None = None
    """The last shard; None: no bound."""
    sample: int | None = None
    """How many of these shards, chosen by a keyed hash of their numbers."""
    follow_links: bool = False
    """Whether a symbolic link to a file stands for that file, as in a download cache."""

    def of(self, shards: tuple[ShardRecord, ...]) -> tuple[ShardRecord, ...]:
        """Return the selected shards, in their order."""
        last = float("inf") if self.last is None else self.last
        within = [shard for shard in shards if self.first <= shard.id <= last]
        if self.sample is not None:
            within.sort(key=lambda shard: keyed_uniform(0, shard.id.to_bytes(8, "little"), PERSON))
            within = sorted(within[: self.sample], key=lambda shard: shard.id)
        return tuple(within)


def parse_range(text: str) -> tuple[int, int]:
    """Read `A-B`, two shard numbers.

    Raises:
        RefusedError: if it is not that, or B is below A.
    """
    found = _RANGE.fullmatch(text)
    if not found or int(found[1]) > int(found[2]):
        raise RefusedError(f"--shards {text}: write two numbers, first and last, as in 0-99")
    return int(found[1]), int(found[2])


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
    """All of them."""
    chosen: tuple[ShardRecord, ...]
    """Those to be looked at."""
    files: tuple[ListedFile, ...]

    @classmethod
    def of(cls, root: str, value: Mapping[str, Any], select: Selection) -> "_Listing":
        shards = tuple(ShardRecord.from_json(shard) for shard in usable_shards(value))
        files = tuple(
            ListedFile(**{name: file[name] for name in LISTED_FIELDS})
            for file in usable_files(value)
        )
        return cls(root, value, shards, select.of(shards), files)

    def check_names(self, findings: Findings, *, follow_links: bool) -> frozenset[str]:
        spec = self.value.get("spec")
        return check_names(
            self.root,
            self.chosen,
            self.files,
            spec if isinstance(spec, str) else None,
            findings,
            follow_links=follow_links,
        )

    def tasks(self, level: Level, skipped: frozenset[str]) -> Iterator[Task]:
        """Yield one task for each table and each chosen shard."""
        queries = next((file.rows for file in self.files if file.role == "queries"), None)
        schema, hashed = self.value.get("schema"), self.value.get("hash")
        basis = hashed.get("basis") if isinstance(hashed, dict) else None
        for file in self.files:
            if file.path not in skipped:
                yield Task(self.root, level, file=file)
        for shard in self.chosen:
            yield Task(
                self.root,
                level,
                shard=shard,
                schema=schema if isinstance(schema, list) else None,
                sorted_ids=self.value.get("order") == "pair_id",
                queries=queries,
                basis=str(basis or "original"),
                skipped=skipped & {shard.tar.path, shard.parquet.path},
            )


def verify(
    uri: str,
    level: Level = "sha256",
    *,
    select: Selection = Selection(),
    jobs: int | None = None,
    expect_digest: str | None = None,
    state: str | None = None,
    max_findings: int = 1000,
    quiet: bool = True,
) -> Report:
    """Compare a dataset with its manifest.

    Args:
        uri: folder or `manifest.json`.
        level: `fast`: existence, sizes, records, sums; `sha256`: also every byte and the Parquet
            footers; `deep`: also every sample; `hashes`: also every perceptual hash.
        select: which shards.
        jobs: worker processes; default: one per core.
        expect_digest: what the manifest's digest must be, with or without `sha256:`.
        state: a local file that notes what is done, so that an interrupted run goes on.
        max_findings: how many are kept; all are counted.
        quiet: whether no progress is shown.

    Raises:
        RefusedError: if the root is missing, not JSON, or of an unknown version; or the state is of
            another dataset.
    """
    root = dataset_folder(uri)
    data = read_root(root)
    value, problems = parse_root(data, storage.join(root, ROOT_NAME))
    findings = Findings(max_findings)
    findings.add(problems)
    findings.add(root_problems(value))
    listing = _Listing.of(root, value, select)
    findings.add(_check_digest(value, expect_digest))
    findings.add(_check_sum(value))
    about = {"manifest": hashlib.sha256(data).hexdigest(), "level": level}
    noted = State(state, about) if state else None
    skipped = listing.check_names(findings, follow_links=select.follow_links)
    check_unlisted(root, listing.shards, listing.files, findings)
    if level != "fast":
        _check_all(listing, level, skipped, jobs or os.cpu_count() or 1, quiet, noted, findings)
    listed = sum(file.bytes for file in listing.files)
    return Report(
        dataset=uri,
        digest=str(value.get("digest", "")),
        level=level,
        shards=len(listing.chosen),
        files=len(listing.files),
        bytes=listed + sum(shard.tar.bytes + shard.parquet.bytes for shard in listing.chosen),
        samples=sum(shard.samples for shard in listing.chosen),
        by_code=findings.by_code,
        findings=findings.kept,
    )


def _check_digest(value: Mapping[str, Any], expected: str | None) -> list[Finding]:
    digest = str(value.get("digest", ""))
    if expected is None or digest.removeprefix("sha256:") == expected.removeprefix("sha256:"):
        return []
    message = "the manifest is not the one expected"
    return [
        Finding(
            code="digest_mismatch",
            path=ROOT_NAME,
            message=message,
            expected=expected,
            actual=digest,
        )
    ]


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


def _check_all(
    listing: _Listing,
    level: Level,
    skipped: frozenset[str],
    jobs: int,
    quiet: bool,
    noted: State | None,
    findings: Findings,
) -> None:
    """Check the content of every file in worker processes, or take it from the state."""
    sums = Sums()
    deaths: dict[str, list[Finding]] = {}
    tasks = []
    samples = 0
    for task in listing.tasks(level, skipped):
        done = noted.done.pop(task.path, None) if noted else None
        if done is None:
            tasks.append(task)
            continue
        findings.merge(done.by_code, done.findings)
        sums.add(task, done)
        samples += task.shard.samples if task.shard else 0

    def after_death(task: Task, died: Died) -> Task | None:
        death = task.death(died)
        findings.add([death])
        deaths.setdefault(task.path, []).append(death)
        return task.without(died.item)

    shown = None if quiet else Progress(f"verify {level}", len(tasks))
    try:
        for number, (task, outcome) in enumerate(
            run_isolated(check_contents, tasks, jobs, after_death), start=1
        ):
            findings.merge(outcome.by_code, outcome.findings)
            sums.add(task, outcome)
            if noted:
                noted.add(task, outcome, deaths.get(task.path, []))
            samples += task.shard.samples if task.shard else 0
            if shown:
                shown.update(number, samples)
    finally:
        if shown:
            shown.close()
    if level in DEEP:
        funnel = listing.value.get("funnel")
        findings.add(sums.findings(listing.files, len(listing.shards), funnel))
