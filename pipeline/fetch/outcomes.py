"""What became of each URL of a bucket, and what that means for its pairs."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filters.verdict import Drop, DropReason
from pipeline.engine.parts import Sink, one_batch, read_batches
from pipeline.engine.units import Unit
from pipeline.fetch.locate import dropped
from pipeline.records import FETCHED, MATCHED
from pipeline.visit.outcome import RETRYABLE

WAITING = pa.schema(
    [
        *MATCHED,
        pa.field("target", pa.string(), nullable=False),
        pa.field("redirects", pa.int8(), nullable=False),
        pa.field("prio", pa.binary(8), nullable=False),
    ]
)
"""A pair and the URL that is asked for its image."""

LOST = pa.schema(
    [
        *WAITING,
        pa.field("reason", pa.string(), nullable=False),
        ("value", pa.string()),
    ]
)
"""A pair that got no image in this round; `redirects` those followed so far."""

_PLACES = [pa.field(field.name, field.type) for field in FETCHED if field.name not in MATCHED.names]
OUTCOMES = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        ("reason", pa.string()),
        ("value", pa.string()),
        ("body_md5", pa.binary(16)),
        *_PLACES,
    ]
)
"""A URL and its image, or the reason why there is none; `body_md5` if a list names one."""

HOSTS = pa.schema(
    [
        pa.field("origin", pa.string(), nullable=False),
        pa.field("site", pa.string(), nullable=False),
        ("robots_status", pa.int16()),
        ("robots_sha256", pa.string()),
        ("tdm_status", pa.int16()),
        ("crawl_delay_s", pa.float64()),
        pa.field("requests", pa.int64(), nullable=False),
        pa.field("ok", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        ("paused", pa.string()),
        ("asked_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""One row per origin that was asked: the evidence of consent."""

LAST = "lost-last"
"""The role of what the last round lost: nobody asks it again."""

_RETRYABLE = pa.array(sorted(reason.value for reason in RETRYABLE))


