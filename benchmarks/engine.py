"""What the engine adds to its kernels: `python -m benchmarks.engine [--quick] [--json OUT]`.

A whole run of made-up rows (see `benchmarks.engine_rows`) on the engine and in a plain loop, each a
process of its own, as CPU seconds of the process and its children. Growth is the slope of a line
through the logarithms of all sizes, after the CPU seconds of a run of 100 rows are taken off.
`--config` adds a run of real archives, on the engine and in a loop.

With `--json`, two drawings are written beside the metrics. A full run takes half an hour of two
idle cores; a quick one is too short for the targets of overhead and of two workers.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.engine_jobs import again_seconds, shuffles
from benchmarks.engine_plot import growth_plot, overhead_plot
from benchmarks.engine_rows import ROWS_OF_LIST, write_job
from benchmarks.harness import report, run
from manifests.base.console import say

START_ROWS = 100
SIZES = (10_000, 31_623, 100_000, 316_228, 1_000_000)
QUICK_SIZES = (5_000, 10_000, 20_000)
LEAST_CPU_S = 30.0
"""Short runs are repeated until they have taken this; the best counts."""
ROUNDS = 3
UNITS = 16
AGAIN_UNITS = (1, 1_000, 10_000)
QUICK_AGAIN_UNITS = (1, 300)
SHUFFLED, QUICK_SHUFFLED = 2_000_000, 300_000
MEMORY = 'engine.mode="memory"'
Took = dict[str, Any]


def main(*, quick: bool, config: str, path: str) -> None:
    """Measure all parts, report and draw."""
    rounds = 1 if quick else ROUNDS
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        least_cpu_s = 0.0 if quick else LEAST_CPU_S
        sizes = QUICK_SIZES if quick else SIZES
        runs = {rows: _grown(folder, rows, least_cpu_s) for rows in (START_ROWS, *sizes)}
        start = runs.pop(START_ROWS)
        compared = sizes[-1] if quick else sizes[-2]
        loop, beside = _beside(write_job(folder / "beside", compared, UNITS), rounds)
        metrics = {
            "overhead": beside["cpu_s"] / loop["cpu_s"],
            "loop_cpu_s": loop["cpu_s"],
            "start_cpu_s": start["cpu_s"],
            "map_slope": _slope({rows: _map_cpu(each, start) for rows, each in runs.items()}),
            "pipeline_slope": _slope(
                {rows: each["cpu_s"] - start["cpu_s"] for rows, each in runs.items()}
            ),
            "peak_gib": max(each["peak_gib"] for each in runs.values()),
            "speedup_2": _speedup(write_job(folder / "two", sizes[-1], UNITS)),
            **_shuffle(folder, QUICK_SHUFFLED if quick else SHUFFLED, rounds),
            **_again(folder, QUICK_AGAIN_UNITS if quick else AGAIN_UNITS, rounds),
        }
        if config:
            real, real_beside = _beside(config, rounds)
            metrics["real_overhead"] = real_beside["cpu_s"] / real["cpu_s"]
            metrics["real_loop_cpu_s"] = real["cpu_s"]
    rows = [
        {
            "rows": f"{count:,}",
            "CPU s": f"{each['cpu_s']:.1f}",
            "of map steps": f"{_map_cpu(each):.1f}",
            "rows per CPU s": f"{count / each['cpu_s']:,.0f}",
            "GiB": f"{each['peak_gib']:.2f}",
        }
        for count, each in runs.items()
    ]
    report(list(rows[0]), rows, metrics, path)
    if path:
        _draw(pathlib.Path(path), runs, start, loop, beside)


def _grown(folder: pathlib.Path, rows: int, least_cpu_s: float) -> Took:
    """Run made-up rows on the engine, again if that is short, and return the best run."""
    config = write_job(folder / f"rows-{rows}", rows, max(1, round(rows / ROWS_OF_LIST)))
    best: Took = {}
    spent = 0.0
    while not best or spent < least_cpu_s:
        took = _alone(config, "engine", "shards", MEMORY)
        best = min(best or took, took, key=_cpu)
        spent += took["cpu_s"]
    return best


def _beside(config: str, rounds: int) -> tuple[Took, Took]:
    """Run a configuration in a loop and on the engine, taking turns; return the best of each."""
    took: dict[str, list[Took]] = {"loop": [], "engine": []}
    for _ in range(rounds):
        for kind, runs in took.items():
            runs.append(_alone(config, kind, "shards", MEMORY))
    return min(took["loop"], key=_cpu), min(took["engine"], key=_cpu)


def _alone(config: str, kind: str, until: str, *overrides: str) -> Took:
    """Run a configuration in a process of its own, below a root that is removed after it."""
    with tempfile.TemporaryDirectory() as root:
        words = [config, kind, until, f"root={json.dumps(root)}", *overrides]
        command = [sys.executable, "-m", "benchmarks.engine_run", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    took: Took = json.loads(done.stdout.splitlines()[-1])
    say(f"{kind} {pathlib.Path(config).parent.name}: {took['cpu_s']:.1f} CPU-s")
    return took


def _cpu(took: Took) -> float:
    return float(took["cpu_s"])


def _map_cpu(took: Took, start: Took | None = None) -> float:
    """Return the CPU seconds of the map steps, those of the same steps of `start` taken off."""
    off = {each["step"]: each["cpu_s"] for each in start["steps"]} if start else {}
    steps = [each for each in took["steps"] if each["is_map"]]
    return sum(each["cpu_s"] - off.get(each["step"], 0.0) for each in steps)


def _slope(seconds: Mapping[int, float]) -> float:
    """Return the slope of the line through the logarithms."""
    return float(np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0])


def _speedup(config: str) -> float:
    """Return how much sooner two worker processes end the map steps up to `match` than one."""
    alone = _alone(config, "engine", "match", MEMORY)
    two = _alone(config, "engine", "match", 'engine.mode="processes"', "engine.workers=2")
    seconds = [
        sum(each["seconds"] for each in took["steps"] if each["is_map"]) for took in (alone, two)
    ]
    return seconds[0] / seconds[1]


def _shuffle(folder: pathlib.Path, rows: int, rounds: int) -> dict[str, float]:
    """Return how many times the CPU seconds of a packed shuffle one of single elements takes."""
    took = shuffles(folder, rows, rounds)
    return {
        "shuffle_ratio": took["single"] / took["packed"],
        "shuffle_us_per_row": took["packed"] / rows * 1e6,
    }


def _again(folder: pathlib.Path, units: tuple[int, ...], rounds: int) -> dict[str, float]:
    """Return what a run with nothing to do takes, and what of it a unit takes."""
    seconds = [again_seconds(folder, count, rounds) for count in units]
    per_unit = (seconds[-1] - seconds[0]) / (units[-1] - units[0])
    return {"again_cpu_s": seconds[0], "again_ms_per_unit": per_unit * 1000}


def _draw(
    path: pathlib.Path, runs: Mapping[int, Took], start: Took, loop: Took, beside: Took
) -> None:
    """Write both drawings beside the metrics."""
    lines = {
        "whole run": [(rows, _cpu(each) - _cpu(start)) for rows, each in runs.items()],
        "map steps": [(rows, _map_cpu(each, start)) for rows, each in runs.items()],
    }
    path.with_name(f"{path.stem}-growth.svg").write_text(growth_plot(lines), encoding="utf-8")
    steps = {
        each["step"]: (each["cpu_s"], other["cpu_s"])
        for each, other in zip(loop["steps"], beside["steps"], strict=True)
    }
    path.with_name(f"{path.stem}-overhead.svg").write_text(overhead_plot(steps), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within 4 minutes")
    parser.add_argument("--config", default="", help="a configuration over real archives")
    parser.add_argument("--json", default="", help="where the metrics are written")
    given = parser.parse_args()
    run(lambda: main(quick=given.quick, config=given.config, path=given.json))
