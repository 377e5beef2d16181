"""Sums by query, against a loop over pairs."""

from typing import cast

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.trainer.many import run_ranks
from trainer.data.loader import Chunk, Tensors
from trainer.data.order import Rows
from trainer.data.shards import ShardTable
from trainer.distributed import ALONE, joined
from trainer.training.query_stats import KEEP, QueryStats, as_table, as_tensors

IDS = [[0, 1], [], [1], [1, 2], [4], [1]]
COUNTS = np.array([1, 50, 5, 7, 2000])
LOSS = torch.tensor([[1.0, 3.0], [9.0, 9.0], [4.0, 4.0], [5.0, 7.0], [0.0, 0.0], [1.0, 1.0]])
TOP1 = torch.tensor([[1, 0], [1, 1], [0, 1], [1, 1], [0, 0], [0, 0]]).bool()


class FakeTable:
    query_ids = pa.array(IDS, pa.list_(pa.int32()))


def make_batch(valid: list[bool]) -> list[Chunk]:
    """Two chunks of three rows of one shard, the later rows first."""
    tables = {3: cast(ShardTable, FakeTable())}
    chunks = []
    for number, row in enumerate(([0, 1, 2], [3, 4, 5])):
        index = np.array(row)
        rows = Rows(np.zeros(3, np.int64), np.full(3, 3), index, tables)
        tensors = Tensors(torch.empty(0), torch.empty(0), torch.tensor(valid)[index], [])
        chunks.append(Chunk(0, number, rows, tensors))
    return chunks


def plain_sums(steps: int, valid: list[bool]) -> dict[int, list[float]]:
    """Seen, loss, hits, recent loss and its weight of each query, pair by pair."""
    sums: dict[int, list[float]] = {}
    for _ in range(steps):
        for row, queries in enumerate(IDS):
            for query in queries if valid[row] else ():
                old = sums.setdefault(query, [0.0] * 6)
                loss = float(LOSS[row].mean())
                sums[query] = [
                    *(old[0] + 1, old[1] + loss, old[2] + int(TOP1[row, 0])),
                    *(old[3] + int(TOP1[row, 1]), KEEP * old[4] + (1 - KEEP) * loss),
                    KEEP * old[5] + (1 - KEEP),
                ]
    return sums


@pytest.mark.parametrize("valid", [[True] * 6, [True, True, False, True, True, True]])
def test_sums_are_those_of_a_loop_over_pairs(valid: list[bool]) -> None:
    stats = QueryStats(COUNTS)
    for _ in range(3):
        stats.add(make_batch(valid), LOSS, TOP1)
    total, expected = stats.total(ALONE), plain_sums(3, valid)
    for query, sums in expected.items():
        assert total[:, query].tolist() == pytest.approx(sums)
    assert total[5, 1] == pytest.approx(1 - KEEP ** expected[1][0])  # as the definition says
    table = as_table(total)
    assert table["query_id"].to_pylist() == sorted(expected)
    assert table["recent_loss"].to_pylist() == pytest.approx(
        [expected[query][4] / expected[query][5] for query in sorted(expected)]
    )


def test_sums_go_on_from_a_checkpoint() -> None:
    whole, first, second = (QueryStats(COUNTS) for _ in range(3))
    for stats in (whole, whole, first):
        stats.add(make_batch([True] * 6), LOSS, TOP1)
    second.restore(as_tensors(first.total(ALONE)))
    second.add(make_batch([True] * 6), LOSS, TOP1)
    assert np.array_equal(second.total(ALONE), whole.total(ALONE))


def test_means_are_told_by_decade_and_for_head_and_tail() -> None:
    stats = QueryStats(COUNTS)
    stats.add(make_batch([True] * 6), LOSS, TOP1)
    summary = stats.summary(stats.total(ALONE), 20)
    assert {name: values["seen"] for name, values in summary.items()} == {
        "1-9": 2, "10-99": 4, "1000-9999": 1, "head": 5, "tail": 2,
    }  # fmt: skip
    assert summary["tail"]["loss"] == pytest.approx((2 + 6) / 2)
    assert summary["tail"]["top1_i2t"] == 1.0


def total_of_a_rank() -> list[list[float]]:
    with joined(20) as ranks:
        stats = QueryStats(COUNTS)
        stats.add(make_batch([True] * 6), LOSS, TOP1)
        return stats.total(ranks).tolist()


def test_ranks_add_up() -> None:
    first, second = run_ranks(2, total_of_a_rank)
    alone = QueryStats(COUNTS)
    alone.add(make_batch([True] * 6), LOSS, TOP1)
    assert first == second == (2 * alone.total(ALONE)).tolist()
