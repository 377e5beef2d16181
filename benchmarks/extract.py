"""Stage extract against MetaCLIP's and cc2dataset's rules: `python -m benchmarks.extract`.

All are timed on the same files in one run, taking turns, as CPU seconds, best of the rounds. Ours
is the whole stage, with its Parquet files, ledger and dead letters; the peers make a list.

`warc_ratio_at_most` is what reading and parsing alone, without any rule, would have: 1.3 to 1.4 on
real pages of 198 kB, where turbohtml parses no faster than the peer's lexbor, 2.7 on made ones.
"""

import argparse
import functools
import hashlib
import math
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any, Literal, cast

import turbohtml

from benchmarks.extract_archives import write_warc, write_wat
from benchmarks.extract_data import hostile_pages, load_pages, make_pages, repeated
from benchmarks.extract_peers import bare_loop, cc2dataset_wat, metaclip_warc, plain_warc
from benchmarks.extract_yield import yields
from benchmarks.harness import alternate, cpu_seconds, peak_bytes, report, run
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.units import Source, Unit
from pipeline.planning.plain import PlainEngine
from pipeline.readers.framing import Limits, Record
from pipeline.readers.kinds import InputSettings
from pipeline.readers.warc import HEADER_BYTES, Message, parse_message, read_records
from pipeline.stages import extract
from pipeline.stages.extract import ExtractSettings

PAGES = 130
"""Made pages, if none are given; the size of the usual sample of real ones."""
ARTICLE = 20
SMALL = 2
"""Scales of made pages: an article of 110 kB, and one of a tenth, to make many of."""
WAT_TIMES = 4
"""Pages of the WAT to those of the WARC: real ones have 30,000, so a file's own cost is nothing."""


def ours(path: pathlib.Path, kind: Literal["warc", "wat"], root: str) -> StageRecord:
    """Run the stage on one file, with its defaults."""
    name = path.name
    size = path.stat().st_size
    source = Source(role="input", path=str(path), name=name, bytes=size, sha256="")
    unit = Unit(id=hashlib.sha256(name.encode()).hexdigest()[:16], sources=(source,))
    return extract.run(
        PlainEngine(root),
        ExtractSettings(),
        InputSettings(kind=kind, paths=(str(path),)),
        content_usage_keys=("train-ai",),
        list_entity_passes=1,
        archive_wanted=False,
        units=[unit],
    )


def read_and_parse(path: pathlib.Path) -> None:
    """Read and parse all pages and take nothing: what no rule of ours can be faster than."""
    limits = Limits(record_bytes=32 << 20, header_bytes=HEADER_BYTES)
    with path.open("rb") as file:
        for record in read_records(file, limits):
            if isinstance(record, Record) and record.kind == "response":
                message = parse_message(record, HEADER_BYTES)
                if isinstance(message, Message):
                    body = cast(bytes, message.body)
                    turbohtml.parse(body, detect_encoding=True, positions=False)


