"""Ledger rows of the stages that judge pairs, from columns."""

from collections.abc import Sequence

import pyarrow as pa

from pipeline.records import DROPS


def ledger_rows(
    pairs: pa.RecordBatch | pa.Table,
    stage: str,
    reasons: Sequence[str] | pa.Array,
    values: Sequence[str | None] | pa.Array,
    counts: Sequence[int] | None = None,
) -> pa.RecordBatch:
    """Return a row of `DROPS` for each pair.

    Args:
        pairs: the columns `pair_id`, `url` and `text`.
        stage: that drops them.
        reasons: one for each.
        values: what decided, one for each.
        counts: for how many each stands; one if not given.
    """
    rows = pairs.num_rows
    each = pa.repeat(pa.scalar(1, pa.int64()), rows)
    columns = [
        pairs["pair_id"],
        pa.repeat(stage, rows),
        pa.array(reasons, pa.string()),
        pa.array(values, pa.string()),
        each if counts is None else pa.array(counts, pa.int64()),
        pairs["url"],
        pairs["text"],
    ]
    if not rows:
        return pa.RecordBatch.from_pylist([], schema=DROPS)
    return pa.table(columns, schema=DROPS).combine_chunks().to_batches()[0]
