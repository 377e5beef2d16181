"""Stage balance: surviving pairs in, the final selection under the per-query cap out."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from filters.verdict import DropReason
from manifests.base.errors import RefusedError
from pipeline.engine.context import Engine
from pipeline.engine.parts import Sink
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapKernel, MapStep
from pipeline.engine.units import Unit
from pipeline.records import QUERY_COUNTS, SELECTION
from pipeline.selection.blocks import JUDGED, RunBlockList, TakeDown, at_place
from pipeline.selection.choose import (
    choose,
    dropped_rows,
    more_sources,
    read_pairs,
    selected_rows,
)
from pipeline.selection.exact import HashReader, SetExactThresholds
from pipeline.selection.quotas import (
    QUOTAS,
    Draw,
    Listed,
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
    HASHES,
    SURVIVORS,
    CountSurvivors,
    QueryCounts,
    SumChosen,
    SumSurvivors,
    hashed_queries,
)
from pipeline.stages.preselect import Preselected

VERSION = 3
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
    """Of each part of `dedup` the rows that are kept, with the columns of `SELECTION`."""
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
    """Decide by thresholds, with the hashes that were made when survivors were counted."""

    draw: Draw
    before: Listed
    thresholds: Listed

    def run(self, unit: Unit, sink: Sink) -> None:
        is_hashed = hashed_queries(self.draw, self.before)
        quotas = load_quotas(self.thresholds, len(is_hashed))
        counts = QueryCounts(CHOSEN, len(is_hashed))
        hashes = HashReader(more_sources(unit))
        for batch, matches in read_pairs(unit, "url", "text"):
            hashed = matches.ids[is_hashed[matches.ids]]
            u = hashes.take(len(hashed))[quotas.is_open[hashed]]
            choice = choose(matches, quotas, u, batch.num_rows)
            sink.rows_in(batch.num_rows)
            sink.drop(dropped_rows(batch, choice, sink.stage, DropReason.OVER_CAP.value))
            sink.write(selected_rows(batch["pair_id"], matches, choice, quotas))
            counts.add(0, matches.ids[choice.selects])
            counts.add(1, matches.ids[choice.kept[matches.rows]])
        sink.write(counts.rows(), "counts")


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
    counted = job.run(
        "balance-counts",
        CountSurvivors(draw=job.draw, before=job.before),
        {"part": SURVIVORS, "hashes": HASHES},
        preselected.thresholds,
    )
    counts = _sum_up(job, counted, balance.mode)
    if balance.mode == "strict":
        pairs, final = _strict(job), [counts]
    else:
        pairs, final = _by_thresholds(job, counted, counts, balance.mode)
    chosen = SumChosen(
        queries=job.queries,
        matched=job.before,
        survived=listed(counts),
        final=listed(*final),
    )
    queries = job.run(
        "balance-queries", chosen, {"part": QUERY_COUNTS}, pairs, *final, role="counts"
    )
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
        outputs={"part": JUDGED},
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
    def before(self) -> Listed:
        """`QUOTAS` of preselect."""
        return listed(self.preselected.thresholds)

    @property
    def queries(self) -> int:
        """Number of queries in the list."""
        return count_listed(self.draw.list_path, self.draw.list_sha256)

    def run(
        self,
        name: str,
        kernel: MapKernel,
        outputs: Mapping[str, pa.Schema],
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
            outputs=outputs,
            accounts=False,
            kernel=kernel,
        )
        return self.engine.run(step, units, [self.deduped, *before])

    def choose(
        self, kernel: MapKernel, more: StageRecord, role: str, parameters: Mapping[str, Any]
    ) -> StageRecord:
        """Run the step that keeps and drops pairs, each unit with files of `more`."""
        step = MapStep(
            name="balance",
            stage="balance",
            version=VERSION,
            parameters=parameters,
            outputs={"part": SELECTION, "counts": CHOSEN},
            kernel=kernel,
        )
        units = paired_units(self.deduped, more, role)
        return self.engine.run(step, units, [self.deduped, more])


def _sum_up(job: _Job, counted: StageRecord, mode: Mode) -> StageRecord:
    before = job.preselected.thresholds
    kernel = SumSurvivors(
        draw=job.draw,
        before=job.before,
        narrows=mode == "probabilistic",
        is_foreign=job.preselected.is_foreign,
    )
    outputs = {"part": QUOTAS}
    return job.run("balance-survivors", kernel, outputs, counted, before, role="part", mode=mode)


def _by_thresholds(
    job: _Job, counted: StageRecord, counts: StageRecord, mode: Mode
) -> tuple[StageRecord, list[StageRecord]]:
    """Return the selection and the steps that hold its thresholds."""
    final = [counts]
    if mode == "exact" and counts.units[0].notes["head"]:
        exact = SetExactThresholds(draw=job.draw, counts=listed(counts))
        outputs = {"part": QUOTAS}
        final.append(job.run("balance-thresholds", exact, outputs, counted, counts, role="hashes"))
    kernel = _Balance(job.draw, job.before, listed(*final))
    parameters = {"seed": job.draw.seed, "thresholds": content_digest(*final)}
    return job.choose(kernel, counted, "hashes", parameters), final


def _strict(job: _Job) -> StageRecord:
    ordered = job.run("balance-order", OrderPairs(job.draw.seed), {"part": ORDERED})
    outputs = {"part": DECIDED}
    decided = job.run("balance-strict", ApplyStrict(job.draw), outputs, ordered, role="part")
    kernel = BalanceStrict(job.queries)
    return job.choose(kernel, decided, "part", {"decided": content_digest(decided)})
