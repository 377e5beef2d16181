"""What became of each URL, as rows of a journal: bodies prepared and stored, reasons noted."""

import dataclasses
import hashlib
import time
from typing import Any

import pyarrow as pa

from filters.hashes.perceptual import self_test
from filters.verdict import Drop, DropReason
from pipeline.fetch.collect import Blocked, image_columns, prepared_or_dropped
from pipeline.fetch.journal import CrashNotes, Journal
from pipeline.fetch.settings import FetchSettings
from pipeline.visit.visitor import Task


@dataclasses.dataclass(kw_only=True)
class Store:
    """Takes one outcome a URL."""

    settings: FetchSettings
    journal: Journal
    notes: CrashNotes
    blocked: Blocked | None
    wants_md5: frozenset[str]
    """URLs whose body's MD5 a list names."""

    def __post_init__(self) -> None:
        self._hash_version = self_test()
        self._saved_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the open segment is old or large enough to be saved."""
        is_old = time.monotonic() - self._saved_at >= self.settings.segment_s
        return is_old or self.journal.open_bytes >= self.settings.segment_bytes

    def save(self, facts: list[dict[str, Any]]) -> None:
        """Save the segment, with the evidence of all attempts so far."""
        self.journal.save(facts)
        self._saved_at = time.monotonic()

    def take(self, row: dict[str, Any], body: bytes | Drop) -> None:
        """Keep an outcome.

        Args:
            row: what is known of the answer, by columns of `OUTCOMES`.
            body: free of its codings, or why there is none.
        """
        drop = body if isinstance(body, Drop) else self._keep(row, body)
        if drop is not None:
            value = None if drop.value is None else str(drop.value)
            row |= {"reason": drop.reason.value, "value": value}
        self.journal.add(row)

    def copy(self, row: dict[str, Any], stored: bytes) -> None:
        """Keep an image that an earlier round has prepared under equal settings.

        Args:
            row: of `OUTCOMES`; its place becomes that of the copy.
            stored: the image; nothing of one that a list blocks by now.
        """
        blocked = self.blocked(row["original_sha256"]) if self.blocked else None
        if blocked is not None:
            self.journal.add(
                {"url": row["url"], "reason": DropReason.BLOCKED_SHA256.value, "value": blocked}
            )
            return
        self.journal.add(row | {"blob_offset": self.journal.store(stored, row["sha256"])})

    def _keep(self, row: dict[str, Any], body: bytes) -> Drop | None:
        """Prepare and store an image; return why there is none."""
        url = row["url"]
        digest = row["original_sha256"] = hashlib.sha256(body).digest()
        if url in self.wants_md5:
            row["body_md5"] = hashlib.md5(body, usedforsecurity=False).digest()
        if url in self.notes.given_up:
            return Drop(DropReason.DECODER_CRASH)
        with self.notes.decoding(url):
            image = prepared_or_dropped(body, digest, self.settings, self.blocked)
        if isinstance(image, Drop):
            return image
        row |= image_columns(image, len(body), self._hash_version)
        is_https = (row.get("final_url") or url).startswith("https:")
        if is_https and not self.settings.tls_verify:
            row["image_flags"] = sorted([*row["image_flags"], "tls_unverified"])
        row["blob_offset"] = self.journal.store(image.stored, image.sha256)
        return None


def tasks_of(pairs: pa.Table, done: set[str]) -> list[Task]:
    """Return a task for each target of `WAITING` pairs that is not done."""
    tasks: dict[str, Task] = {}
    columns = ("target", "prio", "redirects")
    for url, prio, redirects in zip(*(pairs[name].to_pylist() for name in columns), strict=True):
        if url not in done and url not in tasks:
            tasks[url] = Task(len(tasks), url, prio, "image", redirects=redirects)
    return list(tasks.values())


def md5_targets(pairs: pa.Table) -> frozenset[str]:
    """Return the targets of `WAITING` pairs whose list names an MD5."""
    named = pairs.filter(pairs["expect_md5"].is_valid())
    return frozenset(named["target"].to_pylist())
