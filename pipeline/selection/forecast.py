"""How many pairs a cap would keep, from what matched and before anything is downloaded."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from filters.queries.select import tail_share
from pipeline.engine.parts import read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.selection.choose import Matches, hash_matches, smallest_caps
from pipeline.selection.pairs import COUNTS
from pipeline.selection.quotas import load_query_keys, one_unit
from pipeline.selection.survivors import QueryCounts

SAMPLE_PAIRS = 200_000
"""Pairs that are looked at; parts are ranges of pair ids, which are hashes: any is a sample."""
FACTORS = (0.01, 0.1, 0.5, 1.0, 2.0, 10.0)
"""Caps that are looked at, in terms of the one that is set."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CapForecast:
    """What one cap would do."""

    cap: int
    pairs: int
    """Matched pairs that it would keep, about; a smaller share of them survives `fetch`."""
    head_queries: int
    """Queries with more pairs than the cap."""
    tail_share: float
    """Share of all matches that belongs to the other queries."""


def forecast_caps(
    matched: StageRecord, list_path: str, list_sha256: str, cap: int, seed: int
) -> list[CapForecast]:
    """Return what some caps around `cap` would keep of the pairs of `match`.

    A pair is kept from its smallest cap on, so one look at a sample serves all caps.
    """
    keys = load_query_keys(list_path, list_sha256)
    counted = QueryCounts(COUNTS, len(keys))
    counted.add_files(one_unit(matched, "counts")[0].sources)
    counts = counted.columns[0]
    looked, caps = 0, [np.zeros(0, np.int64)]
    for batch in _sample(matched):
        matches = Matches.of(batch["matched_query_ids"])
        places = np.arange(len(matches.ids))
        u = hash_matches(batch["pair_id"], matches, places, keys, seed)
        starts = np.flatnonzero(np.diff(matches.rows, prepend=-1))  # a pair has a query at least
        caps.append(np.minimum.reduceat(smallest_caps(u, counts[matches.ids]), starts))
        looked += batch.num_rows
    if not looked:
        return []
    smallest = np.concatenate(caps)
    wanted = sorted({max(1, round(cap * factor)) for factor in FACTORS})
    return [
        CapForecast(
            cap=each,
            pairs=round(int((smallest <= each).sum()) * matched.rows_out / looked),
            head_queries=int((counts > each).sum()),
            tail_share=float(tail_share(counts.tolist(), each + 1)),
        )
        for each in wanted
    ]


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
