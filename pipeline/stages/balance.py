"""Stage balance: surviving pairs in, the final selection under the per-query cap out."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.verdict import DropReason
from manifests.base.errors import RefusedError
from pipeline.engine.context import Engine
from pipeline.engine.parts import Sink
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapKernel, MapStep
from pipeline.engine.units import Unit
from pipeline.records import DEDUPED, QUERY_COUNTS, SELECTED
from pipeline.selection.blocks import RunBlockList, TakeDown, at_place
from pipeline.selection.choose import (
    Matches,
    choose,
    dropped_rows,
    hash_matches,
    more_sources,
    read_parts,
    selected_columns,
    write_selected,
)
from pipeline.selection.exact import (
    HASHES,
    HashHeads,
    HashReader,
    SetExactThresholds,
    head_queries,
)
from pipeline.selection.quotas import (
    QUOTAS,
    Draw,
    Listed,
    Quotas,
    check_list,
    content_digest,
    count_listed,
    listed,
    load_quotas,
    one_unit,
    paired_units,
)
from pipeline.selection.strict import DECIDED, ORDERED, ApplyStrict, BalanceStrict, OrderPairs
from pipeline.selection.survivors import (
    CHOSEN,
    SURVIVORS,
    CountSurvivors,
    QueryCounts,
    SumChosen,
    SumSurvivors,
)
from pipeline.stages.preselect import Preselected

VERSION = 2
Mode = Literal["exact", "probabilistic", "strict"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BalanceSettings:
    """How the cap is applied to the pairs that survived (`[balance]`)."""

    mode: Mode = "exact"
    """`exact`: a query with more pairs than the cap selects exactly that many; `probabilistic`:
    each of its pairs with probability cap / pairs, as MetaCLIP publishes it; `strict`: no query is
    in more kept pairs than the cap, which is no rule of CLIP's."""
    strict_max_pairs: int = 100_000_000
    """Most surviving pairs that `strict` takes, 4 bytes each in one process; provisional."""

    def __post_init__(self) -> None:
        """Refuse a bound that no pair keeps."""
        if self.strict_max_pairs < 1:
            raise ValueError(f"strict_max_pairs must be at least 1, got {self.strict_max_pairs}")


@dataclasses.dataclass(frozen=True)
class Balanced:
    """The final selection and what it means for each query."""

    pairs: StageRecord
    """Columns of `SELECTED`."""
    queries: StageRecord
    """Columns of `QUERY_COUNTS`, ascending query id."""
    short: tuple[int, ...]
    """Ids of queries that preselect thinned and of which fewer than the cap survived: those for
    which `preselect.expected_yield` was too high."""
    cap: int | None
    """The most pairs that a query selects; None if there is no such number: languages have caps of
    their own, or shares are those of another pool."""


@dataclasses.dataclass(frozen=True)
class _Balance:
    """Decide by thresholds; in mode `exact` the hashes have been made before."""

    draw: Draw
    survived: Listed
    thresholds: Listed

    def run(self, unit: Unit, sink: Sink) -> None:
        keys = self.draw.keys()
        quotas = load_quotas(self.thresholds, len(keys))
        counts = QueryCounts(CHOSEN, len(keys))
        hashes = _Hashes(self.draw, quotas, self.survived, unit)
        for batch in read_parts(unit):
            matches = Matches.of(batch["matched_query_ids"])
            choice = choose(matches, quotas, hashes.take(batch, matches), batch.num_rows)
            sink.rows_in(batch.num_rows)
            sink.drop(dropped_rows(batch, choice, sink.stage, DropReason.OVER_CAP.value))
            write_selected(batch, selected_columns(matches, choice, quotas), choice.kept, sink)
            counts.add(0, matches.ids[choice.selects])
            counts.add(1, matches.ids[choice.kept[matches.rows]])
        sink.write(counts.rows(), "counts")


class _Hashes:
    """Hashes of a unit's matches, batch by batch: read if they have been made, else made."""

    def __init__(self, draw: Draw, quotas: Quotas, survived: Listed, unit: Unit) -> None:
        self._keys = draw.keys()
        self._seed = draw.seed
        self._quotas = quotas
        made = more_sources(unit)
        self._reader = HashReader(made) if made else None
        self._is_head = head_queries(draw, survived)

    def take(self, batch: pa.RecordBatch, matches: Matches) -> NDArray[np.uint64]:
        """Return the hashes that `choose` asks for."""
        places = matches.open(self._quotas)
        if self._reader is None:
            return hash_matches(batch["pair_id"], matches, places, self._keys, self._seed)
        heads = np.flatnonzero(self._is_head[matches.ids])
        hashes = self._reader.take(len(heads))
        return hashes if len(heads) == len(places) else hashes[np.isin(heads, places)]


