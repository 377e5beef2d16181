"""Collects findings: each is counted, a bounded number is kept."""

import collections
from collections.abc import Iterable
from typing import Any

from manifests.format.records import Finding


class Findings:
    """Findings of a check, at most `limit` of them with their place."""

    def __init__(self, limit: int) -> None:
        """Begin without findings."""
        if limit < 0:
            raise ValueError(f"limit must be at least 0, got {limit}")
        self._limit = limit
        self._kept: list[Finding] = []
        self._by_code: collections.Counter[str] = collections.Counter()

    def __len__(self) -> int:
        return self._by_code.total()

    def __bool__(self) -> bool:
        return bool(self._by_code)

    @property
    def by_code(self) -> dict[str, int]:
        """All findings by code, sorted."""
        return dict(sorted(self._by_code.items()))

    @property
    def kept(self) -> list[Finding]:
        """The first findings in the order of shard, path, key and code."""
        return sorted(self._kept, key=_place)[: self._limit]

    def add(self, findings: Iterable[Finding]) -> None:
        """Count findings and keep those that come first."""
        for finding in findings:
            self._by_code[finding.code] += 1
            self._kept.append(finding)
        if len(self._kept) > 2 * self._limit:
            self._kept = self.kept

    def merge(self, by_code: dict[str, int], kept: Iterable[Finding]) -> None:
        """Take in what another collector counted and kept."""
        self._by_code.update(by_code)
        self._kept += kept
        if len(self._kept) > 2 * self._limit:
            self._kept = self.kept

    def to_json(self) -> list[dict[str, Any]]:
        """Return the kept findings as JSON values."""
        return [finding.to_json() for finding in self.kept]


def _place(finding: Finding) -> tuple[int, str, str, str, str]:
    shard = -1 if finding.shard is None else finding.shard
    return shard, finding.path, finding.key, finding.code, finding.message
