"""Rates from a sample of the inputs that went through the real `extract` and `match`."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.engine.parts import read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.planning.rates import RATES, Rate
from pipeline.selection.caps import SelectSettings, base_counts, derive_caps
from pipeline.selection.choose import Matches
from pipeline.selection.quotas import load_list
from pipeline.stages.preselect import PreselectSettings

PAIR_BYTES = 100
"""Of a matched pair as packed for the shuffle that merges equal ones; measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piloted:
    """What a pilot's steps say of the whole input."""

    records: Sequence[StageRecord]
    """`extract`, and the steps of `match` if there was a list."""
    seconds: Mapping[str, float]
    """CPU of each stage, without Beam."""
    sample_bytes: int
    input_bytes: int

    def rates(
        self, listed: tuple[str, str] | None, select: SelectSettings, preselect: PreselectSettings
    ) -> dict[str, Rate]:
        """Return the rates of the stages that the sample tells of.

        Args:
            listed: path and sha256 of the query list; None if it is not there yet.
            select: the rule of the cap.
            preselect: how it is widened.
        """
        extracted = self.records[0]
        mib = max(1, self.sample_bytes) / (1 << 20)
        rates = {
            "extract": dataclasses.replace(
                RATES["extract"],
                kept=extracted.rows_out / mib,
                cpu_seconds=self.seconds["extract"] / mib,
            )
        }
        found = next((each for each in self.records if each.step == "match-find"), None)
        matched = next((each for each in self.records if each.step == "match"), None)
        if found is None or matched is None or listed is None or not matched.rows_out:
            return rates
        scale = self.input_bytes / max(1, self.sample_bytes)
        ids = _pair_ids(found)
        merged = matched.rows_out * _growth(pa.concat_arrays(ids), matched.rows_out, scale)
        texts = max(1, extracted.rows_out)
        rates["match"] = dataclasses.replace(
            RATES["match"],
            kept=merged / (texts * scale),
            shuffle_bytes=round(PAIR_BYTES * sum(len(each.unique()) for each in ids) / texts),
        )
        first, last = _capped(matched, merged / matched.rows_out, listed, select, preselect)
        rates["preselect"] = dataclasses.replace(RATES["preselect"], kept=first)
        rates["balance"] = dataclasses.replace(RATES["balance"], kept=last)
        return rates


def _pair_ids(found: StageRecord) -> list[pa.Array]:
    """Return the ids of each unit, which merges equal ones before it sends them."""
    parts = [read_batches(path, ["pair_id"]) for path in found.paths("part")]
    columns = [[batch["pair_id"] for batch in part] for part in parts]
    return [pa.concat_arrays(column) for column in columns if column]


def _growth(ids: pa.Array, merged: int, scale: float) -> float:
    """Return how many times the distinct pairs of the sample all inputs have.

    They grow like a power of the rows (Heaps' law); half of the sample tells which.
    """
    if len(ids) < 2:
        return scale
    halves = ids[: len(ids) // 2], ids[len(ids) // 2 :]
    distinct = sum(len(half.unique()) for half in halves) / 2
    return scale ** min(1.0, math.log2(max(1.0, merged / distinct)))


def _capped(
    matched: StageRecord,
    scale: float,
    listed: tuple[str, str],
    select: SelectSettings,
    preselect: PreselectSettings,
) -> tuple[float, float]:
    """Return the shares of pairs that the widened cap keeps, and of those that the cap keeps.

    A query's other pairs are scaled, not the pair looked at: one alone says nothing of others.
    """
    queries = load_list(*listed)
    batches = [
        batch["matched_query_ids"]
        for path in matched.paths("part")
        for batch in read_batches(path, ["matched_query_ids"])
    ]
    matches = Matches.of(pa.concat_arrays(batches))
    seen = np.bincount(matches.ids, minlength=len(queries)).astype(np.int64)
    pairs = np.where(seen, 1 + np.rint((seen - 1) * scale), 0).astype(np.int64)
    base = base_counts(select, pairs, queries.queries)
    caps = derive_caps(select, base, queries.langs).of(queries.langs)
    widened = preselect.widened(select)
    wide = np.array([widened(int(cap)) for cap in caps]) if widened else base
    first = _chosen(matches, np.minimum(1, wide / np.maximum(1, base)))
    survive = RATES["fetch"].kept * RATES["dedup"].kept
    shares = np.minimum(1, np.minimum(wide, caps / survive) / np.maximum(1, base))
    return first, _chosen(matches, shares) / max(first, 1e-9)


def _chosen(matches: Matches, shares: NDArray[np.float64]) -> float:
    """Return the share of pairs that one of their queries selects, if each selects its share."""
    missed = np.log(np.maximum(1e-12, 1 - shares[matches.ids]))
    starts = np.flatnonzero(np.diff(matches.rows, prepend=-1))
    return float(1 - np.exp(np.add.reduceat(missed, starts)).mean())
