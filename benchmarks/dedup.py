"""Speed and growth of dedup: hash record, kernel, faiss on the same hashes, whole stage on Beam.

`python -m benchmarks.dedup [--quick] [--json OUT]`. All is CPU time of one core. faiss answers a
sample of the queries, which are independent of each other; its time is scaled to all of them.
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks import harness
from benchmarks.dedup_kernel import BUCKET_ROWS
from benchmarks.dedup_record import record_costs
from benchmarks.dedup_rows import CLUSTER, PLANTED, uniform_hashes, write_fetched
from manifests.base.console import say
from pipeline.engine.driver import open_driver
from pipeline.engine.options import EngineSettings
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep, ShuffleStep
from pipeline.planning.plain import PlainEngine
from pipeline.stages.dedup import DedupSettings, run

FULL, QUICK = (100_000, 1_000_000, 10_000_000), (30_000, 100_000, 300_000)
FAISS_BITS, FAISS_RADIUS = 256, 33
"""faiss finds less than the radius: the pHash halves within 32 bits."""
MULTI_HASHES, MULTI_BITS = 16, 16
QUERY_SECONDS = 20.0
BUCKET_ROW_BYTES = 200
"""Of the one bucket that is compared, which the memory per image leaves out."""


def main(quick: bool = False, json_out: str = typer.Option("", "--json")) -> None:
    """Measure, print a table, and write the metrics."""
    harness.run(lambda: _measure(quick, json_out))


def _measure(quick: bool, json_out: str) -> None:
    faiss = harness.need("faiss", "faiss-cpu")
    sizes, middle = (QUICK, QUICK[-1]) if quick else (FULL, FULL[1])
    runs = {(kind, rows): _kernel(kind, rows) for kind in ("uniform", "skewed") for rows in sizes}
    plain = runs["uniform", middle]
    others = {kind: _kernel(kind, middle) for kind in ("copies", "crowded")}
    stage = _stage(sizes[1] if quick else middle)  # before faiss, whose memory would count
    peers = _faiss(faiss, middle)
    say("record: beside imagehash and pdqhash")
    metrics = {
        **record_costs(12 if quick else 24),
        "hashes_per_cpu_s": plain["rows"] / plain["cpu_s"],
        "candidate_slope": _slope(runs, "uniform", "candidates", sizes),
        "cpu_slope": _slope(runs, "uniform", "cpu_s", sizes),
        "skewed_candidate_slope": _slope(runs, "skewed", "candidates", sizes),
        "skewed_cpu_slope": _slope(runs, "skewed", "cpu_s", sizes),
        "copies_ratio": others["copies"]["cpu_s"] / plain["cpu_s"],
        "crowded_ratio": others["crowded"]["cpu_s"] / plain["cpu_s"],
        "planted_recall": plain["edges"] / _planted(middle),
        "faiss_ratio": peers["multi"][0] / plain["cpu_s"],
        "faiss_flat_ratio": peers["flat"][0] / plain["cpu_s"],
        "faiss_recall": peers["multi"][1],
        **stage,
        "stage_over_matching": stage["stage_cpu_s"]
        / _kernel("uniform", stage["stage_rows"])["cpu_s"],
        "bytes_per_image": (plain["bytes"] - BUCKET_ROWS * BUCKET_ROW_BYTES) / plain["rows"],
    }
    rows = [
        {"hashes": f"{kind} {int(each['rows']):,}", **_row(each)}
        for (kind, _), each in runs.items()
    ] + [{"hashes": f"{kind} {middle:,}", **_row(each)} for kind, each in others.items()]
    harness.report(list(rows[0]), rows, metrics, json_out)


def _row(each: dict[str, Any]) -> dict[str, Any]:
    return {
        "CPU-s": round(each["cpu_s"], 2),
        "per CPU-s": round(each["rows"] / each["cpu_s"]),
        "candidates per hash": round(each["candidates"] / each["rows"], 2),
        "hot keys": each["hot_keys"],
        "bytes per hash": round(each["bytes"] / each["rows"]),
    }


def _kernel(kind: str, rows: float) -> dict[str, Any]:
    """Run the kernel in a process of its own: memory peaks do not fall."""
    say(f"kernel: {kind} {int(rows):,}")
    done = subprocess.run(  # noqa: S603 (words of this file)
        [sys.executable, "-m", "benchmarks.dedup_kernel", kind, str(int(rows))],
        capture_output=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _slope(runs: dict[Any, Any], kind: str, name: str, sizes: tuple[int, ...]) -> float:
    """Return the log-log slope between the first and the last size."""
    first, last = (runs[kind, rows][name] for rows in (sizes[0], sizes[-1]))
    return math.log(last / first) / math.log(sizes[-1] / sizes[0])


def _planted(rows: int) -> int:
    return int(rows * PLANTED) // CLUSTER * CLUSTER * (CLUSTER - 1) // 2


def _faiss(faiss: Any, rows: int) -> dict[str, tuple[float, float]]:
    """Return CPU seconds for all queries and the share of planted pairs found, by index."""
    faiss.omp_set_num_threads(1)
    hashes = np.ascontiguousarray(uniform_hashes(rows)[:, 32:])
    multi = faiss.IndexBinaryMultiHash(FAISS_BITS, MULTI_HASHES, MULTI_BITS)
    multi.nflip = 1
    found = {}
    for name, index in (("flat", faiss.IndexBinaryFlat(FAISS_BITS)), ("multi", multi)):
        say(f"faiss: {name} {rows:,}")
        start = time.process_time()
        index.add(hashes)
        built = time.process_time() - start
        seconds, recall = _queries(index, hashes)
        found[name] = (built + seconds, recall)
    return found


def _queries(index: Any, hashes: NDArray[np.uint8]) -> tuple[float, float]:
    clusters = int(len(hashes) * PLANTED) // CLUSTER
    start, asked, hits = time.process_time(), 0, 0
    while asked < clusters and time.process_time() - start < QUERY_SECONDS:
        limits, _, labels = index.range_search(hashes[asked : asked + 200], FAISS_RADIUS)
        for query in range(asked, min(asked + 200, clusters)):
            near = set(labels[limits[query - asked] : limits[query - asked + 1]].tolist())
            hits += len(near & {query + clusters, query + 2 * clusters})
        asked += 200
    return (time.process_time() - start) / asked * len(hashes), hits / (2 * min(asked, clusters))


def _stage(rows: int) -> dict[str, float]:
    """Run the whole stage on Beam, and its kernels in a plain loop, on the same rows."""
    # Made-up rows have no images to show.
    settings = DedupSettings(audit_pairs=0)
    with tempfile.TemporaryDirectory() as folder:
        say(f"stage: {rows:,} rows on Beam")
        with open_driver(f"{folder}/beam", EngineSettings(mode="memory")) as engine:
            fetched = write_fetched(engine, rows)
            harness.reset_peak()
            beam = harness.cpu_seconds(lambda: run(engine, settings, fetched))
            peak = harness.peak_bytes()
        say(f"stage: {rows:,} rows in a plain loop")
        plain = _TimedEngine(root=f"{folder}/plain")
        fetched = write_fetched(plain, rows)
        loop = harness.cpu_seconds(lambda: run(plain, settings, fetched))
    for name, seconds in plain.seconds.items():
        say(f"  {name}: {seconds:.1f} CPU-s in the plain loop")
    return {
        "stage_rows": rows,
        "stage_over_kernel": beam / loop,
        "stage_cpu_s": beam,
        "stage_plain_cpu_s": loop,
        "stage_peak_gib": peak / 2**30,
    }


class _TimedEngine(PlainEngine):
    """The plain loop, which keeps the time of each step."""

    def __init__(self, root: str) -> None:
        super().__init__(root=root)
        pathlib.Path(root, "stages").mkdir(parents=True)
        self.seconds: dict[str, float] = {}

    def run(self, step: MapStep | ShuffleStep, units: Any, upstream: Any = ()) -> StageRecord:
        records: list[StageRecord] = []
        self.seconds[step.name] = harness.cpu_seconds(
            lambda: records.append(super(_TimedEngine, self).run(step, units, upstream))
        )
        return records[0]


if __name__ == "__main__":
    typer.run(main)
