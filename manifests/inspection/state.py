"""What an interrupted `verify` has done: one JSON line for each file or shard."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from manifests.base.errors import RefusedError
from manifests.format.records import Finding, compact_json
from manifests.inspection.contents import Outcome, Task

KIND = "openwit-verify-state"
_COUNTS = ("kept", "selected", "listed_kept", "listed_selected", "dropped")


class State:
    """Outcomes on disk. A line that was not finished, when a run was killed, does not count."""

    def __init__(self, path: str, about: Mapping[str, Any]) -> None:
        """Open the file at `path`, local; `about` says which dataset and level it is of.

        Raises:
            RefusedError: if the file is of another dataset or level.
        """
        self._path = pathlib.Path(path)
        self.done: dict[str, Outcome] = {}
        head = compact_json({"kind": KIND} | dict(about)) + b"\n"
        data = self._path.read_bytes() if self._path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if whole and not whole.startswith(head):
            raise RefusedError(
                f"--state {path}: of another dataset, another state of it, or another level: "
                "name a new file"
            )
        for line in whole.splitlines()[1:]:
            value = json.loads(line)
            self.done[value["task"]] = _outcome(value)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(whole or head)

    def add(self, task: Task, outcome: Outcome, deaths: list[Finding]) -> None:
        """Note that a task is done; `deaths` are findings of workers that died of it."""
        by_code = dict(outcome.by_code)
        for finding in deaths:
            by_code[finding.code] = by_code.get(finding.code, 0) + 1
        value = {
            "task": task.path,
            "by_code": by_code,
            "findings": [finding.to_json() for finding in [*deaths, *outcome.findings]],
            "counted": outcome.counted,
            **{name: [*map(list, getattr(outcome, name).items())] for name in _COUNTS},
        }
        with self._path.open("ab") as file:
            file.write(compact_json(value) + b"\n")


def _outcome(value: Mapping[str, Any]) -> Outcome:
    counts: dict[str, Any] = {
        name: {tuple(key) if isinstance(key, list) else key: count for key, count in value[name]}
        for name in _COUNTS
    }
    findings = [Finding(**each) for each in value["findings"]]
    outcome = Outcome(value["by_code"], findings, value["counted"])
    return dataclasses.replace(outcome, **counts)
