"""How many workers there are; what becomes of them is tested with the loader."""

import os

import pytest

from trainer.data.workers import default_workers


def test_workers_are_as_many_as_there_are_cores_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, ranks, expected in [(1, 1, 1), (2, 1, 2), (64, 1, 4), (8, 4, 2), (2, 8, 1)]:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
        assert default_workers() == expected
