"""The content of one file or shard, checked in a worker process; and the sums over all of them."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.base import storage
from manifests.format.checks.samples import check_samples
from manifests.format.reader import ShardReader
from manifests.format.records import DEEP, Finding, Level, ListedFile, ShardRecord
from manifests.inspection.findings import Findings
from manifests.inspection.workers import Died, Report

WORKER_FINDINGS = 1000
"""Findings of one shard that are kept with their place; all are counted."""
READ_ROWS = 65_536
Counts = dict[str, dict[Any, int]]


@dataclasses.dataclass(frozen=True)
class Task:
    """One shard or one table to check."""

    root: str
    level: Level
    file: ListedFile | None = None
    shard: ShardRecord | None = None
    schema: Sequence[Mapping[str, Any]] | None = None
    sorted_ids: bool = True
    queries: int | None = None
    basis: str = "original"
    """Which image the perceptual hashes are of."""
    skipped: frozenset[str] = frozenset()
    """Paths that are not to be opened."""
    undecoded: frozenset[int] = frozenset()
    """Rows whose image killed a worker."""

    @property
    def path(self) -> str:
        """The file that the task is named by."""
        return self.shard.tar.path if self.shard else self.file.path if self.file else ""

    def death(self, died: Died) -> Finding:
        """Return the finding that a dead worker is."""
        where = f" at sample {died.item} of the shard" if died.item >= 0 else ""
        message = f"the process that read it died{where} with exit code {died.exit_code}"
        return self.finding("decoder_died", message)

    def finding(self, code: str, message: str) -> Finding:
        """Return a finding at what the task checks."""
        shard = self.shard.id if self.shard else None
        return Finding(code=code, path=self.path, shard=shard, message=message)

    def without(self, item: int) -> "Task | None":
        """Return the task that leaves out what killed its worker, or None if that is not known."""
        if item < 0 or item in self.undecoded:
            return None
        return dataclasses.replace(self, undecoded=self.undecoded | {item})


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a task found."""

    by_code: dict[str, int]
    findings: list[Finding]
    counted: bool = False
    """Whether the counts below are complete."""
    kept: dict[int, int] = dataclasses.field(default_factory=dict)
    selected: dict[int, int] = dataclasses.field(default_factory=dict)
    listed_kept: dict[int, int] = dataclasses.field(default_factory=dict)
    """Of `queries.parquet`: samples by query, where not 0."""
    listed_selected: dict[int, int] = dataclasses.field(default_factory=dict)
    dropped: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    """Of a ledger file: drops by stage and reason."""


def check_contents(task: Task, report: Report) -> Outcome:
    """Do one task; whatever goes wrong in a file is a finding."""
    findings = Findings(WORKER_FINDINGS)
    counts: Counts = {}
    try:
        if task.shard is not None:
            counts = _check_shard(task, task.shard, report, findings)
        if task.file is not None:
            counts = _check_table(task, task.file, findings)
    except Exception as error:  # a hostile file must not hide the others
        message = f"the check failed: {type(error).__name__}: {error}"[:300]
        findings.add([task.finding("check_failed", message)])
    return Outcome(findings.by_code, findings.kept, bool(counts), **counts)


def _check_shard(task: Task, shard: ShardRecord, report: Report, findings: Findings) -> Counts:
    reader = ShardReader(task.root, shard, schema=task.schema)
    unread = [file for file in (shard.tar, shard.parquet) if file.path in task.skipped]
    if unread:
        # Told already by the look at names; the other file is still read.
        for file in (shard.tar, shard.parquet):
            findings.add([] if file in unread else reader.check_sha256(file))
        findings.add([] if shard.parquet in unread else reader.check_footer())
        return {}
    if task.level not in DEEP:
        for file in (shard.tar, shard.parquet):
            findings.add(reader.check_sha256(file))
        findings.add(reader.check_footer())
        return {}
    check = check_samples(
        reader,
        sorted_ids=task.sorted_ids,
        queries=task.queries,
        skip=task.undecoded,
        basis=task.basis if task.level == "hashes" else "",
        progress=report,
    )
    findings.add(check.findings)
    return {"kept": check.kept, "selected": check.selected} if check.counted else {}


