"""Exact counts and sorted tables of strings in bounded memory: sorted runs on disk, merged."""

import heapq
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import zstandard

Record = tuple[str, str]
FAN_IN = 64
"""Runs merged at once; more are first merged into fewer."""


class Runs:
    """Sorted runs of (key, value) in compressed files; keys and values hold no tab or newline."""

    def __init__(self, folder: str, name: str) -> None:
        """Use `folder` for files whose names begin with `name`."""
        self._folder = pathlib.Path(folder)
        self._name = name
        self._paths: list[pathlib.Path] = []
        self._made = 0

    def spill(self, records: Iterable[Record]) -> None:
        """Write one run; `records` must be sorted."""
        path = self._folder / f"{self._name}-{self._made:06d}.run"
        self._made += 1
        with zstandard.open(path, "wt", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{key}\t{value}\n" for key, value in records)
        self._paths.append(path)

    def merged(self, memory: Iterable[Record]) -> Iterator[Record]:
        """Yield all records in order, with those that are still in memory (sorted)."""
        while len(self._paths) > FAN_IN:
            oldest, self._paths = self._paths[:FAN_IN], self._paths[FAN_IN:]
            self.spill(heapq.merge(*map(_read_run, oldest)))
            for path in oldest:
                path.unlink()
        return heapq.merge(*map(_read_run, self._paths), memory)


class Tally:
    """Counts per string, exact; at most `max_types` of them in memory."""

    def __init__(self, folder: str, name: str, max_types: int) -> None:
        """Count nothing yet.

        Args:
            folder: for runs.
            name: of the runs; one tally each.
            max_types: distinct strings that are held before they are spilled.
        """
        self._runs = Runs(folder, name)
        self._max_types = max_types
        self._counts: dict[str, int] = {}
        self.total = 0
        """Sum of all counts."""

    def add(self, key: str, count: int = 1) -> None:
        """Add to the count of one string; 0 makes it known."""
        self._counts[key] = self._counts.get(key, 0) + count
        self.total += count
        if len(self._counts) >= self._max_types:
            self._runs.spill(self._sorted())
            self._counts.clear()

    def add_all(self, counts: Mapping[str, int]) -> None:
        """Add many counts."""
        for key, count in counts.items():
            self.add(key, count)

    def items(self) -> Iterator[tuple[str, int]]:
        """Yield (string, count), sorted as UTF-8 bytes; may be called again."""
        records = self._runs.merged(self._sorted())
        for key, group in itertools.groupby(records, key=lambda record: record[0]):
            yield key, sum(int(value) for _, value in group)

    def _sorted(self) -> Iterator[Record]:
        # Python compares strings by code points, which is the order of their UTF-8 bytes.
        return ((key, str(self._counts[key])) for key in sorted(self._counts))


class SortedTable:
    """One string per string, sorted; of several values for a key the first by bytes counts."""

    def __init__(self, folder: str, name: str, max_types: int) -> None:
        """Hold nothing yet; arguments as for `Tally`."""
        self._runs = Runs(folder, name)
        self._max_types = max_types
        self._values: dict[str, str] = {}

    def add(self, key: str, value: str) -> None:
        """Add one record."""
        self._values[key] = min(value, self._values.get(key, value))
        if len(self._values) >= self._max_types:
            self._runs.spill(sorted(self._values.items()))
            self._values.clear()

    def items(self) -> Iterator[Record]:
        """Yield (key, value), sorted; may be called again."""
        records = self._runs.merged(sorted(self._values.items()))
        for _, group in itertools.groupby(records, key=lambda record: record[0]):
            yield next(group)


def _read_run(path: pathlib.Path) -> Iterator[Record]:
    with zstandard.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            key, _, value = line.removesuffix("\n").partition("\t")
            yield key, value
