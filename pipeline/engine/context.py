"""What a stage sees of the engine."""

from collections.abc import Sequence
from typing import Protocol

from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep, ShuffleStep
from pipeline.engine.units import Unit


class Engine(Protocol):
    """Runs the units of a step that have no valid record, and commits the step."""

    @property
    def root(self) -> str:
        """ROOT: the folder or URI below which everything of the run lies."""

    @property
    def bucket_bytes(self) -> int:
        """Target payload of one shuffle bucket, which decides the number of `buckets`."""

    @property
    def records(self) -> list[StageRecord]:
        """The steps committed or found so far, in their order."""

    def run(
        self,
        step: MapStep | ShuffleStep,
        units: Sequence[Unit],
        upstream: Sequence[StageRecord] = (),
    ) -> StageRecord:
        """Run what is missing and return the committed step.

        Args:
            step: the work; its spec digest also covers `upstream`.
            units: what it reads, usually `next_units` of the upstream records.
            upstream: the committed steps whose digests enter this step's own.
        """
