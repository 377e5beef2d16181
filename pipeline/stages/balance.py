"""Stage balance: surviving pairs in, the final selection under the per-query cap out."""

import dataclasses
from typing import Literal

import pyarrow as pa

from filters.verdict import DropReason
from pipeline.engine.context import Engine
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep, ShuffleStep, bucket_count
from pipeline.engine.units import Unit
from pipeline.records import QUERY_COUNTS, SELECTED
from pipeline.selection.choose import Matches, choose, dropped_rows, selected_columns
from pipeline.selection.quotas import (
    QUOTAS,
    Listed,
    QueryRanges,
    SelectSettings,
    check_list,
    content_digest,
    count_listed,
    listed,
    load_quotas,
)
from pipeline.selection.thresholds import (
    CHOSEN,
    HASHES,
    SURVIVORS,
    CountChosen,
    CountSurvivors,
    Draw,
    SetExactThresholds,
)
from pipeline.stages.preselect import Preselected

VERSION = 1
COUNT_BYTES = 20
HASH_BYTES = 12
MATCHES_PER_PAIR = 4
"""Published: 3.5 matches a text; only the number of buckets depends on it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BalanceSettings:
    """How the cap is applied to the pairs that survived (`[balance]`)."""

    mode: Literal["exact", "probabilistic"] = "exact"
    """`exact`: a query with more pairs than the cap selects exactly that many; `probabilistic`:
    each of its pairs with probability cap / pairs, as MetaCLIP publishes it."""


@dataclasses.dataclass(frozen=True)
class Balanced:
    """The final selection and what it means for each query."""

    pairs: StageRecord
    """Columns of `SELECTED`."""
    queries: StageRecord
    """Columns of `QUERY_COUNTS`, parts in ascending query id."""
    short: tuple[int, ...]
    """Ids of queries that preselect thinned and of which fewer than the cap survived: those for
    which `preselect.expected_yield` was too high."""


@dataclasses.dataclass(frozen=True)
class _Balance:
    draw: Draw
    thresholds: Listed

    def run(self, unit: Unit, sink: Sink) -> None:
        keys = self.draw.keys()
        quotas = load_quotas(self.thresholds, len(keys))
        for source in unit.sources:
            for batch in read_batches(source.path):
                matches = Matches.of(batch["matched_query_ids"])
                choice = choose(batch["pair_id"], matches, quotas, keys, self.draw.seed)
                sink.rows_in(batch.num_rows)
                sink.drop(dropped_rows(batch, choice, sink.stage, DropReason.OVER_CAP.value))
                columns = selected_columns(matches, choice, quotas, batch.num_rows)
                rows = pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=SELECTED)
                sink.write(rows.filter(pa.array(choice.kept)))


@dataclasses.dataclass(frozen=True)
class _Job:
    """What the steps share."""

    engine: Engine
    cap: int
    draw: Draw
    queries: int
    deduped: StageRecord
    thresholds: StageRecord
    """Of preselect."""

    @property
    def count_ranges(self) -> QueryRanges:
        """Buckets of tables with one row per query and unit."""
        row_bytes = COUNT_BYTES * len(self.deduped.units)
        buckets = bucket_count(self.queries, row_bytes, self.engine.bucket_bytes)
        return QueryRanges(self.queries, buckets)


def run(
    engine: Engine,
    select: SelectSettings,
    balance: BalanceSettings,
    list_path: str,
    list_sha256: str,
    deduped: StageRecord,
    preselected: Preselected,
) -> Balanced:
    """Apply the cap to the pairs that survived.

    Args:
        engine: runs the steps.
        select: cap and seed, the same as in preselect.
        balance: how the cap is meant.
        list_path: where the query list is.
        list_sha256: of the list file.
        deduped: pairs, with the columns of `DEDUPED`.
        preselected: thresholds that the pairs have passed already.

    Raises:
        OpenwitError: if `preselected` was made with another list.
    """
    check_list(preselected.thresholds, list_sha256)
    job = _Job(
        engine,
        select.cap,
        Draw(list_path=list_path, list_sha256=list_sha256, seed=select.seed),
        count_listed(list_path, list_sha256),
        deduped,
        preselected.thresholds,
    )
    counts = _count_survivors(job, balance.mode)
    final = [counts]
    if balance.mode == "exact" and any(unit.notes["head"] for unit in counts.units):
        final += _set_exact(job, counts)
    pairs = engine.run(
        MapStep(
            name="balance",
            stage="balance",
            version=VERSION,
            parameters={"seed": select.seed, "thresholds": content_digest(*final)},
            outputs={"part": SELECTED},
            kernel=_Balance(job.draw, listed(*final)),
        ),
        deduped.next_units("part"),
        [deduped, *final],
    )
    short = [query for unit in counts.units for query in unit.notes["short"]]
    return Balanced(pairs, _count_chosen(job, counts, final, pairs), tuple(short))


def _count_survivors(job: _Job, mode: str) -> StageRecord:
    ranges = job.count_ranges
    step = ShuffleStep(
        name="balance-counts",
        stage="balance",
        version=VERSION,
        parameters={
            "list": job.draw.list_sha256,
            "mode": mode,
            "cap": job.cap,
            "seed": job.draw.seed,
            "thresholds": content_digest(job.thresholds),
            "buckets": ranges.buckets,
        },
        outputs={"part": QUOTAS},
        accounts=False,
        kernel=CountSurvivors(
            draw=job.draw,
            ranges=ranges,
            before=listed(job.thresholds),
            cap=job.cap,
            probabilistic=mode == "probabilistic",
        ),
        buckets=ranges.buckets,
        sort_keys={"count": ["query_id", "survived", "under"]},
        schemas={"count": SURVIVORS},
    )
    return job.engine.run(step, job.deduped.next_units("part"), [job.deduped, job.thresholds])


def _set_exact(job: _Job, counts: StageRecord) -> list[StageRecord]:
    """Return the steps with thresholds of head queries; the second only if one had too few."""
    first = _ask_hashes(job, "balance-thresholds", [counts], ())
    short = listed(first, role="short")
    return [first, _ask_hashes(job, "balance-short", [counts, first], short)] if short else [first]


def _ask_hashes(job: _Job, name: str, before: list[StageRecord], only: Listed) -> StageRecord:
    row_bytes = HASH_BYTES * MATCHES_PER_PAIR
    buckets = bucket_count(job.deduped.rows_out, row_bytes, job.engine.bucket_bytes)
    step = ShuffleStep(
        name=name,
        stage="balance",
        version=VERSION,
        parameters={
            "cap": job.cap,
            "seed": job.draw.seed,
            "before": content_digest(*before),
            "buckets": buckets,
        },
        outputs={"part": QUOTAS, "short": QUOTAS},
        accounts=False,
        kernel=SetExactThresholds(
            draw=job.draw,
            ranges=QueryRanges(job.queries, buckets),
            counts=listed(before[0]),
            cap=job.cap,
            only=only,
        ),
        buckets=buckets,
        sort_keys={"hash": ["query_id", "u"]},
        schemas={"hash": HASHES},
    )
    return job.engine.run(step, job.deduped.next_units("part"), [job.deduped, *before])


def _count_chosen(
    job: _Job, counts: StageRecord, final: list[StageRecord], pairs: StageRecord
) -> StageRecord:
    ranges = job.count_ranges
    step = ShuffleStep(
        name="balance-queries",
        stage="balance",
        version=VERSION,
        parameters={
            "thresholds": content_digest(job.thresholds, *final),
            "buckets": ranges.buckets,
        },
        outputs={"part": QUERY_COUNTS},
        accounts=False,
        kernel=CountChosen(
            ranges=ranges,
            matched=listed(job.thresholds),
            survived=listed(counts),
            final=listed(*final),
        ),
        buckets=ranges.buckets,
        sort_keys={"count": ["query_id", "selected", "kept"]},
        schemas={"count": CHOSEN},
    )
    return job.engine.run(step, pairs.next_units("part"), [pairs, *final])
