"""Matching against a plain pyahocorasick loop; balance and the list builder against their bounds.

`python -m benchmarks.queries [--quick] [--json OUT]`. Matching is timed on the same texts and
queries in one run, taking turns, as CPU seconds, best of the rounds; memory is that of processes
that do nothing else.
"""

import argparse
import functools
import hashlib
import json
import math
import pathlib
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from benchmarks.harness import alternate, cpu_seconds, need, peak_bytes, report, run
from benchmarks.query_data import (
    copies,
    texts_and_queries,
    wikipedia,
    write_list,
    write_pairs,
    write_thresholds,
)
from filters.queries.match_form import normalise_v1
from filters.queries.matcher import Matcher, Mode
from pipeline.engine.stage_dir import StageRecord
from pipeline.planning.plain import PlainEngine
from pipeline.queries.build import build_list
from pipeline.queries.settings import QueriesSettings
from pipeline.selection.caps import Caps
from pipeline.selection.quotas import Draw
from pipeline.stages import balance
from pipeline.stages.balance import BalanceSettings
from pipeline.stages.preselect import Preselected

QUERIES = 500_000
TEXTS = 100_000
BATCH_TEXTS = 8192
"""Rows of a batch, as the stage reads them."""
PAIRS = (100_000, 1_000_000, 10_000_000)
QUICK_PAIRS = (100_000, 300_000, 1_000_000)
CAPS = (20_000, 16)
MOST_MIB = {20_000: 128, 16: 512}
COPIES = 4
ROUNDS = 3
MODES: tuple[Mode, ...] = ("openwit", "metaclip-v1")
MIB = 1 << 20


def main(*, quick: bool, path: str) -> None:
    """Measure all parts and report."""
    metrics: dict[str, float] = {}
    rows = [
        *_match(metrics),
        *_automata(metrics),
        *_balance(metrics, QUICK_PAIRS if quick else PAIRS),
        *_builder(metrics),
    ]
    report(["what", "size", "CPU s", "per second", "MiB", "target"], rows, metrics, path)


def _match(metrics: dict[str, float]) -> list[dict[str, Any]]:
    """Time both modes and the peer, which must find the same sets."""
    ahocorasick = need("ahocorasick", "pyahocorasick")
    texts, queries = texts_and_queries(TEXTS, QUERIES)
    automaton = ahocorasick.Automaton()
    for number, query in enumerate(queries):
        automaton.add_word(f" {query} ", number)
    automaton.make_automaton()
    columns = [
        pa.array(texts[start : start + BATCH_TEXTS]) for start in range(0, len(texts), BATCH_TEXTS)
    ]
    matchers = {mode: Matcher(queries, mode=mode) for mode in MODES}
    works: dict[str, Callable[[], object]] = {
        mode: functools.partial(_match_all, matchers[mode], columns) for mode in MODES
    }
    works["pyahocorasick"] = lambda: [_peer(automaton, text) for text in texts]
    ours = [ids for lists in _match_all(matchers["metaclip-v1"], columns) for ids in lists]
    if any(
        set(ids.as_py()) != _peer(automaton, text) for ids, text in zip(ours, texts, strict=True)
    ):
        raise AssertionError("metaclip-v1 and the peer find different sets")
    seconds = alternate(works, ROUNDS)
    ratios = {mode: seconds["pyahocorasick"] / seconds[mode] for mode in MODES}
    metrics["match_ratio"] = min(ratios.values())
    metrics["texts_per_cpu_s"] = len(texts) / max(seconds[mode] for mode in MODES)
    metrics["matches_per_text"] = sum(len(ids) for ids in ours) / len(texts)
    return [
        {
            "what": f"match {name}",
            "size": f"{len(texts):,} texts, {len(queries):,} queries",
            "CPU s": taken,
            "per second": len(texts) / taken,
            "target": f">= 2 x, is {ratios[name]:.2f} x" if name in ratios else "peer",
        }
        for name, taken in seconds.items()
    ]


def _match_all(matcher: Matcher, columns: Sequence[pa.Array]) -> list[pa.ListArray]:
    return [matcher.match(column) for column in columns]


def _peer(automaton: Any, text: str) -> set[int]:
    return {number for _, number in automaton.iter(normalise_v1(text))}


def _automata(metrics: dict[str, float]) -> list[dict[str, Any]]:
    """Measure what a process grows by when it builds a matcher, and how long that takes."""
    _, queries = texts_and_queries(1, QUERIES)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "queries.json")
        path.write_text(json.dumps(queries), encoding="utf-8")
        for mode in (*MODES, "pyahocorasick"):
            told = _alone("automaton", mode, str(path))
            rows.append(
                {
                    "what": f"build {mode}",
                    "size": f"{len(queries):,} queries",
                    "CPU s": told["cpu_s"],
                    "MiB": told["grown_mib"],
                    "target": "<= 200 MiB" if mode in MODES else "peer",
                }
            )
    metrics["automaton_mib"] = max(row["MiB"] for row in rows[:-1])
    metrics["automaton_build_cpu_s"] = max(row["CPU s"] for row in rows[:-1])
    return rows


