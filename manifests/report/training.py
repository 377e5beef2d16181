"""What a training run left behind, read as plain JSON: its course, its counts, its measures."""

import collections
import itertools
import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.report import charts

KIND = "openwit-training-report"
CURVES = {
    "loss": ("loss",),
    "right within the batch": ("top1_i2t", "top1_t2i"),
    "lr": ("lr",),
    "logit_scale": ("logit_scale",),
    "grad_norm": ("grad_norm",),
    "samples_per_s": ("samples_per_s",),
    "data_wait_share": ("data_wait_share",),
}
"""Charts, and the numbers of `train` events that they draw."""
POINTS = 1_000
"""Most points of a curve."""
MAX_EVAL_BYTES = 1 << 20
"""Evaluations are small documents; what is larger is none."""
Event = dict[str, Any]
Row = dict[str, Any]


def training_section(folder: str | None) -> dict[str, Any]:
    """Return what the page shows of the run in a folder, charts among it.

    Raises:
        RefusedError: if none is named, or it has no step yet.
        ValueError, KeyError: if its files are damaged.
    """
    if folder is None:
        raise RefusedError("no training run was given: --training RUN")
    run = read_training(folder)
    if not run["curves"] and not run["evaluations"]:
        raise RefusedError(f"{folder}: has no step of training yet")
    found = [
        {"title": name, "chart": charts.curve(rows), "rows": _thin(rows, 20)}
        for name, rows in run["curves"].items()
        if len({row["step"] for row in rows}) > 1
    ]
    return {**run, "charts": found, "tables": tables(run)}


def tables(run: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Return the tables of a report by their titles; all rows of one have the same columns."""
    return {
        "Epochs: the sum over all samples was as planned": run["epochs"],
        "Bad samples": [{"reason": name, "samples": n} for name, n in run["bad"].items()],
        "Measures by query, while training": run["queries"],
        "Starts": run["starts"],
        "Settings that changed at a resume": run["changed"],
    }


def read_training(folder: str) -> dict[str, Any]:
    """Return the report of the run in a folder as one JSON document.

    Steps that were done again after a resume count once, as they were done last.

    Raises:
        ValueError, KeyError: if its files are damaged.
        OSError: if it has no metrics.jsonl.
    """
    events = _lasting(_lines(folder, "metrics.jsonl"))
    by_kind = collections.defaultdict[str, list[Event]](list)
    for event in events:
        by_kind[event["event"]].append(event)
    starts, trained = by_kind["start"], by_kind["train"]
    status = _json(folder, "run.json")
    latest = starts[-1] if starts else {}
    return {
        "kind": KIND,
        "schema_version": 1,
        "run": {
            **{name: status.get(name, "") for name in ("status", "reason")},
            "step": max((event["step"] for event in events), default=0),
            "dataset samples": latest.get("samples", ""),
            **{name: latest.get(name, "") for name in ("steps", "processes", "model", "dataset")},
        },
        "speed": _speed(trained),
        "last": dict(_flat(_without(trained[-1], "event", "step", "time"))) if trained else {},
        "starts": [_start(event) for event in starts],
        "changed": latest.get("history", []),
        "epochs": [_without(event, "event", "time") for event in by_kind["epoch"]],
        "bad": dict(sorted(collections.Counter(
            line["reason"] for line in _lines(folder, "bad_samples.jsonl", is_wanted=False)
        ).items())),
        "nonfinite": len(by_kind["nonfinite"]),
        "checkpoints": len(by_kind["checkpoint"]),
        "queries": _by_query(by_kind["queries"]),
        "evaluations": list(_evaluations(folder)),
        "curves": _curves(trained, by_kind["eval"]),
        "config": _config(folder),
    }  # fmt: skip


def _lines(folder: str, name: str, *, is_wanted: bool = True) -> Iterator[Event]:
    path = storage.join(folder, name)
    if not is_wanted and storage.size_bytes(path) is None:
        return
    with storage.open_read(path) as file:
        yield from map(json.loads, file)


def _json(folder: str, name: str) -> dict[str, Any]:
    path = storage.join(folder, name)
    if storage.size_bytes(path) is None:
        return {}
    with storage.open_read(path) as file:
        return dict(json.load(file))


def _config(folder: str) -> dict[str, Any]:
    path = storage.join(folder, "config.toml")
    if storage.size_bytes(path) is None:
        return {}
    with storage.open_read(path) as file:
        return dict(tomllib.load(file)["train"])


def _lasting(events: Iterator[Event]) -> list[Event]:
    """Return the events without those of steps that a resume went back behind."""
    kept = list[Event]()
    for event in events:
        if event["event"] == "start":
            kept = [
                each for each in kept if each["event"] == "start" or each["step"] <= event["step"]
            ]
        kept.append(event)
    return kept


def _start(event: Event) -> Row:
    names = ("step", "resumed_from", "init_from", "processes", "openwit", "torch")
    return {name: event.get(name, "") for name in names}


def _speed(trained: Sequence[Event]) -> dict[str, float]:
    """Return means over all the time that was trained."""
    seconds = waited = samples = 0.0
    before = 0
    for event in trained:
        if not all(_is_number(event.get(name)) for name in ("samples", "samples_per_s")):
            continue
        done, before = event["samples"] - before, event["samples"]
        took = done / max(event["samples_per_s"], 1e-9)
        seconds, samples = seconds + took, samples + done
        waited += took * event.get("data_wait_share", 0)
    if not seconds:
        return {}
    return {"samples_per_s": samples / seconds, "data_wait_share": waited / seconds}


def _by_query(found: Sequence[Event]) -> list[Row]:
    """Return the last measures of the queries: by how many pairs they have, and for both ends."""
    groups = _without(found[-1], "event", "step", "time") if found else {}
    return [{"pairs of the query": name, **values} for name, values in groups.items()]


def _curves(trained: Sequence[Event], evals: Sequence[Event]) -> dict[str, list[Row]]:
    """Return what is drawn: rows of step, value and, of several lines in a chart, the line."""
    found: dict[str, list[Row]] = {}
    for title, names in CURVES.items():
        rows = [
            {"step": event["step"], "value": event[name], **_line(name, names)}
            for name in names
            for event in _thin(trained, POINTS // len(names))
            if _is_number(event.get(name))
        ]
        if rows:
            found[title] = rows
    sets = {name for event in evals for name in _without(event, "event", "step", "time")}
    for name in sorted(sets):
        found[f"evaluation: {name}"] = [
            {"step": event["step"], "value": value, "line": measure.replace("_", " ")}
            for event in _thin(evals, POINTS // 4)
            for measure, value in _flat(event.get(name))
        ]
    return found


def _line(name: str, names: Sequence[str]) -> dict[str, str]:
    return {"line": name} if len(names) > 1 else {}


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


def _without(event: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in names}


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
