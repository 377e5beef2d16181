"""One round of asking hosts: pairs grouped by site, each URL asked once, what failed set apart."""

import contextlib
import dataclasses
import functools
import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.consent.decision import ConsentSettings, blocked_by
from filters.hashes.perceptual import self_test
from filters.urls.domain import site_of
from filters.urls.url_key import url_host
from filters.verdict import Drop, DropReason
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.steps import Packet, top_bits
from pipeline.engine.units import Unit
from pipeline.fetch.collect import image_columns, prepared_or_dropped
from pipeline.fetch.journal import CrashNotes, Journal, crash_notes
from pipeline.fetch.outcomes import (
    HOSTS,
    OUTCOMES,
    WAITING,
    known_outcomes,
    retryable,
    settle,
)
from pipeline.fetch.settings import FetchSettings
from pipeline.readers.body import decode_body
from pipeline.readers.reasons import Fault
from pipeline.records import MATCHED
from pipeline.visit.client import Client
from pipeline.visit.fetcher import Fetcher, Result
from pipeline.visit.origins import Origins
from pipeline.visit.pace import lane_of, priority
from pipeline.visit.settings import VisitSettings
from pipeline.visit.visitor import Task, Visit, Visitor, image_judge

HEADER_CHARACTERS = 256
"""Of a header's value that is kept."""
_KEY_BYTES = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class WebKernel:
    """Asks each URL of a bucket; a bucket holds whole lanes of sites, so their limits hold."""

    buckets: int
    settings: FetchSettings
    consent: ConsentSettings

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Yield pairs, and outcomes known from before, by site and lane."""
        for source in unit.sources:
            for batch in read_batches(source.path):
                if source.role.startswith("known"):
                    known = known_outcomes(pa.Table.from_batches([batch]))
                    packet = self._packet("known", known, "url")
                else:
                    packet = self._packet("pair", waiting_rows(batch, self.settings.seed), "target")
                if packet.batch.num_rows:
                    yield packet

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Ask what is not known, and give each pair its image or reason."""
        pairs = tables["pair"].combine_chunks()
        refused = self._refused(pairs)
        asked = pairs.filter(
            pc.invert(pc.is_in(pairs["pair_id"], value_set=refused["pair_id"].combine_chunks()))
        )
        with contextlib.ExitStack() as stack:
            journal = Journal(sink, OUTCOMES, stack)
            notes = stack.enter_context(crash_notes(sink.root, sink.folder, sink.unit.id))
            known = tables["known"].filter(
                pc.is_in(tables["known"]["url"], value_set=asked["target"].combine_chunks())
            )
            done = {*known["url"].to_pylist()}
            done.update(url for table in journal.saved for url in table["url"].to_pylist())
            round_ = _Round(self, journal, notes)
            round_.ask(asked, done)
        outcomes = pa.concat_tables([*journal.saved, known.select(OUTCOMES.names).cast(OUTCOMES)])
        settled = settle(pairs, refused, outcomes)
        for role, table in (("part", settled.part), ("lost", settled.lost)):
            for batch in table.to_batches():
                sink.write(batch, role)
        sink.write(pa.RecordBatch.from_pylist(journal.facts, schema=HOSTS), "hosts")
        sink.note("reused", known.num_rows)
        sink.note("retryable", int(pc.sum(retryable(settled.lost)).as_py() or 0))

    def _packet(self, tag: str, table: pa.Table | pa.RecordBatch, column: str) -> Packet:
        batch = table if isinstance(table, pa.RecordBatch) else _one_batch(table)
        return Packet(tag, self.url_buckets(batch[column]), batch)

    def url_buckets(self, urls: pa.Array) -> NDArray[np.int64]:
        """Return the bucket of each URL: the top bits of a hash of its site and lane."""
        keys = [
            hashlib.blake2b(self.key_of(url).encode(), digest_size=_KEY_BYTES).digest()
            for url in urls.to_pylist()
        ]
        return top_bits(pa.array(keys, pa.binary(_KEY_BYTES)), self.buckets)

    def key_of(self, url: str) -> str:
        """Return site and lane of a URL: all that shares limits has one key."""
        host = url_host(url)
        lane = lane_of(priority(url, self.settings.seed), self.settings.lanes(host))
        return f"{site_of(host)}\0{lane}"

    def _refused(self, pairs: pa.Table) -> pa.Table:
        """Return the pairs that are dropped without a look at the web: marks, fan-out, budget."""
        verdicts: dict[int, Drop] = {}
        marks = np.flatnonzero(pc.list_value_length(pairs["optout"]).to_numpy())
        for row in marks.tolist():
            drop = blocked_by(pairs["optout"][row].as_py(), self.consent)
            if drop is not None:
                verdicts[row] = drop
        per_url: dict[str, int] = {}
        per_key: dict[str, int] = {}
        over: set[str] = set()
        for row, url in enumerate(pairs["target"].to_pylist()):  # by prio, URL, pair id
            if row in verdicts:
                continue
            seen = per_url[url] = per_url.get(url, 0) + 1
            if seen == 1:
                key = self.key_of(url)
                per_key[key] = per_key.get(key, 0) + 1
                if per_key[key] > self._budget(url_host(url)):
                    over.add(url)
            if url in over:
                verdicts[row] = Drop(DropReason.SITE_BUDGET)
            elif seen > self.settings.pairs_per_url:
                verdicts[row] = Drop(DropReason.URL_FANOUT)
        return pa.table(
            {
                "pair_id": pairs["pair_id"].take(pa.array(list(verdicts), pa.int64())),
                "reason": pa.array([each.reason.value for each in verdicts.values()], pa.string()),
                "value": pa.array([_text(each.value) for each in verdicts.values()], pa.string()),
            }
        )

    def _budget(self, host: str) -> int:
        grant = self.settings.grant(host)
        whole = grant.budget if grant and grant.budget else self.settings.site_budget
        return max(1, whole // (grant.lanes if grant else 1))


@dataclasses.dataclass
class _Round:
    """The visits of one bucket."""

    kernel: WebKernel
    journal: Journal
    notes: CrashNotes

    def __post_init__(self) -> None:
        self._hash_version = self_test()
        self._saved_at = time.monotonic()

    def ask(self, pairs: pa.Table, done: set[str]) -> None:
        """Visit the targets of all pairs that are not done, and journal what came of them."""
        settings = self.kernel.settings
        tasks, self._wants_md5 = _tasks(pairs, done)
        if not tasks:
            return
        before = self.journal.facts
        with contextlib.closing(open_fetcher(settings)) as fetcher:
            visitor = Visitor(
                fetcher=fetcher,
                clock=time.monotonic,
                settings=settings,
                origins=_origins(self.kernel.consent),
                max_bytes=settings.max_bytes,
                stays=lambda here, there: self.kernel.key_of(here) == self.kernel.key_of(there),
                judges={"image": image_judge(self.kernel.consent)},
            )
            urls = [task.url for task in tasks]
            for visit in visitor.run(tasks):
                self._take(urls[visit.task.key], visit)
                if self._is_due():
                    self._save(before, visitor)
            self._save(before, visitor)

    def _is_due(self) -> bool:
        settings = self.kernel.settings
        is_old = time.monotonic() - self._saved_at >= settings.segment_s
        return is_old or self.journal.open_bytes >= settings.segment_bytes

    def _save(self, before: list[dict[str, Any]], visitor: Visitor) -> None:
        """Save the segment, with the evidence of all attempts so far."""
        self.journal.save(merge_hosts([before, visitor.host_rows(site_of)]))
        self._saved_at = time.monotonic()

    def _take(self, url: str, visit: Visit) -> None:
        row: dict[str, Any] = {
            "url": url,
            "image_source": "web",
            "attempts": visit.task.attempts,
            "redirects": visit.task.redirects + len(visit.task.seen),
            "final_url": visit.task.url,
        }
        if visit.result is not None:
            row |= _answer_columns(visit.result)
        drop = visit.drop or self._store(url, visit, row)
        if drop is not None:
            row |= {"reason": drop.reason.value, "value": _text(drop.value)}
        self.journal.add(row)

    def _store(self, url: str, visit: Visit, row: dict[str, Any]) -> Drop | None:
        """Prepare and store an answer's image; return why there is none."""
        settings, result = self.kernel.settings, visit.result
        if result is None:
            raise ValueError(f"a visit without drop has an answer: {url}")
        body = _decoded(result, settings.max_bytes)
        if isinstance(body, Drop):
            return body
        row["original_sha256"] = hashlib.sha256(body).digest()
        if url in self._wants_md5:
            row["body_md5"] = hashlib.md5(body, usedforsecurity=False).digest()
        if url in self.notes.given_up:
            return Drop(DropReason.DECODER_CRASH)
        with self.notes.decoding(url):
            image = prepared_or_dropped(body, settings)
        if isinstance(image, Drop):
            return image
        row |= image_columns(image, len(body), self._hash_version)
        if not settings.tls_verify and visit.task.url.startswith("https:"):
            row["image_flags"] = sorted([*row["image_flags"], "tls_unverified"])
        row["blob_offset"] = self.journal.store(image.stored, image.sha256)
        return None


def open_fetcher(settings: VisitSettings) -> Fetcher:
    """Return what asks the web."""
    return Client(settings)


@functools.lru_cache(maxsize=1)
def _origins(consent: ConsentSettings) -> Origins:
    """Return the consent files that this process has read: they hold over buckets and rounds."""
    return Origins(consent)


def waiting_rows(batch: pa.RecordBatch, seed: int) -> pa.RecordBatch:
    """Return pairs as `WAITING`: matched ones, or those of a round that are asked again."""
    rows = batch.num_rows
    if "reason" not in batch.schema.names:
        targets, redirects = batch["url"].to_pylist(), np.zeros(rows, np.int8)
    else:
        batch = batch.filter(retryable(batch))
        moved = pc.equal(batch["reason"], DropReason.REDIRECT_SITE.value)
        targets = pc.if_else(moved, batch["value"], batch["target"]).to_pylist()
        # A redirect starts anew but where it led to another site.
        redirects = pc.if_else(moved, batch["redirects"], pa.scalar(0, pa.int8()))
    prio = pa.array([priority(url, seed) for url in targets], pa.binary(8))
    columns = [
        *(batch[name] for name in MATCHED.names),
        pa.array(targets, pa.string()),
        pa.array(redirects, pa.int8()),
        prio,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=WAITING)


def merge_hosts(saved: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return one row per origin: counts added up, what was last known of its consent files."""
    merged: dict[str, dict[str, Any]] = {}
    for rows in saved:
        for row in rows:
            old = merged.get(row["origin"])
            counts = {
                name: row[name] + (old[name] if old else 0) for name in ("requests", "ok", "bytes")
            }
            merged[row["origin"]] = {**row, **counts}
    return [merged[origin] for origin in sorted(merged)]


def _tasks(pairs: pa.Table, done: set[str]) -> tuple[list[Task], set[str]]:
    """Return a task for each target that is not done, and the targets whose MD5 is asked for."""
    tasks: dict[str, Task] = {}
    wants_md5: set[str] = set()
    columns = ("target", "prio", "redirects", "expect_md5")
    for url, prio, redirects, md5 in zip(*(pairs[c].to_pylist() for c in columns), strict=True):
        if url in done:
            continue
        if url not in tasks:
            tasks[url] = Task(len(tasks), url, prio, "image", redirects=redirects)
        if md5 is not None:
            wants_md5.add(url)
    return list(tasks.values()), wants_md5


def _answer_columns(result: Result) -> dict[str, Any]:
    headers = result.headers
    fields = {
        name.replace("-", "_"): headers.get(name)
        for name in ("content-type", "etag", "last-modified")
    }
    return {
        "fetched_at": result.started_us,
        "http_status": result.status or None,
        "ip": result.ip or None,
        **{name: value and value[:HEADER_CHARACTERS] for name, value in fields.items()},
    }


def _decoded(result: Result, max_bytes: int) -> bytes | Drop:
    """Return an answer's body free of its codings."""
    body = decode_body(result.body, (), result.headers.all("content-encoding"), max_bytes)
    if isinstance(body, Fault):
        return Drop(DropReason.BODY_ENCODING)
    if body.is_cut:
        is_large = len(body.data) >= max_bytes
        return Drop(DropReason.TOO_LARGE if is_large else DropReason.BODY_ENCODING)
    return bytes(body.data) or Drop(DropReason.EMPTY_BODY)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
