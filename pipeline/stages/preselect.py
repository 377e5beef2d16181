"""Stage preselect: matched pairs in, those worth fetching out under a widened cap."""

import dataclasses
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Literal

import pyarrow as pa

from filters.queries.select import ALL, share_threshold, widened_cap
from filters.verdict import DropReason
from pipeline.engine.context import Engine
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep, Packet, ShuffleStep, bucket_count
from pipeline.engine.units import Unit
from pipeline.records import MATCHED
from pipeline.selection.choose import Matches, choose, dropped_rows
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
    quota_rows,
)
from pipeline.selection.thresholds import Draw
from pipeline.stages.match import COUNTS

VERSION = 1
COUNT_BYTES = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreselectSettings:
    """Whether pairs far over the cap are left out before they are fetched (`[preselect]`)."""

    mode: Literal["probabilistic", "off"] = "probabilistic"
    """`off` fetches every matched pair."""
    expected_yield: float = 0.5
    """Share of fetched pairs that will survive, above 0 to 1; provisional. Published shares of
    downloads alone: COYO 0.85, DataComp small 0.86 to 0.94."""

    def __post_init__(self) -> None:
        """Refuse shares that mean nothing."""
        if not 0 < self.expected_yield <= 1:
            raise ValueError(
                f"expected_yield must be above 0 and at most 1, got {self.expected_yield}"
            )

    def cap(self, cap: int) -> int | None:
        """Return the widened cap, or None if nothing is left out."""
        if self.mode == "off":
            return None
        return widened_cap(cap, Fraction(repr(self.expected_yield)))


@dataclasses.dataclass(frozen=True)
class Preselected:
    """What later stages need of this one."""

    pairs: StageRecord
    """The pairs to fetch, with the columns of `MATCHED`."""
    thresholds: StageRecord
    """Pairs and thresholds of each query, with the columns of `QUOTAS`."""


@dataclasses.dataclass(frozen=True)
class _SetThresholds:
    ranges: QueryRanges
    cap: int | None

    def emit(self, unit: Unit) -> Iterable[Packet]:
        for source in unit.sources:
            for batch in read_batches(source.path):
                yield Packet("count", self.ranges.of(batch["query_id"].to_numpy()), batch)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        _ = bucket
        sums = tables["count"].group_by("query_id").aggregate([("pairs", "sum")])
        sums = sums.sort_by("query_id")
        pairs = sums["pairs_sum"].to_pylist()
        theta = [ALL if self.cap is None else share_threshold(each, self.cap) for each in pairs]
        sink.write(quota_rows(sums["query_id"].to_pylist(), pairs, theta))


@dataclasses.dataclass(frozen=True)
class _Preselect:
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
                sink.drop(dropped_rows(batch, choice, sink.stage, DropReason.NOT_PRESELECTED.value))
                sink.write(batch.filter(pa.array(choice.kept)))


def run(
    engine: Engine,
    select: SelectSettings,
    preselect: PreselectSettings,
    list_path: str,
    list_sha256: str,
    matched: StageRecord,
) -> Preselected:
    """Leave out pairs that only queries far over the cap would select.

    Args:
        engine: runs the steps.
        select: cap and seed.
        preselect: whether and how far.
        list_path: where the query list is.
        list_sha256: of the list file.
        matched: pairs, with the columns of `MATCHED`, and their `counts`.

    Raises:
        OpenwitError: if `matched` was made with another list.
    """
    check_list(matched, list_sha256)
    cap = preselect.cap(select.cap)
    queries = count_listed(list_path, list_sha256)
    buckets = bucket_count(queries, COUNT_BYTES * len(matched.units), engine.bucket_bytes)
    thresholds = engine.run(
        ShuffleStep(
            name="preselect-thresholds",
            stage="preselect",
            version=VERSION,
            parameters={"list": list_sha256, "cap": cap, "buckets": buckets},
            outputs={"part": QUOTAS},
            accounts=False,
            kernel=_SetThresholds(QueryRanges(queries, buckets), cap),
            buckets=buckets,
            sort_keys={"count": ["query_id", "pairs"]},
            schemas={"count": COUNTS},
        ),
        matched.next_units("counts"),
        [matched],
    )
    draw = Draw(list_path=list_path, list_sha256=list_sha256, seed=select.seed)
    pairs = engine.run(
        MapStep(
            name="preselect",
            stage="preselect",
            version=VERSION,
            parameters={"seed": select.seed, "thresholds": content_digest(thresholds)},
            outputs={"part": MATCHED},
            kernel=_Preselect(draw, listed(thresholds)),
        ),
        matched.next_units("part"),
        [matched, thresholds],
    )
    return Preselected(pairs, thresholds)