def _balance(metrics: dict[str, float], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Balance ever more pairs, each size and cap in a process of its own."""
    rows, cpu, peaks = [], {}, {}
    for pairs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            _alone("pairs", folder, str(pairs))
            for cap in CAPS:
                told = _alone("balance", folder, str(cap))
                cpu[pairs, cap], peaks[pairs, cap] = told["cpu_s"], told["peak_mib"]
                ratio = told["cpu_s"] / told["bare_cpu_s"]
                rows.append(
                    {
                        "what": f"balance, cap {cap:,}",
                        "size": f"{pairs:,} pairs, {told['head_matches']:,} hashes",
                        "CPU s": told["cpu_s"],
                        "per second": pairs / told["cpu_s"],
                        "MiB": told["peak_mib"],
                        "target": f"<= {MOST_MIB[cap]} MiB; is {ratio:.1f} x its hashes alone",
                    }
                )
    first, last = (sizes[0], CAPS[0]), (sizes[-1], CAPS[0])
    metrics["balance_slope"] = math.log(cpu[last] / cpu[first]) / math.log(last[0] / first[0])
    metrics["balance_peak_mib"] = peaks[last]
    metrics["balance_peak_any_cap_mib"] = max(peaks.values())
    metrics["balance_to_hashes"] = ratio
    grown = (peaks[last] - peaks[first]) * MIB
    metrics["balance_bytes_per_pair"] = grown / (last[0] - first[0])
    return rows


def _builder(metrics: dict[str, float]) -> list[dict[str, Any]]:
    """Build a list from one dump and from a dump of four times its pages."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        four = copies(wikipedia(), COPIES, pathlib.Path(folder, "four.xml.bz2"))
        for name, dump in (("1 dump", wikipedia()), (f"{COPIES} copies", four)):
            told = _alone("build", dump, f"{folder}/list.parquet")
            rows.append(
                {
                    "what": "queries build",
                    "size": name,
                    "CPU s": told["cpu_s"],
                    "MiB": told["peak_mib"],
                    "target": "memory stays, time in proportion",
                }
            )
    metrics["build_slope"] = math.log(rows[1]["CPU s"] / rows[0]["CPU s"]) / math.log(COPIES)
    metrics["build_memory_ratio"] = rows[1]["MiB"] / rows[0]["MiB"]
    return rows


def _alone(*arguments: str) -> dict[str, Any]:
    """Run a part in a process of its own and return what it prints."""
    command = [sys.executable, "-m", "benchmarks.queries", "--part", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return json.loads(done.stdout.splitlines()[-1])


def _rss_mib() -> float:
    pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / MIB


def automaton_alone(mode: str, path: str) -> dict[str, float]:
    """Build a matcher of a JSON list and say what it took."""
    queries = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    before = _rss_mib()
    kept: list[Any] = []

    def build() -> None:
        if mode != "pyahocorasick":
            kept.append(Matcher(queries, mode=mode))  # type: ignore[arg-type]
            return
        kept.append(need("ahocorasick", "pyahocorasick").Automaton())
        for number, query in enumerate(queries):
            kept[0].add_word(f" {query} ", number)
        kept[0].make_automaton()

    seconds = cpu_seconds(build)
    return {"cpu_s": seconds, "grown_mib": _rss_mib() - before}


def balance_alone(folder: str, cap: str) -> dict[str, float]:
    """Balance the pairs that `pairs_alone` wrote: writing them takes more memory than this."""
    before = peak_bytes() / MIB
    root = pathlib.Path(folder, "root")
    deduped, thresholds = (
        StageRecord.from_bytes((root / name).read_bytes(), root=str(root), path=name)
        for name in ("pairs.json", "thresholds.json")
    )
    sha256 = thresholds.parameters["list"]
    draw = Draw(
        list_path=str(root / "list.parquet"), list_sha256=sha256, seed=0, caps=Caps(int(cap))
    )
    engine = PlainEngine(str(root))
    preselected = Preselected(deduped, thresholds, draw, is_foreign=False)
    seconds = cpu_seconds(
        lambda: balance.run(engine, BalanceSettings(), sha256, deduped, preselected)
    )
    peak = peak_bytes() / MIB - before
    hashed = next(each for each in engine.records if each.step == "balance-counts")
    head = sum(file.rows for file in hashed.files("hashes"))
    return {
        "cpu_s": seconds,
        "peak_mib": peak,
        "head_matches": head,
        "bare_cpu_s": cpu_seconds(lambda: _bare_hashes(head)),
    }


def _bare_hashes(count: int) -> None:
    state = hashlib.blake2b(digest_size=8, key=b"openwit-select:0")
    message = bytes(32)
    for _ in range(count):
        each = state.copy()
        each.update(message)
        each.digest()


def pairs_alone(folder: str, pairs: str) -> dict[str, float]:
    """Write pairs, a list and thresholds that select all, for `balance_alone`."""
    root = pathlib.Path(folder, "root")
    record, counts = write_pairs(root, int(pairs), QUERIES)
    (root / "pairs.json").write_bytes(record.to_bytes())
    sha256 = write_list(root, QUERIES)
    thresholds = write_thresholds(root, counts, sha256)
    (root / "thresholds.json").write_bytes(thresholds.to_bytes())
    return {"rows": record.rows_out}


def build_alone(dump: str, out: str) -> dict[str, float]:
    """Build a list from a dump with one worker."""
    before = peak_bytes() / MIB
    settings = QueriesSettings(dump=dump, max_types=100_000)
    seconds = cpu_seconds(lambda: build_list(settings, out, workers=1, report=lambda _: None))
    return {"cpu_s": seconds, "peak_mib": peak_bytes() / MIB - before}


PARTS: dict[str, Callable[..., dict[str, float]]] = {
    "automaton": automaton_alone,
    "balance": balance_alone,
    "build": build_alone,
    "pairs": pairs_alone,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to a million pairs")
    parser.add_argument("--json", default="", help="where the metrics go")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        sys.stdout.write(json.dumps(PARTS[given.part[0]](*given.part[1:])) + "\n")
    else:
        run(lambda: main(quick=given.quick, path=given.json))