def compare(
    folder: pathlib.Path, pages: dict[str, bytes], times: int, rounds: int
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Time all rules on the pages as WARC and as WAT; return rows of the table and metrics."""
    warc, wat = folder / "pages.warc.gz", folder / "pages.wat.gz"
    write_warc(warc, repeated(pages, times))
    write_wat(wat, repeated(pages, WAT_TIMES * times))
    root = str(folder / "root")
    works = {
        "WARC, openwit": lambda: ours(warc, "warc", root),
        "WARC, img[src][alt]": lambda: plain_warc(warc),
        "WARC, MetaCLIP's rule": lambda: metaclip_warc(warc),
        "WARC, bare loop": lambda: bare_loop(warc),
        "WARC, read and parsed": lambda: read_and_parse(warc),
        "WAT, openwit": lambda: ours(wat, "wat", root),
        "WAT, cc2dataset's rule": lambda: cc2dataset_wat(wat),
    }
    seconds = alternate(works, rounds)
    count = len(pages) * times
    counts = {name: count * (WAT_TIMES if name.startswith("WAT") else 1) for name in works}
    rows = [
        {"rule": name, "CPU s": f"{value:.2f}", "pages per CPU s": f"{counts[name] / value:.0f}"}
        for name, value in seconds.items()
    ]
    warc_s, plain_s, metaclip_s, bare_s, least_s, wat_s, cc2dataset_s = seconds.values()
    metrics = {
        "warc_ratio": plain_s / warc_s,
        "metaclip_ratio": metaclip_s / warc_s,
        "bare_ratio": bare_s / warc_s,
        "warc_ratio_at_most": plain_s / least_s,
        "wat_ratio": cc2dataset_s / wat_s,
        "pages_per_cpu_s": count / warc_s,
        "wat_pages_per_cpu_s": counts["WAT, openwit"] / wat_s,
    }
    return rows, metrics


def worst_page(folder: pathlib.Path) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Time each hostile page by itself."""
    seconds = {}
    for name, body in hostile_pages().items():
        path = folder / "hostile.warc.gz"
        write_warc(path, [(name.replace(" ", "-"), body)])
        root = str(folder / "root")
        seconds[name] = cpu_seconds(functools.partial(ours, path, "warc", root))
    slowest = sorted(seconds.items(), key=lambda pair: -pair[1])
    rows = [{"rule": f"hostile: {name}", "CPU s": f"{value:.2f}"} for name, value in slowest[:5]]
    return rows, {"worst_page_cpu_s": slowest[0][1]}


def growth(folder: pathlib.Path, sizes: list[int]) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Extract ever longer files, each in a process of its own: cost per page, and peak memory.

    The growth is that from the second size on, whose rows fill all buffers.
    """
    rows, costs, peaks = [], [], []
    for size in sizes:
        path = folder / f"{size}.warc.gz"
        write_warc(path, repeated(make_pages(100, SMALL), size // 100))
        command = [sys.executable, "-m", "benchmarks.extract", "--one", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        cpu_s, peak = (float(word) for word in done.stdout.split())
        path.unlink()
        costs.append(cpu_s / size)
        peaks.append(peak / (1 << 20))
        rows.append(
            {
                "rule": f"{size} small pages",
                "CPU s": f"{cpu_s:.2f}",
                "pages per CPU s": f"{size / cpu_s:.0f}",
                "peak MiB": f"{peaks[-1]:.0f}",
            }
        )
    steps = math.log(sizes[-1] / sizes[0])
    return rows, {
        "page_slope": 1 + math.log(costs[-1] / costs[0]) / steps,
        "peak_growth": peaks[-1] / peaks[-2],
        "peak_mib": peaks[-1],
    }


def one(path: pathlib.Path) -> None:
    """Extract one file and print its CPU seconds and this process's peak memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        before = time.process_time()
        ours(path, "warc", folder)
        seconds = time.process_time() - before
    sys.stdout.write(f"{seconds} {peak_bytes()}\n")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within 4 minutes")
    parser.add_argument("--pages", default="", help="a folder or tar of HTML files")
    parser.add_argument("--json", default="", help="where the metrics are written")
    parser.add_argument("--one", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one)
        return
    pages = load_pages(arguments.pages) if arguments.pages else make_pages(PAGES, ARTICLE)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        quick = arguments.quick
        rows, metrics = compare(folder, pages, 4 if quick else 20, 3 if quick else 5)
        for part in (
            worst_page(folder),
            growth(folder, [1_000, 10_000, 30_000 if quick else 100_000]),
        ):
            rows += part[0]
            metrics |= part[1]
        if arguments.pages:
            found = yields(folder, pages, lambda path: ours(path, "warc", str(folder / "root")))
            rows += found[0]
            metrics |= found[1]
        else:
            rows.append({"rule": "yield: needs real pages, name some by --pages"})
    report(["rule", "CPU s", "pages per CPU s", "peak MiB", "pairs"], rows, metrics, arguments.json)


if __name__ == "__main__":
    run(main)