SETTLED_ROWS = 1_024
"""Pairs that are settled at once: what is looked up and copied of them is held for no more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settled:
    """Some pairs of a bucket, each in one of both."""

    part: pa.RecordBatch
    """`FETCHED`, sorted by pair id."""
    lost: pa.RecordBatch
    """`LOST`, sorted by pair id."""


def settle(pairs: pa.Table, refused: pa.Table, outcomes: pa.Table) -> Iterator[Settled]:
    """Give each pair the outcome of its URL, and yield them in the order of their ids.

    Args:
        pairs: `WAITING`.
        refused: pair_id, reason and value of those that are dropped whatever their URL gave.
        outcomes: `OUTCOMES`, each target of the other pairs once.
    """
    order = pc.sort_indices(pairs["pair_id"])
    of_url = pc.index_in(pairs["target"], value_set=outcomes["url"].combine_chunks())
    of_pair = pc.index_in(pairs["pair_id"], value_set=refused["pair_id"].combine_chunks())
    for start in range(0, len(order), SETTLED_ROWS):
        rows = order[start : start + SETTLED_ROWS]
        own = refused.take(of_pair.take(rows))
        yield _settled(pairs.take(rows), own, outcomes.take(of_url.take(rows)))


def _settled(pairs: pa.Table, own: pa.Table, found: pa.Table) -> Settled:
    """Return pairs with the outcomes of their URLs, or their own reasons: of both a row a pair."""
    mismatch = _mismatches(pairs, found)
    reason, value = (
        pc.coalesce(*(table[name].combine_chunks() for table in (own, mismatch, found)))
        for name in ("reason", "value")
    )
    keep = pc.is_null(reason)
    columns = {
        **{name: pairs[name] for name in WAITING.names},
        "redirects": pc.coalesce(found["redirects"], pairs["redirects"]),
        "reason": reason,
        "value": value,
    }
    lost = pa.Table.from_arrays([columns[name] for name in LOST.names], schema=LOST)
    return Settled(
        one_batch(_typed(_columns(FETCHED, pairs, found).filter(keep), FETCHED)),
        one_batch(lost.filter(pc.invert(keep))),
    )


def retryable(lost: pa.Table | pa.RecordBatch) -> pa.Array:
    """Return a mask of the rows that a further round asks again."""
    return pc.is_in(lost["reason"], value_set=_RETRYABLE)


def known_outcomes(rows: pa.Table) -> pa.Table:
    """Return the outcomes that rows of an earlier round, `FETCHED` or `LOST`, tell of their URLs.

    Reasons of single pairs, of another run's lists, and those that a further round asks again, tell
    nothing.
    """
    if "reason" not in rows.schema.names:
        columns: Mapping[str, Any] = {"url": rows["url"]}
        rows = _columns(OUTCOMES, pa.table(columns), rows)
    else:
        not_of_url = pa.array(sorted(_NOT_OF_URL))
        tells = pc.invert(pc.or_(retryable(rows), pc.is_in(rows["reason"], value_set=not_of_url)))
        rows = rows.filter(tells)
        columns = {name: rows[name] for name in ("url", "reason", "value")}
        rows = _columns(OUTCOMES, pa.table(columns), pa.table({}))
    first = rows.append_column("row", pa.array(range(rows.num_rows), pa.int64()))
    firsts = first.group_by("url").aggregate([("row", "min")])["row_min"]
    return _typed(rows.take(firsts.combine_chunks().sort()), OUTCOMES)


def kept_outcomes(rows: pa.Table) -> pa.Table:
    """Return what rows of an earlier round tell under other settings of images.

    Of `FETCHED` rows those whose blob holds the body as it came, without the image's columns being
    of use; of `LOST` rows the reasons that no setting of images has part in.
    """
    if "reason" in rows.schema.names:
        return known_outcomes(rows.filter(pc.is_in(rows["reason"], value_set=_OF_ANSWER)))
    return known_outcomes(rows.filter(pc.invert(rows["reencoded"])))


_OF_ANSWER = pa.array(
    sorted(
        reason.value
        for reason in (
            *(DropReason.OPTOUT_HOST, DropReason.OPTOUT_IMAGE, DropReason.ROBOTS_DISALLOWED),
            *(DropReason.URL_HOST, DropReason.URL_PORT, DropReason.ADDRESS_REFUSED),
            *(DropReason.TLS_CERTIFICATE, DropReason.REDIRECT_LIMIT, DropReason.REDIRECT_REFUSED),
            *(DropReason.HTTP_GONE, DropReason.HTTP_DENIED, DropReason.HTTP_STATUS),
            *(DropReason.PROTOCOL, DropReason.EMPTY_BODY, DropReason.NOT_IMAGE),
        )
    )
)


def without_blocked(outcomes: pa.Table, blocked: Callable[[bytes], str | None] | None) -> pa.Table:
    """Return outcomes of earlier rounds, those of images that a list blocks by now with a reason.

    Args:
        outcomes: `OUTCOMES`.
        blocked: names the list that holds a sha256, if one does.
    """
    if blocked is None:
        return outcomes
    digests = outcomes["original_sha256"].to_pylist()
    lists = pa.array([each and blocked(each) for each in digests], pa.string())
    is_new = pc.and_(lists.is_valid(), outcomes["reason"].is_null())
    for name, values in (("value", lists), ("reason", pa.scalar(DropReason.BLOCKED_SHA256.value))):
        index = OUTCOMES.get_field_index(name)
        column = pc.if_else(is_new, values, outcomes[name])
        outcomes = outcomes.set_column(index, OUTCOMES.field(index), column)
    return outcomes


_NOT_OF_URL = frozenset(
    {
        DropReason.BLOCKED_SHA256.value,
        DropReason.OPTOUT_PAGE.value,
        DropReason.URL_FANOUT.value,
        DropReason.SITE_BUDGET.value,
        DropReason.HASH_MISMATCH.value,
        DropReason.INTERNAL_ERROR.value,
    }
)


def _columns(schema: pa.Schema, *tables: pa.Table) -> pa.Table:
    """Return a table of the schema, each column from the first table that has it, else null."""
    rows = tables[0].num_rows
    arrays = [
        next(
            (table[field.name] for table in tables if field.name in table.schema.names),
            pa.nulls(rows, field.type),
        )
        for field in schema
    ]
    nullable = pa.schema([field.with_nullable(True) for field in schema])
    return pa.Table.from_arrays(arrays, schema=nullable)


def _typed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays(table.columns, schema=schema)


def _mismatches(pairs: pa.Table, found: pa.Table) -> pa.Table:
    """Return reason and value where a list names another digest than the body's."""
    reasons = pa.nulls(pairs.num_rows, pa.string())
    values = pa.nulls(pairs.num_rows, pa.string())
    for name, column in (("sha256", "original_sha256"), ("md5", "body_md5")):
        expected = pairs[f"expect_{name}"]
        if expected.null_count == pairs.num_rows:
            continue
        digests = found[column]
        differs = pc.fill_null(pc.not_equal(expected, digests), False).combine_chunks()
        text = pa.array([f"{name}:{each.hex()}" if each else None for each in digests.to_pylist()])
        values = pc.if_else(pc.and_(differs, pc.is_null(reasons)), text, values)
        reasons = pc.if_else(differs, DropReason.HASH_MISMATCH.value, reasons)
    return pa.table({"reason": reasons, "value": values})


@dataclasses.dataclass(frozen=True)
class SettleKernel:
    """Copies the rows of one unit of a round, and drops what no further round took.

    Only here are the sums of a stage held against each other: a round passes on what it lost.
    """

    def run(self, unit: Unit, sink: Sink) -> None:
        """Read the parts of one unit of a round."""
        for source in unit.sources:
            for batch in read_batches(source.path):
                if source.role == "part":
                    sink.rows_in(batch.num_rows)
                    sink.write(batch)
                    continue
                if source.role != LAST:
                    batch = batch.filter(pc.invert(retryable(batch)))
                sink.rows_in(batch.num_rows)
                sink.drop(_ledger_rows(batch))


def _ledger_rows(lost: pa.RecordBatch) -> pa.RecordBatch:
    verdicts = {
        row: Drop(DropReason(reason), value)
        for row, (reason, value) in enumerate(
            zip(lost["reason"].to_pylist(), lost["value"].to_pylist(), strict=True)
        )
    }
    return dropped(pa.Table.from_batches([lost]), verdicts)