def _check_table(task: Task, file: ListedFile, findings: Findings) -> Counts:
    path = storage.join(task.root, file.path)

    def add(code: str, message: str, expected: object = "", actual: object = "") -> None:
        findings.add(
            [Finding(code=code, path=file.path, message=message[:200], expected=str(expected),
                     actual=str(actual))]
        )  # fmt: skip

    try:
        found = storage.sha256_of(path)
        if found != file.sha256:
            add("sha256_mismatch", "another content", file.sha256, found)
        if not file.path.endswith(".parquet"):
            return {}
        with storage.open_read(path) as opened:
            parquet = pq.ParquetFile(opened)
            if parquet.metadata.num_rows != file.rows:
                add(
                    "count_mismatch", "another number of rows", file.rows, parquet.metadata.num_rows
                )
            if task.level in DEEP and file.role in ("queries", "ledger"):
                return _count_table(parquet, file.role)
    except (OSError, pa.ArrowException, KeyError) as error:
        add("unreadable_parquet", f"{type(error).__name__}: {error}")
    return {}


def _count_table(parquet: pq.ParquetFile, role: str) -> Counts:
    kept: collections.Counter[int] = collections.Counter()
    selected: collections.Counter[int] = collections.Counter()
    dropped: collections.Counter[tuple[str, str]] = collections.Counter()
    if role == "queries":
        for batch in parquet.iter_batches(READ_ROWS, columns=["query_id", "kept", "selected"]):
            ids = batch["query_id"].to_pylist()
            kept.update(dict(zip(ids, batch["kept"].to_pylist(), strict=True)))
            selected.update(dict(zip(ids, batch["selected"].to_pylist(), strict=True)))
        return {
            "listed_kept": {query: count for query, count in kept.items() if count},
            "listed_selected": {query: count for query, count in selected.items() if count},
        }
    for batch in parquet.iter_batches(READ_ROWS, columns=["stage", "reason", "count"]):
        sums = pa.table(batch).group_by(["stage", "reason"]).aggregate([("count", "sum")])
        for row in sums.to_pylist():
            dropped[row["stage"], row["reason"]] += row["count_sum"] or 0
    return {"dropped": dict(dropped)}


class Sums:
    """Adds up what the tasks counted; the memory is that of one count per query and reason."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._sums: dict[str, collections.Counter[Any]] = {
            name: collections.Counter()
            for name in ("kept", "selected", "listed_kept", "listed_selected", "dropped")
        }
        self._whole: collections.Counter[str] = collections.Counter()

    def add(self, task: Task, outcome: Outcome) -> None:
        """Take in one outcome."""
        for name, total in self._sums.items():
            total.update(getattr(outcome, name))
        self._whole[task.file.role if task.file else "shard"] += outcome.counted

    def findings(self, files: Sequence[ListedFile], shards: int, funnel: Any) -> list[Finding]:
        """Compare with `queries.parquet`, and the ledger with the funnel.

        A sum with an unreadable or unread part says nothing; that part has its own finding.

        Args:
            files: the tables that the root lists.
            shards: how many shards the root lists.
            funnel: the root's.
        """
        sums, whole = self._sums, self._whole
        roles = collections.Counter(file.role for file in files)
        findings = []
        if whole["shard"] == shards and roles["queries"] == whole["queries"] == 1:
            path = next(file.path for file in files if file.role == "queries")
            for name in ("kept", "selected"):
                findings += _compare(path, f"{name} of query", sums[f"listed_{name}"], sums[name])
        if isinstance(funnel, list) and whole["ledger"] == roles["ledger"]:
            findings += _compare("ledger", "drops of", _told_drops(funnel), sums["dropped"])
        return findings


def _told_drops(funnel: list[Any]) -> collections.Counter[Any]:
    told: collections.Counter[Any] = collections.Counter()
    for line in funnel:
        if isinstance(line, dict) and isinstance(line.get("drops"), dict):
            for reason, count in line["drops"].items():
                told[line.get("stage"), reason] += count if type(count) is int else 0
    return told


def _compare(
    path: str, what: str, told: Mapping[Any, int], found: Mapping[Any, int]
) -> list[Finding]:
    return [
        Finding(
            code="count_mismatch",
            path=path,
            key=str(name),
            message=f"{what} {name}: not what is there",
            expected=str(told.get(name, 0)),
            actual=str(found.get(name, 0)),
        )
        for name in sorted({*told, *found}, key=str)
        if told.get(name, 0) != found.get(name, 0)
    ]
