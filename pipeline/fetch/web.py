"""One round of asking hosts: pairs grouped by site, each URL asked once, what failed set apart."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.consent.decision import ConsentSettings, blocked_by
from filters.urls.domain import site_of
from filters.urls.url_key import url_host
from filters.verdict import Drop, DropReason
from pipeline.engine.parts import Sink, one_batch, read_batches
from pipeline.engine.steps import Packet, top_bits
from pipeline.engine.units import Unit
from pipeline.fetch.asking.hosts import ask_hosts
from pipeline.fetch.asking.img2dataset import ask_img2dataset
from pipeline.fetch.asking.kept import take_copied, take_kept
from pipeline.fetch.asking.store import Store, md5_targets, tasks_of
from pipeline.fetch.collect import Blocked
from pipeline.fetch.journal import Journal, crash_notes
from pipeline.fetch.outcomes import (
    HOSTS,
    OUTCOMES,
    WAITING,
    kept_outcomes,
    known_outcomes,
    retryable,
    settle,
    without_blocked,
)
from pipeline.fetch.settings import FetchSettings
from pipeline.records import MATCHED
from pipeline.visit.pace import lane_of, priority

ASKED = ["target", "prio", "redirects", "expect_md5"]
"""Columns of `WAITING` that asking needs; the others are not copied for it."""
_KEY_BYTES = 8
_TOLD: dict[str, tuple[str, Callable[[pa.Table], pa.Table]]] = {
    "known-part": ("known", known_outcomes),
    "known-lost": ("known", known_outcomes),
    "copied-part": ("copied", known_outcomes),
    "kept-part": ("kept", kept_outcomes),
    "kept-lost": ("known", kept_outcomes),
}
"""What rows of earlier rounds tell, by the role of their file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WebKernel:
    """Asks each URL of a bucket; a bucket holds whole lanes of sites, so their limits hold."""

    buckets: int
    settings: FetchSettings
    consent: ConsentSettings
    blocked: Blocked | None = None

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Yield pairs, and outcomes known from before, by site and lane."""
        for source in unit.sources:
            tag, outcomes = _TOLD.get(source.role, ("pair", None))
            for batch in read_batches(source.path):
                if outcomes is None:
                    packet = self._packet(tag, waiting_rows(batch, self.settings.seed), "target")
                else:
                    told = outcomes(pa.Table.from_batches([batch]))
                    if tag != "known":  # its blobs are read, wherever ROOT is
                        told = _with_paths(told, source.path.removesuffix(source.name))
                    packet = self._packet(tag, told, "url")
                if packet.batch.num_rows:
                    yield packet

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Ask what is not known, and give each pair its image or reason."""
        pairs = tables["pair"].combine_chunks()
        refused = self._refused(pairs)
        asked = pairs.select(ASKED).filter(
            pc.invert(pc.is_in(pairs["pair_id"], value_set=refused["pair_id"].combine_chunks()))
        )
        with contextlib.ExitStack() as stack:
            journal = Journal(sink, OUTCOMES, stack)
            notes = stack.enter_context(crash_notes(sink.root, sink.folder, sink.unit.id))
            done = {url for table in journal.saved for url in table["url"].to_pylist()}
            known = _wanted(tables["known"], asked, done)
            done.update(known["url"].to_pylist())
            store = Store(
                settings=self.settings,
                journal=journal,
                notes=notes,
                blocked=self.blocked,
                wants_md5=md5_targets(asked),
            )
            done.update(take_copied(_wanted(tables["copied"], asked, done), store))
            done.update(take_kept(_wanted(tables["kept"], asked, done), store))
            store.save(journal.facts)
            tasks = tasks_of(asked, done)
            if tasks and self.settings.engine == "img2dataset":
                ask_img2dataset(tasks, store, self.consent)
            elif tasks:
                ask_hosts(tasks, store, self.consent, self._stays)
        known = without_blocked(known.select(OUTCOMES.names).cast(OUTCOMES), self.blocked)
        outcomes = pa.concat_tables([*journal.saved, known])
        again = 0
        for settled in settle(pairs, refused, outcomes):
            sink.write(settled.part)
            sink.write(settled.lost, "lost")
            again += retryable(settled.lost).true_count
        sink.write(pa.RecordBatch.from_pylist(journal.facts, schema=HOSTS), "hosts")
        sink.note("reused", known.num_rows)
        sink.note("retryable", again)

    def _packet(self, tag: str, table: pa.Table | pa.RecordBatch, column: str) -> Packet:
        batch = table if isinstance(table, pa.RecordBatch) else one_batch(table)
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

    def _stays(self, here: str, there: str) -> bool:
        return self.key_of(here) == self.key_of(there)

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


def _wanted(outcomes: pa.Table, asked: pa.Table, done: set[str]) -> pa.Table:
    """Return the outcomes of URLs that pairs ask for and nothing else tells of."""
    targets = pa.array(sorted({*asked["target"].to_pylist()} - done), pa.string())
    return outcomes.filter(pc.is_in(outcomes["url"], value_set=targets))


def _with_paths(outcomes: pa.Table, root: str) -> pa.Table:
    place = OUTCOMES.get_field_index("blob")
    paths = pc.binary_join_element_wise(root, outcomes["blob"], "")
    return outcomes.set_column(place, OUTCOMES.field(place), paths)


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


def _text(value: object) -> str | None:
    return None if value is None else str(value)
