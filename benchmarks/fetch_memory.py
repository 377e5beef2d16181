"""The memory of `fetch` for few and for many URLs, of a worker and of the process that drives it.

    python -m benchmarks.fetch_memory [--quick] [--json OUT]

Runs stage fetch by the command itself, on tiny pictures of a server on loopback, without gaps.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.fetch_web import pictures, serving
from benchmarks.harness import report, run

ROOT = pathlib.Path(__file__).parent.parent
SIDE_PX = 120
HOSTS = 64
CONFIG = """
root = "run"
[input]
kind = "urls"
paths = ["list.parquet"]
[queries]
file = "queries.txt"
[preselect]
mode = "off"
[fetch]
source = "web"
contact = "https://www.example.org/bench"
allow_networks = ["127.0.0.0/8"]
ports = [{port}]
delay_s = 0.0
delay_factor = 0.0
rounds = 1
strikes = 1000
connect_s = 30.0
first_byte_s = 60.0
total_s = 120.0
[consent]
tdm_file = false
[engine]
mode = "processes"
workers = 2
"""


def main(*, quick: bool, path: str) -> None:
    """Measure both lists in turn and print the ratio of their peaks."""
    counts = (1_000, 10_000) if quick else (1_000, 100_000)
    bodies = pictures(200, SIDE_PX)
    # The server answers late, so that it listens on all of 127.0.0.0/8.
    with tempfile.TemporaryDirectory() as name, serving(bodies, None, 1e-6) as port:
        rows = [measure(pathlib.Path(name, str(count)), port, count) for count in counts]
    few, many = rows
    metrics = {
        "fetch_memory_ratio": many["worker MiB"] / few["worker MiB"],
        "fetch_driver_ratio": many["driver MiB"] / few["driver MiB"],
    }
    report(list(few), rows, metrics, path)


def measure(folder: pathlib.Path, port: int, count: int) -> dict[str, Any]:
    """Fetch so many URLs and return the peaks of worker and driver."""
    folder.mkdir()
    urls = [f"http://127.1.0.{n % HOSTS + 1}:{port}/{n}.jpg" for n in range(count)]
    texts = [f"a red thing {number}" for number in range(count)]
    pq.write_table(pa.table({"url": urls, "caption": texts}), folder / "list.parquet")
    (folder / "queries.txt").write_text("red\n")
    config = folder / "config.toml"
    config.write_text(CONFIG.format(port=port))
    command = [sys.executable, "-m", "pipeline", "run", str(config)]
    # The stages before it in a process of their own: its peak is not that of fetch.
    subprocess.run([*command, "--until", "preselect"], cwd=ROOT, check=True, capture_output=True)  # noqa: S603
    subprocess.run([*command, "--until", "fetch"], cwd=ROOT, check=True, capture_output=True)  # noqa: S603
    steps = json.loads((folder / "run" / "runs" / "2.json").read_bytes())["steps"]
    step = next(each for each in steps if each["step"] == "fetch-r1")
    record = json.loads((folder / "run" / step["folder"] / "stage.json").read_text())
    return {
        "URLs": count,
        "kept": record["units"] and sum(unit["rows_out"] for unit in record["units"]),
        "worker MiB": step["peak_worker_bytes"] / (1 << 20),
        "driver MiB": step["peak_bytes"] / (1 << 20),
        "CPU-s": step["cpu_seconds"],
        "seconds": step["seconds"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10,000 URLs for 100,000")
    parser.add_argument("--json", default="", help="where the metrics go")
    given = parser.parse_args()
    run(lambda: main(quick=given.quick, path=given.json))
