"""The end of the main job: what was kept, what was dropped and why, what the model learned."""

import json
import pathlib
from typing import Any


def print_summary(out: pathlib.Path, training: pathlib.Path, evaluation: pathlib.Path) -> None:
    """Print funnel, shards, loss, recall beside chance, and where all of it is."""
    dataset = out / "run" / "dataset"
    manifest = _read(dataset / "manifest.json")
    print("\n== What was kept, and why the rest was not ==")
    for stage in manifest["funnel"]:
        print(f"{stage['stage']:<10}{stage['rows_in']:>8} in {stage['rows_out']:>8} out")
        for reason, count in sorted(stage["drops"].items(), key=lambda item: (-item[1], item[0])):
            print(f"{'':<10}{count:>8} {reason}")
    totals = manifest["totals"]
    print("\n== Dataset ==")
    print(f"{totals['samples']} samples, {totals['shards']} shards, {totals['tar_bytes']:,} bytes")
    print(f"digest {manifest['digest']}")
    losses = [
        (event["step"], event["loss"])
        for event in map(json.loads, (training / "metrics.jsonl").open(encoding="utf-8"))
        if event["event"] == "train"
    ]
    print("\n== Training ==")
    print("loss by step: " + ", ".join(f"{step}: {loss:.2f}" for step, loss in _some(losses)))
    print("\n== Recall on held-out pairs, beside chance ==")
    print_recall(_read(evaluation / "retrieval.json"))
    print("\n== Where it is ==")
    for name, path in [
        ("report", out / "report.html"),
        ("archives", out / "warc"),
        ("dataset", dataset / "manifest.json"),
        ("held-out split", out / "run" / "splits"),
        ("run records", out / "run" / "runs"),
        ("checkpoints", training / "checkpoints"),
        ("training log", training / "metrics.jsonl"),
        ("training report", training / "report" / "report.html"),
        ("evaluation", evaluation),
    ]:
        print(f"{name:<17}{path}")


def print_recall(result: dict[str, Any]) -> None:
    """Print one line a direction and k."""
    for direction in ("image_to_text", "text_to_image"):
        for k in (1, 5, 10):
            recall = result[direction][f"recall_at_{k}"]
            chance = result[direction][f"chance_at_{k}"]
            print(
                f"{direction.replace('_', ' '):<14} R@{k:<3} {recall:6.1%}   "
                f"chance {chance:6.1%}   {recall / chance:4.1f} x"
            )


def _some(values: list[Any], count: int = 8) -> list[Any]:
    """Return at most `count` values, evenly spaced, the first and last among them."""
    if len(values) <= count:
        return values
    return [values[round(index * (len(values) - 1) / (count - 1))] for index in range(count)]


def _read(path: pathlib.Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
