"""Where each pair's image is in the archives: pairs meet image records by URL, hop by hop."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.consent.decision import ConsentSettings, blocked_by
from filters.urls.url_key import join_url
from filters.verdict import Drop, DropReason
from pipeline.engine.parts import Sink, drop_rows, one_batch, read_batches
from pipeline.engine.steps import Packet, top_bits
from pipeline.engine.units import Unit
from pipeline.records import MATCHED, TIME

STAGE = "fetch"
MAX_REDIRECTS = 5
"""Redirects and revisits that are followed for one pair; what browsers and RFC 9309 allow."""
_URL_BYTES = 4

PENDING = pa.schema(
    [
        *MATCHED,
        pa.field("target", pa.string(), nullable=False),
        pa.field("redirects", pa.int8(), nullable=False),
    ]
)
"""A pair and the URL under which its image is looked for next."""

RECORDS = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("is_image", pa.bool_(), nullable=False),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        ("status", pa.int16()),
        ("content_type", pa.string()),
        ("record_date", TIME),
        ("location", pa.string()),
        pa.field("optout", pa.list_(pa.string()), nullable=False),
    ]
)
"""A record that is a whole image, or that says where one is."""

LOCATED = pa.schema(
    [
        *MATCHED,
        pa.field("redirects", pa.int8(), nullable=False),
        pa.field("final_url", pa.string(), nullable=False),
        ("http_status", pa.int16()),
        ("content_type", pa.string()),
        pa.field("image_file", pa.string(), nullable=False),
        pa.field("image_record", pa.int64(), nullable=False),
        pa.field("image_length", pa.int64(), nullable=False),
        ("fetched_at", TIME),
    ]
)
"""A pair and the record that holds its image."""

_INDEX_COLUMNS = [
    "url", "kind", "source_file", "offset", "length", "status", "content_type", "record_date",
    "location", "refers_to_url", "truncated", "optout",
]  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocateKernel:
    """One hop: a pair gets its record, or the next URL to look under, or is dropped.

    A step's rows in are the pairs that it settles; those that wait for the next hop are settled,
    and counted, there.
    """

    buckets: int
    consent: ConsentSettings
    keeps_missing: bool = False
    """Whether pairs that no archive holds go on, in the role `missing`, rather than being dropped.
    """

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Yield pairs by the URL they look for, or records by theirs."""
        for source in unit.sources:
            if source.role == "images":
                for batch in read_batches(source.path, columns=_INDEX_COLUMNS):
                    yield from self._packets("image", usable_records(batch), "url")
            else:
                for batch in read_batches(source.path):
                    yield from self._packets("pair", pending_rows(batch), "target")

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Join the bucket's pairs with the best record of each URL."""
        pairs = tables["pair"].combine_chunks()
        records = best_records(tables["image"])
        index = pc.index_in(pairs["target"], value_set=records["url"].combine_chunks())
        verdicts = self._verdicts(pairs, records, index)
        found = records.take(index)
        is_open = np.ones(pairs.num_rows, np.bool_)
        is_open[list(verdicts)] = False
        is_image = found["is_image"].combine_chunks().fill_null(False)
        is_image = is_image.to_numpy(zero_copy_only=False)
        sink.write(_located(pairs, found, pa.array(is_open & is_image)))
        pending, lost = _next_hop(pairs, found, np.flatnonzero(is_open & ~is_image))
        sink.write(pending, "pending")
        verdicts |= lost
        missing = [
            row
            for row, verdict in verdicts.items()
            if self.keeps_missing and verdict.reason is DropReason.NOT_IN_ARCHIVE
        ]
        if missing:
            sink.write(one_batch(pairs.select(MATCHED.names).take(pa.array(missing))), "missing")
        for row in missing:
            del verdicts[row]
        sink.rows_in(pairs.num_rows - pending.num_rows - len(missing))
        sink.drop(dropped(pairs, verdicts))

    def _packets(self, tag: str, batch: pa.RecordBatch, column: str) -> Iterable[Packet]:
        if batch.num_rows:
            yield Packet(tag, url_buckets(batch[column], self.buckets), batch)

    def _verdicts(self, pairs: pa.Table, records: pa.Table, index: pa.Array) -> dict[int, Drop]:
        """Judge each row: marks of its page, no record, marks of the record; in this order."""
        marked = _marked(records["optout"])
        index_rows = pc.is_in(index, value_set=pa.array(list(marked), pa.int32()))
        verdicts: dict[int, Drop | None] = {
            row: blocked_by(marked[index[row].as_py()], self.consent, DropReason.OPTOUT_IMAGE)
            for row in np.flatnonzero(index_rows).tolist()
        }
        for row in np.flatnonzero(index.is_null()).tolist():
            verdicts[row] = Drop(DropReason.NOT_IN_ARCHIVE)
        for row, marks in _marked(pairs["optout"]).items():
            verdicts[row] = blocked_by(marks, self.consent) or verdicts.get(row)
        return {row: verdict for row, verdict in verdicts.items() if verdict is not None}


