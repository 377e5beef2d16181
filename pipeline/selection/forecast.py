"""How many pairs a cap would keep, from what matched and before anything is downloaded."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.engine.parts import read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.selection.caps import SelectSettings, base_counts, derive_caps
from pipeline.selection.choose import Matches, hash_matches, smallest_caps
from pipeline.selection.pairs import COUNTS
from pipeline.selection.quotas import load_list, load_query_keys, one_unit
from pipeline.selection.survivors import QueryCounts

SAMPLE_PAIRS = 200_000
"""Pairs that are looked at; parts are ranges of pair ids, which are hashes: any is a sample."""
FACTORS = (0.01, 0.1, 0.5, 1.0, 2.0, 10.0)
"""Caps that are looked at, in terms of the one that is set."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CapForecast:
    """What one cap would do."""

    cap: int
    """With a cap for each language that of the usual one; the others go with it in proportion."""
    is_set: bool
    """Whether it is the one that the settings give."""
    pairs: int
    """Matched pairs that it would keep, about; a smaller share of them survives `fetch`."""
    to_fetch: int
    """Matched pairs that would be fetched for it, about."""
    head_queries: int
    """Queries with more pairs than the cap."""
    tail_share: float
    """Share of all matches that belongs to the other queries."""


def forecast_caps(
    matched: StageRecord,
    list_path: str,
    list_sha256: str,
    select: SelectSettings,
    widened: Callable[[int], int] | None,
) -> list[CapForecast]:
    """Return what some caps around that of `select` would keep of the pairs of `match`.

    A query selects a pair from the smallest cap on that does, so one look at a sample serves all.

    Args:
        matched: the pairs, and their `counts`.
        list_path: where the query list is.
        list_sha256: of the list file.
        select: the rule of the cap.
        widened: the cap under which pairs are fetched, for a cap; None if all are.
    """
    if not matched.rows_out:
        return []
    queries = load_list(list_path, list_sha256)
    keys = load_query_keys(list_path, list_sha256)
    counted = QueryCounts(COUNTS, len(keys))
    counted.add_files(one_unit(matched, "counts")[0].sources)
    base = base_counts(select, counted.columns[0], queries.queries)
    caps = derive_caps(select, base, queries.langs)
    factors = {max(1, round(caps.usual * factor)): factor for factor in FACTORS}
    scaled = [
        np.maximum(1, np.rint(caps.of(queries.langs) * factor)).astype(np.int64)
        for factor in factors.values()
    ]
    wide = [_widened(cap_of_each, widened) for cap_of_each in scaled] if widened else []
    looked, kept = 0, np.zeros(len(scaled) + len(wide), np.int64)
    for batch in _sample(matched):
        matches = Matches.of(batch["matched_query_ids"])
        places = np.arange(len(matches.ids))
        u = hash_matches(batch["pair_id"], matches, places, keys, select.seed)
        smallest = smallest_caps(u, base[matches.ids])
        starts = np.flatnonzero(np.diff(matches.rows, prepend=-1))  # a pair has a query at least
        for place, cap_of_each in enumerate([*scaled, *wide]):
            selects = smallest <= cap_of_each[matches.ids]
            kept[place] += np.logical_or.reduceat(selects, starts).sum()
        looked += batch.num_rows
    matches_of = counted.columns[0]
    pairs = [round(int(count) * matched.rows_out / looked) for count in kept]
    to_fetch = pairs[len(scaled) :] or [matched.rows_out] * len(scaled)
    return [
        CapForecast(
            cap=cap,
            is_set=factor == 1,
            pairs=pairs[place],
            to_fetch=to_fetch[place],
            head_queries=int((base > cap_of_each).sum()),
            tail_share=float(matches_of[base <= cap_of_each].sum() / matches_of.sum()),
        )
        for place, ((cap, factor), cap_of_each) in enumerate(
            zip(factors.items(), scaled, strict=True)
        )
    ]


def _widened(caps: NDArray[np.int64], widened: Callable[[int], int]) -> NDArray[np.int64]:
    different, places = np.unique(caps, return_inverse=True)
    return np.array([widened(int(cap)) for cap in different], np.int64)[places]


def _sample(matched: StageRecord) -> Sequence[pa.RecordBatch]:
    found: list[pa.RecordBatch] = []
    rows = 0
    for path in matched.paths("part"):
        for batch in read_batches(path, ["pair_id", "matched_query_ids"]):
            found.append(batch)
            rows += batch.num_rows
            if rows >= SAMPLE_PAIRS:
                return found
    return found
