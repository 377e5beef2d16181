"""Real processes: few and small."""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import pytest

from manifests.base.errors import OpenwitError
from manifests.format import Manifest
from manifests.inspection.verify import verify
from manifests.inspection.workers import Died, Report, run_isolated


@dataclasses.dataclass(frozen=True)
class Items:
    """Numbers to look at; 13 kills."""

    numbers: tuple[int, ...]
    skip: int = -1


def add(task: Items, report: Report) -> int:
    for number in task.numbers:
        report(number)
        if number == 13 and task.skip != 13:
            os._exit(7)
        if number < 0:
            raise ValueError("negative")
    return sum(number for number in task.numbers if number != task.skip)


def test_a_task_whose_worker_dies_is_done_again_without_what_killed_it() -> None:
    deaths: list[Died] = []

    def again(task: Items, died: Died) -> Items:
        deaths.append(died)
        return dataclasses.replace(task, skip=died.item)

    tasks = [Items((1, 2)), Items((5, 13, 6)), Items((7,))]
    results = [result for _, result in run_isolated(add, tasks, 2, again)]
    assert sorted(results) == [3, 7, 11]
    assert deaths == [Died(13, 7)]


def test_a_task_may_be_given_up() -> None:
    tasks = [Items((13,)), Items((1,))]
    done = [result for _, result in run_isolated(add, tasks, 1, lambda task, died: None)]
    assert done == [1]


def test_an_exception_in_a_worker_is_raised_here() -> None:
    with pytest.raises(OpenwitError, match="ValueError: negative"):
        list(run_isolated(add, [Items((-1,))], 1, lambda task, died: None))


def test_no_task_starts_no_process() -> None:
    assert list(run_isolated(add, [], 4, lambda task, died: None)) == []


def test_a_dataset_is_verified_in_processes(make_dataset: Callable[..., Manifest]) -> None:
    manifest = make_dataset(12, 5)
    path = pathlib.Path(manifest.reader(manifest.shards[2]).tar_path)
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    report = verify(manifest.root, "deep", jobs=2)
    assert report.by_code == {"padding_mismatch": 1, "sha256_mismatch": 1}
