"""Sums that must match before anything is committed."""

from collections.abc import Mapping, Sequence

from filters.verdict import DropReason
from manifests.base.errors import AccountingError, OpenwitError
from pipeline.engine.steps import MapStep, ShuffleStep
from pipeline.engine.units import UnitRecord

FREE_ERRORS = 10
"""Rows of a unit that may always end in an unexpected exception."""
REPORT = "this is a fault of openwit, report it"


def check_unit(
    step: MapStep | ShuffleStep,
    record: UnitRecord,
    max_error_rate: float,
    messages: Sequence[str] = (),
) -> None:
    """Check one unit before its record is written.

    Args:
        step: the unit's step.
        record: what is about to be committed.
        max_error_rate: share of rows that may end in an unexpected exception.
        messages: the first of those exceptions.

    Raises:
        AccountingError: if rows in is not rows out plus drops.
        OpenwitError: if too many rows ended in an unexpected exception.
    """
    dropped = sum(record.drops.values())
    if step.accounts and record.rows_in != record.rows_out + dropped:
        raise AccountingError(
            f"{step.name} unit {record.unit}: {record.rows_in} rows in are not {record.rows_out} "
            f"out plus {dropped} dropped {dict(record.drops)}: {REPORT}"
        )
    errors = record.drops.get(DropReason.INTERNAL_ERROR, 0)
    if errors > max(FREE_ERRORS, max_error_rate * record.rows_in):
        raise OpenwitError(
            f"{step.name} unit {record.unit}: {errors} of {record.rows_in} rows ended in an "
            f"unexpected exception: {'; '.join(messages)}"
        )


def check_shuffle(
    step: ShuffleStep, sent: Sequence[Mapping[str, Sequence[int]]], records: Sequence[UnitRecord]
) -> None:
    """Check that each bucket received every row that was sent to it, once.

    Args:
        step: the shuffle.
        sent: for each emitting unit, rows per bucket by tag.
        records: the buckets' records, in the order of the buckets.

    Raises:
        AccountingError: if a runner lost, repeated or moved rows.
    """
    for tag in step.schemas:
        for bucket, record in enumerate(records):
            expected = sum(unit[tag][bucket] for unit in sent)
            found = record.notes["received"][tag]
            if expected != found:
                raise AccountingError(
                    f"{step.name} bucket {bucket}: shuffle lost or changed {expected - found} rows "
                    f"of {tag!r} ({expected} sent, {found} received): use another runner, or "
                    f"--force {step.stage} to do it again"
                )
