"""What a training run left behind, read as plain JSON: curves, and evaluations beside chance."""

import collections
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.report import charts

CURVES = ("loss", "lr", "samples_per_s", "data_wait_share")
POINTS = 1_000
"""Most points of a curve."""
MAX_EVAL_BYTES = 1 << 20
"""Evaluations are small documents; what is larger is none."""


def training_section(folder: str | None) -> dict[str, Any]:
    """Return curves and evaluations of the run in a folder.

    Raises:
        RefusedError: if none is named, or it has no step yet.
        ValueError, KeyError: if its files are damaged.
    """
    if folder is None:
        raise RefusedError("no training run was given: --training RUN")
    series: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    with storage.open_read(storage.join(folder, "metrics.jsonl")) as file:
        for line in file:
            event = json.loads(line)
            for name, value in _numbers(event):
                series[name].append({"step": event["step"], "value": value})
    found = [
        {"title": name, "chart": charts.curve(_thin(rows, POINTS), name), "rows": _thin(rows, 20)}
        for name, rows in series.items()
        if len(rows) > 1
    ]
    evaluations = list(_evaluations(folder))
    if not found and not evaluations:
        raise RefusedError(f"{folder}: has no step of training yet")
    return {"charts": found, "evaluations": evaluations}


def _numbers(event: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of an event that the page draws."""
    if event.get("event") == "train":
        yield from ((name, event[name]) for name in CURVES if _is_number(event.get(name)))
    elif event.get("event") == "eval":
        yield from (
            (f"evaluation: {name}", value)
            for name, value in _flat({**event, "step": None, "time": None})
        )


def _evaluations(folder: str) -> Iterator[dict[str, Any]]:
    """Yield each document below `eval/`: its numbers, and what chance would give."""
    for name, size in storage.list_files(folder).items():
        if not (name.startswith("eval/") and name.endswith(".json")) or size > MAX_EVAL_BYTES:
            continue
        with storage.open_read(storage.join(folder, name)) as file:
            numbers = dict(_flat(json.loads(file.read(MAX_EVAL_BYTES))))
        rows = [
            {"measure": measure.replace("_", " "), "value": value,
             "by chance": numbers.get(_chance_of(measure), "")}
            for measure, value in numbers.items()
            if "chance" not in measure
        ]  # fmt: skip
        yield {"title": name.removeprefix("eval/").removesuffix(".json"), "rows": rows}


def _chance_of(measure: str) -> str:
    """Return the name under which chance stands beside a measure."""
    group, dot, name = measure.rpartition(".")
    chance = name.replace("recall_", "chance_") if "recall_" in name else f"chance_{name}"
    return f"{group}{dot}{chance}"


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}".lstrip("."))
    elif _is_number(value):
        yield name, value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and type(value) is not bool and math.isfinite(value)


def _thin(rows: Sequence[dict[str, Any]], points: int) -> list[dict[str, Any]]:
    return list(itertools.islice(rows, 0, None, max(1, math.ceil(len(rows) / points))))
