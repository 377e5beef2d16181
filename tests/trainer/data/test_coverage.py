"""Sums that tell whether every sample was used once an epoch."""

import concurrent.futures
import dataclasses
import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from manifests.base.errors import AccountingError
from manifests.format import Manifest
from tests.trainer.data.conftest import DatasetMaker
from trainer.data.coverage import Coverage, CoverageState
from trainer.data.order import Last, Rows, chunk_rows, hash64
from trainer.data.shards import ShardTable, ShardTables, pair_numbers
from trainer.data.stream import START, Position, SampleOrder

SIZES = (7, 3, 5, 4)
BATCH = 4
Samples = Rows[ShardTable]


@dataclasses.dataclass
class Run:
    """A run that uses samples as they come, and checks each epoch that ends."""

    manifest: Manifest
    last: Last = "carry"
    state: CoverageState = dataclasses.field(default_factory=CoverageState)
    position: Position = START
    open_shards: int = 2
    change: Callable[[int, Samples], Samples] = lambda step, rows: rows
    """What of a batch is used."""

    def __post_init__(self) -> None:
        tables = ShardTables(self.manifest, seed=3, keep=2 * self.open_shards)
        self.order = SampleOrder(
            tables.samples,
            tables.read,
            seed=3,
            global_batch=BATCH,
            open_shards=self.open_shards,
            last=self.last,
        )
        self.coverage = Coverage(self.order, tables, self.state)

    def walk(self, steps: int) -> list[int]:
        """Go on by some steps; return the sums of the epochs that end within."""
        sums = []
        for rows, after in itertools.islice(self.order.batches(self.position), steps):
            self.coverage.add(self.change(after.samples_seen // BATCH - 1, rows))
            if after.epoch > self.position.epoch:
                sums.append(self.coverage.finish(self.position.epoch))
            self.position = after
        return sums

    def resumed(self, **changes: Any) -> "Run":
        """The run that goes on from here, as from a checkpoint."""
        state = self.coverage.state(self.position)
        return dataclasses.replace(self, state=state, position=self.position, **changes)


@pytest.fixture(scope="module")
def manifest(make_dataset: DatasetMaker) -> Manifest:
    return make_dataset(SIZES)


def test_epochs_sum_up_to_the_hashes_of_all_samples(manifest: Manifest) -> None:
    tables = ShardTables(manifest, seed=3, keep=4)
    ids = np.concatenate([pair_numbers(tables.read(shard).pair_ids) for shard in range(4)])
    total = sum(hash64("sample", 3, 0, ids).tolist()) % 2**64
    assert Run(manifest).walk(19) == [total] * 4


@pytest.mark.parametrize("open_shards", [1, 2, 4])
def test_samples_left_out_on_purpose_are_not_missed(
    make_dataset: DatasetMaker, open_shards: int
) -> None:
    # 9 samples, 2 batches an epoch: with one open shard, the last shard may not be read at all.
    sums = Run(make_dataset([4, 4, 1]), "drop", open_shards=open_shards).walk(16)
    assert len(sums) == 8
    assert len(set(sums)) > 1


def lose(step: int, rows: Samples) -> Samples:
    return rows.take(slice(1, None)) if step == 2 else rows


def double(step: int, rows: Samples) -> Samples:
    return rows.take(np.array([0, 1, 2, 3, 3])) if step == 2 else rows


def swap(step: int, rows: Samples) -> Samples:
    return rows.take(np.array([0, 0, 2, 3])) if step == 2 else rows


@pytest.mark.parametrize("last", ["carry", "drop"])
@pytest.mark.parametrize("change", [lose, double, swap])
def test_a_lost_or_doubled_sample_is_found(
    manifest: Manifest, last: Last, change: Callable[[int, Samples], Samples]
) -> None:
    run = Run(manifest, last, change=change)
    with pytest.raises(AccountingError, match="epoch 0: the samples used sum up to"):
        run.walk(5)
    assert AccountingError.exit_code == 1


def test_a_sample_lost_before_a_resume_is_found_after_it(manifest: Manifest) -> None:
    run = Run(manifest, change=lose)
    run.walk(3)
    with pytest.raises(AccountingError, match="epoch 0"):
        run.resumed().walk(2)


@pytest.mark.parametrize("last", ["carry", "drop"])
def test_sums_go_on_from_any_step(manifest: Manifest, last: Last) -> None:
    run, sums = Run(manifest, last), list[int]()
    whole = Run(manifest, last).walk(12)
    for _ in range(12):
        sums += run.walk(1)
        run = run.resumed()
    assert sums == whole


def test_ranks_add_up(manifest: Manifest) -> None:
    barrier, shared = threading.Barrier(2, timeout=20), dict[int, int]()

    def walk_rank(rank: int) -> tuple[CoverageState, int]:
        def reduce_sum(value: int) -> int:
            shared[rank] = value
            barrier.wait()
            total = sum(shared.values())
            barrier.wait()
            return total

        run = Run(manifest)
        state = CoverageState()
        for step, (batch, after) in enumerate(itertools.islice(run.order.batches(), 5)):
            # Each step goes on from the state of the one before, as after a resume.
            tables = ShardTables(manifest, seed=3, keep=4)
            coverage = Coverage(run.order, tables, state, reduce_sum=reduce_sum, is_first=rank == 0)
            for _, rows in chunk_rows(batch, 4, rank, 2):
                coverage.add(rows)
            if step < 4:
                state = coverage.state(after)
        return state, coverage.finish(0)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first, second = pool.map(walk_rank, range(2))
    run = Run(manifest)
    run.walk(4)
    assert first == second == (run.coverage.state(run.position), *run.walk(1))