def run(
    engine: Engine,
    balance: BalanceSettings,
    list_sha256: str,
    deduped: StageRecord,
    preselected: Preselected,
    *,
    blocked: Sequence[RunBlockList] = (),
) -> Balanced:
    """Apply the cap to the pairs that survived.

    Args:
        engine: runs the steps.
        balance: how the cap is meant.
        list_sha256: of the query list's file.
        deduped: pairs, with the columns of `DEDUPED`.
        preselected: what the pairs have passed already; list, caps and seed are its.
        blocked: block lists of the run; those of `balance` take pairs down first.

    Raises:
        OpenwitError: if `preselected` was made with another list.
        RefusedError: if there are more pairs than `strict` may take.
    """
    check_list(preselected.thresholds, list_sha256)
    late = at_place(blocked, "balance")
    if late:
        deduped = _take_down(engine, late, deduped)
    if balance.mode == "strict" and deduped.rows_out > balance.strict_max_pairs:
        raise RefusedError(
            f"balance.strict_max_pairs: {deduped.rows_out} pairs survived, at most "
            f"{balance.strict_max_pairs} are taken: raise it, or use balance.mode = 'exact'"
        )
    job = _Job(engine, preselected, deduped)
    counts = _count(job, balance.mode)
    if balance.mode == "strict":
        pairs, final = _strict(job), [counts]
    else:
        pairs, final = _by_thresholds(job, counts, balance.mode)
    chosen = SumChosen(
        queries=job.queries,
        matched=listed(preselected.thresholds),
        survived=listed(counts),
        final=listed(*final),
    )
    queries = job.run("balance-queries", chosen, QUERY_COUNTS, pairs, *final, role="counts")
    cap = None if preselected.is_foreign else preselected.draw.caps.common
    return Balanced(pairs, queries, tuple(counts.units[0].notes["short"]), cap)


def _take_down(
    engine: Engine, lists: tuple[RunBlockList, ...], deduped: StageRecord
) -> StageRecord:
    step = MapStep(
        name="balance-blocked",
        stage="balance",
        version=VERSION,
        parameters={"blocked": [each.parameters for each in lists]},
        outputs={"part": DEDUPED},
        kernel=TakeDown(lists),
    )
    return engine.run(step, deduped.next_units("part"), [deduped])


@dataclasses.dataclass(frozen=True)
class _Job:
    """What the steps share."""

    engine: Engine
    preselected: Preselected
    deduped: StageRecord

    @property
    def draw(self) -> Draw:
        """Of the stage before."""
        return self.preselected.draw

    @property
    def queries(self) -> int:
        """Number of queries in the list."""
        return count_listed(self.draw.list_path, self.draw.list_sha256)

    def run(
        self,
        name: str,
        kernel: MapKernel,
        schema: pa.Schema,
        *before: StageRecord,
        role: str = "",
        **parameters: Any,
    ) -> StageRecord:
        """Run a step that counts: over each unit of the pairs, or with `role` over all as one."""
        units = one_unit(before[0], role) if role else self.deduped.next_units("part")
        step = MapStep(
            name=name,
            stage="balance",
            version=VERSION,
            parameters={
                "list": self.draw.list_sha256,
                "caps": self.draw.caps.to_json(),
                "seed": self.draw.seed,
                "before": content_digest(*before),
                **parameters,
            },
            outputs={"part": schema},
            accounts=False,
            kernel=kernel,
        )
        return self.engine.run(step, units, [self.deduped, *before])

    def choose(
        self, kernel: MapKernel, more: StageRecord | None, parameters: Mapping[str, Any]
    ) -> StageRecord:
        """Run the step that keeps and drops pairs."""
        step = MapStep(
            name="balance",
            stage="balance",
            version=VERSION,
            parameters=parameters,
            outputs={"part": SELECTED, "counts": CHOSEN},
            kernel=kernel,
        )
        upstream = [self.deduped, *([more] if more else [])]
        return self.engine.run(step, paired_units(self.deduped, more), upstream)


def _count(job: _Job, mode: Mode) -> StageRecord:
    before = job.preselected.thresholds
    counted = job.run(
        "balance-counts",
        CountSurvivors(draw=job.draw, before=listed(before)),
        SURVIVORS,
        before,
    )
    summed = SumSurvivors(
        draw=job.draw,
        before=listed(before),
        narrows=mode == "probabilistic",
        is_foreign=job.preselected.is_foreign,
    )
    return job.run("balance-survivors", summed, QUOTAS, counted, before, role="part", mode=mode)


def _by_thresholds(
    job: _Job, counts: StageRecord, mode: Mode
) -> tuple[StageRecord, list[StageRecord]]:
    """Return the selection and the steps that hold its thresholds."""
    final, hashes = [counts], None
    if mode == "exact" and counts.units[0].notes["head"]:
        made = HashHeads(draw=job.draw, counts=listed(counts))
        hashes = job.run("balance-hashes", made, HASHES, counts)
        exact = SetExactThresholds(draw=job.draw, counts=listed(counts))
        final.append(job.run("balance-thresholds", exact, QUOTAS, hashes, counts, role="part"))
    kernel = _Balance(job.draw, listed(counts), listed(*final))
    parameters = {"seed": job.draw.seed, "thresholds": content_digest(*final)}
    return job.choose(kernel, hashes, parameters), final


def _strict(job: _Job) -> StageRecord:
    ordered = job.run("balance-order", OrderPairs(job.draw.seed), ORDERED)
    decided = job.run("balance-strict", ApplyStrict(job.draw), DECIDED, ordered, role="part")
    kernel = BalanceStrict(job.queries)
    return job.choose(kernel, decided, {"decided": content_digest(decided)})
