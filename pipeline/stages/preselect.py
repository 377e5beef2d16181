"""Stage preselect: matched pairs in, those worth fetching out under a widened cap."""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import numpy as np
import pyarrow as pa

from filters.queries.select import ALL, share_threshold, widened_cap
from filters.verdict import DropReason
from pipeline.engine import files
from pipeline.engine.context import Engine
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep
from pipeline.engine.units import Unit
from pipeline.records import MATCHED
from pipeline.selection.caps import Caps, SelectSettings, base_counts, derive_caps
from pipeline.selection.choose import Matches, choose, dropped_rows, hash_matches
from pipeline.selection.pairs import COUNTS
from pipeline.selection.quotas import (
    QUOTAS,
    Draw,
    Listed,
    check_list,
    content_digest,
    listed,
    load_list,
    load_quotas,
    one_unit,
    quota_rows,
)
from pipeline.selection.survivors import QueryCounts

VERSION = 2


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

    def cap(self, cap: int) -> int:
        """Return how many pairs of a query to fetch so that about `cap` survive."""
        return widened_cap(cap, Fraction(repr(self.expected_yield)))

    def widened(self, select: SelectSettings) -> Callable[[int], int] | None:
        """Return what makes the cap of a fetch from a cap; None if all pairs are fetched."""
        if select.counts_file:  # shares of another pool hold whatever survives of this one
            return int
        return None if self.mode == "off" else self.cap


@dataclasses.dataclass(frozen=True)
class Preselected:
    """What later stages need of this one."""

    pairs: StageRecord
    """The pairs to fetch, with the columns of `MATCHED`."""
    thresholds: StageRecord
    """Pairs and thresholds of each query, with the columns of `QUOTAS`."""
    draw: Draw
    """What all further decisions depend on."""
    is_foreign: bool
    """Whether thresholds are those of another pool."""


@dataclasses.dataclass(frozen=True)
class _SetThresholds:
    """Sum up all counts, derive the caps from them, and from both the thresholds."""

    list_path: str
    list_sha256: str
    select: SelectSettings
    preselect: PreselectSettings

    def run(self, unit: Unit, sink: Sink) -> None:
        queries = load_list(self.list_path, self.list_sha256)
        counts = QueryCounts(COUNTS, len(queries))
        counts.add_files(unit.sources)
        pairs = counts.columns[0]
        base = base_counts(self.select, pairs, queries.queries)
        caps = derive_caps(self.select, base, queries.langs)
        sink.note("caps", caps.to_json())
        theta = np.full(len(queries), ALL, np.uint64)
        cap_of_each = caps.of(queries.langs)
        widened = self.preselect.widened(self.select)
        if widened is not None:
            for query in np.flatnonzero(base > cap_of_each).tolist():
                theta[query] = share_threshold(int(base[query]), widened(int(cap_of_each[query])))
        ids = np.flatnonzero(pairs)
        sink.write(quota_rows(ids, pairs[ids], base[ids], theta[ids]))


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
                u = hash_matches(
                    batch["pair_id"], matches, matches.open(quotas), keys, self.draw.seed
                )
                choice = choose(matches, quotas, u, batch.num_rows)
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
        select: cap and seed; its paths resolved.
        preselect: whether and how far.
        list_path: where the query list is.
        list_sha256: of the list file.
        matched: pairs, with the columns of `MATCHED`, and their `counts`.

    Raises:
        OpenwitError: if `matched` was made with another list.
    """
    check_list(matched, list_sha256)
    foreign = files.sha256_of(select.counts_file) if select.counts_file else None
    thresholds = engine.run(
        MapStep(
            name="preselect-thresholds",
            stage="preselect",
            version=VERSION,
            parameters={
                "list": list_sha256,
                **select.rule,
                "counts_file": foreign,
                **dataclasses.asdict(preselect),
            },
            outputs={"part": QUOTAS},
            accounts=False,
            kernel=_SetThresholds(list_path, list_sha256, select, preselect),
        ),
        one_unit(matched, "counts"),
        [matched],
    )
    draw = Draw(
        list_path=list_path,
        list_sha256=list_sha256,
        seed=select.seed,
        caps=Caps.from_json(thresholds.units[0].notes["caps"]),
    )
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
    return Preselected(pairs, thresholds, draw, foreign is not None)
