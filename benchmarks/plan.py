"""What `plan` predicts of whole runs, against what they then took.

Three runs from nothing: the made-up site three times as large, a URL list up to where hosts would
be asked, and the GIMP manual (its archives must be recorded: `make run`).
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks import harness
from tests.toy_site import QUERIES, texts, write_archives

HERE = pathlib.Path(__file__).parent
GIMP = pathlib.Path("~/.cache/openwit/gimp-manual").expanduser()
EXAMPLE = HERE.parent / "examples" / "gimp_manual" / "config.toml"
LIST_ROWS = {False: 100_000, True: 20_000}
"""By `--quick`."""
MEASURES = ("rows_out", "shuffle_bytes", "memory_bytes", "cpu_seconds")
LEAST = {"rows_out": 20, "shuffle_bytes": 1 << 20, "memory_bytes": 0, "cpu_seconds": 2.0}
"""Below it a number is as good as none: no factor is taken of it."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A configuration whose ROOT is beside it, and how far it is run."""

    config: pathlib.Path
    until: str = "shards"


def toy_job(folder: pathlib.Path, quick: bool) -> Job:
    """The made-up site with as many pictures as it has texts."""
    names = write_archives(folder, archives=4, pictures=60 if quick else len(texts()))
    return Job(_config(folder, "warc", names))


def list_job(folder: pathlib.Path, quick: bool) -> Job:
    """A list of made-up URLs, half of whose texts hold a query; some URLs are there twice."""
    rows = LIST_ROWS[quick]
    folder.mkdir(parents=True)
    known = texts()
    with (folder / "list.csv").open("w", encoding="utf-8") as file:
        file.write("url,caption\n")
        for number in range(rows):
            digest = hashlib.sha256(str(number % (rows * 9 // 10)).encode()).hexdigest()
            text = known[int(digest[:6], 16) % len(known)]
            words = text if int(digest[6], 16) < 8 else f"nothing of note in {digest[:9]}"
            file.write(f"https://site-{digest[:2]}.example/{digest}.jpg,{words}\n")
    return Job(_config(folder, "urls", ["list.csv"]), "preselect")


def gimp_job(folder: pathlib.Path, quick: bool) -> Job:
    """The main example on the archives that `make run` recorded."""
    _ = quick
    warcs, words = sorted(GIMP.glob("crawl/*.warc.gz")), sorted(GIMP.rglob("data.*"))
    if not warcs or not words:
        raise harness.MissingError(f"{GIMP}: no archives: make run records them")
    folder.mkdir(parents=True)
    (folder / "wordnet").mkdir()
    for path in words:
        shutil.copyfile(path, folder / "wordnet" / path.name)
    (folder / "archives.txt").write_text("\n".join(map(str, warcs)), encoding="utf-8")
    text = EXAMPLE.read_text(encoding="utf-8").replace("[input]", f'[input]\nbase = "{GIMP}"')
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return Job(folder / "config.toml")


def _config(folder: pathlib.Path, kind: str, names: list[str]) -> pathlib.Path:
    (folder / "queries.txt").write_text("\n".join(QUERIES), encoding="utf-8")
    path = folder / "config.toml"
    source = "archive" if kind == "warc" else "web"
    path.write_text(
        f'root = "run"\n[input]\nkind = "{kind}"\npaths = {json.dumps(names)}\n'
        '[queries]\nfile = "queries.txt"\n[select]\ncap = 2000\n'
        f'[fetch]\nsource = "{source}"\ncontact = "https://bench.example/"\n',
        encoding="utf-8",
    )
    return path


def call(*words: str) -> Any:
    """Return the JSON that a command prints."""
    done = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-m", "pipeline", *words, "--json"],
        cwd=HERE.parent,
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


def measured(job: Job, funnel: list[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return what the run's own record says of each stage."""
    path = job.config.parent / "run" / "runs" / "1.json"
    found: dict[str, dict[str, float]] = {
        line["stage"]: {**dict.fromkeys(MEASURES, 0.0), "rows_out": line["rows_out"]}
        for line in funnel
    }
    peak = 0
    for step in json.loads(path.read_text(encoding="utf-8"))["steps"]:
        stage = found[step["step"].split("-")[0]]
        peak = max(peak, step["peak_bytes"], step["peak_worker_bytes"])
        stage["memory_bytes"] = peak
        stage["shuffle_bytes"] = max(stage["shuffle_bytes"], step["shuffle_bytes"])
        stage["cpu_seconds"] += step["cpu_seconds"]
    return found


def compare(name: str, job: Job) -> Iterator[dict[str, Any]]:
    """Plan and run a job; yield a row for each stage and measure."""
    planned = call("plan", str(job.config))["stages"]
    ran = call("run", str(job.config), "--until", job.until)
    found = measured(job, ran["funnel"])
    for stage in planned:
        for measure in MEASURES if stage["stage"] in found else ():
            said, was = float(stage[measure]), float(found[stage["stage"]][measure])
            counts = max(said, was) >= LEAST[measure] and min(said, was) > 0
            yield {
                "run": name,
                "stage": stage["stage"],
                "measure": measure,
                "planned": f"{said:,.1f}",
                "taken": f"{was:,.1f}",
                "factor": max(said, was) / min(said, was) if counts else "-",
                "from": stage["basis"],
            }


def main() -> None:
    """Compare all that there is, and report the worst factor of each measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller runs, without the manual")
    parser.add_argument("--json", default="", help="file for the metrics")
    arguments = parser.parse_args()
    makers = {"site": toy_job, "list": list_job}
    if not arguments.quick:
        makers["gimp"] = gimp_job
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, make in makers.items():
            rows += compare(name, make(pathlib.Path(folder, name), arguments.quick))
    metrics = {
        f"plan_worst_factor_{measure.split('_')[0]}": max(
            [row["factor"] for row in rows if row["measure"] == measure and row["factor"] != "-"],
            default=1.0,
        )
        for measure in MEASURES
    }
    harness.report(list(rows[0]), rows, metrics, arguments.json)


if __name__ == "__main__":
    harness.run(main)