def url_buckets(urls: pa.Array, buckets: int) -> NDArray[np.int64]:
    """Return the bucket of each URL, uniform by a hash of its UTF-8 bytes."""
    digests = [
        hashlib.blake2b(url.encode(), digest_size=_URL_BYTES).digest() for url in urls.to_pylist()
    ]
    return top_bits(pa.array(digests, pa.binary(_URL_BYTES)), buckets)


def pending_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return matched pairs as `PENDING`; rows of an earlier hop are so already."""
    if "target" in batch.schema.names:
        return batch.select(PENDING.names).cast(PENDING)
    columns = [batch[name] for name in MATCHED.names]
    redirects = pa.array(np.zeros(batch.num_rows, np.int8))
    return pa.RecordBatch.from_arrays([*columns, batch["url"], redirects], schema=PENDING)


def usable_records(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of an image index that are whole images or lead on to another URL.

    A revisit stands for the record it refers to; one that names its own URL adds nothing to it.
    """
    is_whole = pc.and_(
        pc.equal(pc.fill_null(batch["status"], 200), 200), pc.is_null(batch["truncated"])
    )
    is_image = pc.equal(batch["kind"], "image")
    is_revisit = pc.equal(batch["kind"], "revisit")
    location = pc.if_else(is_revisit, batch["refers_to_url"], batch["location"])
    leads_on = pc.fill_null(pc.not_equal(location, batch["url"]), False)
    keep = pc.if_else(is_image, is_whole, leads_on)
    made = {"is_image": is_image, "location": location}
    columns = [made[name] if name in made else batch[name] for name in RECORDS.names]
    return pa.RecordBatch.from_arrays(columns, schema=RECORDS).filter(keep)


def best_records(records: pa.Table) -> pa.Table:
    """Return one record per URL: images first, then the newest, then by file and offset."""
    order = pc.sort_indices(
        records,
        sort_keys=[
            ("url", "ascending"),
            ("is_image", "descending"),
            ("record_date", "descending"),
            ("source_file", "ascending"),
            ("offset", "ascending"),
        ],
    )
    ordered = records.take(order).combine_chunks()
    urls = ordered["url"]
    if len(urls) < 2:
        return ordered
    is_first = pc.not_equal(urls[1:].combine_chunks(), urls[:-1].combine_chunks())
    return ordered.filter(pa.concat_arrays([pa.array([True]), is_first]))


def dropped(pairs: pa.Table, verdicts: Mapping[int, Drop]) -> pa.RecordBatch:
    """Return the ledger rows of the pairs whose row number has a verdict."""
    rows = pa.array(list(verdicts), pa.int64())
    named = pairs.select(["pair_id", "url", "text"]).take(rows).to_pylist()
    return drop_rows(
        STAGE,
        [
            {
                "pair_id": pair["pair_id"],
                "url": pair["url"],
                "caption": pair["text"],
                "reason": verdict.reason,
                "value": None if verdict.value is None else str(verdict.value),
            }
            for pair, verdict in zip(named, verdicts.values(), strict=True)
        ],
    )


def _marked(column: pa.ChunkedArray) -> dict[int, list[str]]:
    """Return the opt-out marks of the rows that have any."""
    rows = np.flatnonzero(pc.list_value_length(column).to_numpy())
    return dict(zip(rows.tolist(), column.take(pa.array(rows)).to_pylist(), strict=True))


def _located(pairs: pa.Table, found: pa.Table, keep: pa.Array) -> pa.RecordBatch:
    left, right = pairs.filter(keep), found.filter(keep)
    columns = {
        "redirects": left["redirects"],
        "final_url": left["target"],
        "http_status": right["status"],
        "content_type": right["content_type"],
        "image_file": right["source_file"],
        "image_record": right["offset"],
        "image_length": right["length"],
        "fetched_at": right["record_date"],
    }
    arrays = [left[name] for name in MATCHED.names] + list(columns.values())
    return one_batch(pa.Table.from_arrays(arrays, schema=LOCATED))


def _next_hop(
    pairs: pa.Table, found: pa.Table, rows: NDArray[np.int64]
) -> tuple[pa.RecordBatch, dict[int, Drop]]:
    """Return the pairs that go on under another URL, and the verdicts of those that cannot."""
    waiting = pairs.select(["target", "redirects"]).take(pa.array(rows)).to_pylist()
    locations = found["location"].take(pa.array(rows)).to_pylist()
    lost: dict[int, Drop] = {}
    targets: dict[int, str] = {}
    for row, pair, location in zip(rows.tolist(), waiting, locations, strict=True):
        target = join_url(pair["target"], location)
        if isinstance(target, DropReason):
            lost[row] = Drop(DropReason.NOT_IN_ARCHIVE, location)
        elif pair["redirects"] >= MAX_REDIRECTS:
            lost[row] = Drop(DropReason.REDIRECT_LIMIT, target)
        else:
            targets[row] = target
    taken = pairs.take(pa.array(list(targets), pa.int64()))
    redirects = pc.add(taken["redirects"], pa.scalar(1, pa.int8()))
    urls = pa.array(list(targets.values()), pa.string())
    arrays = [*(taken[name] for name in MATCHED.names), urls, redirects]
    return one_batch(pa.Table.from_arrays(arrays, schema=PENDING)), lost
