"""What the page shows, gathered section by section; a section without its source says so."""

import collections
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.base import storage
from manifests.base.errors import OpenwitError, RefusedError
from manifests.format.ids import keyed_uniform
from manifests.format.manifest import Manifest
from manifests.report import charts
from manifests.report.pictures import gallery, largest_groups

POINTS = 2_000
"""Most points of a curve."""
LISTED = 20
EXAMPLES = 5
FEW = 6
"""Distances of a group that are listed one by one."""
PERSON = b"openwit.m.report"
CURVES = ("loss", "lr", "samples_per_s", "data_wait_share")
READ_ROWS = 65_536

Section = dict[str, Any]
"""`title`, and what the template shows; or `missing`: why there is nothing to show."""


def gather(
    manifest: Manifest,
    *,
    stats: Callable[[], Mapping[str, Any]],
    training: str | None,
    pictures: int,
) -> dict[str, Section]:
    """Return all sections by name, in their order.

    Args:
        manifest: the dataset.
        stats: gives its statistics.
        training: folder of a training run.
        pictures: how many samples the gallery shows.
    """
    counted = _once(stats)
    makers: dict[str, tuple[str, Callable[[], Section]]] = {
        "funnel": ("What was kept, what was dropped", lambda: _funnel(manifest)),
        "queries": ("Queries", lambda: _queries(manifest)),
        "shapes": ("Images and captions", lambda: _shapes(counted())),
        "sources": ("Sources and languages", lambda: _sources(counted())),
        "gallery": ("Samples", lambda: {"pictures": gallery(manifest, pictures)}),
        "groups": ("Largest groups of near-duplicates", lambda: _groups(manifest)),
        "dropped": ("Dropped pairs", lambda: _dropped(manifest)),
        "takedowns": ("Takedowns", lambda: _takedowns(manifest)),
        "training": ("Training", lambda: _training(training)),
    }
    return {name: _safe(title, make) for name, (title, make) in makers.items()}


def _once(make: Callable[[], Mapping[str, Any]]) -> Callable[[], Mapping[str, Any]]:
    made: list[Mapping[str, Any]] = []

    def get() -> Mapping[str, Any]:
        if not made:
            made.append(make())
        return made[0]

    return get


def _safe(title: str, make: Callable[[], Section]) -> Section:
    try:
        return {"title": title, "missing": ""} | make()
    except RefusedError as error:
        return {"title": title, "missing": str(error)}
    except (OpenwitError, OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        return {"title": title, "missing": f"damaged: {error}"}


def _funnel(manifest: Manifest) -> Section:
    if not manifest.funnel:
        raise RefusedError("this dataset has no funnel: see its parents")
    bars, rows = [], []
    for line in manifest.funnel:
        lost = line["rows_in"] - line["rows_out"]
        for place, (fate, count) in enumerate(
            {"went on": line["rows_out"], "dropped": lost}.items()
        ):
            bars.append({"stage": line["stage"], "fate": fate, "rows": count, "place": place})
        reasons = sorted(line["drops"].items(), key=lambda pair: (-pair[1], pair[0]))
        rows.append({"stage": line["stage"], "in": line["rows_in"], "out": line["rows_out"],
                     "reasons": reasons})  # fmt: skip
    return {"chart": charts.funnel_chart(bars), "rows": rows}


def _queries(manifest: Manifest) -> Section:
    listed = manifest.listed("queries")
    if not listed:
        raise RefusedError("this dataset has no list of queries")
    with storage.open_read(manifest.path(listed[0].path)) as file:
        table = pq.read_table(file, columns=["query_id", "query", "matched", "survived", "kept"])
    points = [
        {"rank": rank, "pairs": pairs, "when": when}
        for column, when in (("survived", "before the cap"), ("kept", "in the dataset"))
        for rank, pairs in _ranked(table[column])
    ]
    head = table.sort_by([("kept", "descending"), ("query", "ascending")]).slice(0, LISTED)
    cap = (manifest.query_list or {}).get("cap")
    limit = cap if isinstance(cap, int) else math.inf
    rare = table.filter(pc.and_(pc.greater(table["kept"], 0), pc.less(table["kept"], limit)))
    ids = rare["query_id"].to_pylist()
    drawn = sorted(ids, key=lambda each: keyed_uniform(0, each.to_bytes(8, "little"), PERSON))
    tail = rare.filter(pc.is_in(rare["query_id"], value_set=pa.array(drawn[:LISTED], pa.int32())))
    return {
        "chart": charts.rank_chart(points, cap if isinstance(cap, int) else None),
        "points": points[:: max(1, len(points) // 40)],
        "head": head.to_pylist(),
        "tail": tail.to_pylist(),
        "cap": cap,
        "without": pc.sum(pc.equal(table["kept"], 0)).as_py() or 0,
        "count": len(table),
    }


def _ranked(column: pa.ChunkedArray) -> Iterator[tuple[int, int]]:
    """Yield (rank from 1, pairs), most first, at most `POINTS` / 2, evenly on a log axis."""
    values = sorted((value for value in column.to_pylist() if value), reverse=True)
    steps = POINTS // 2
    ranks = sorted({round(len(values) ** (step / (steps - 1))) for step in range(steps)})
    yield from ((rank, values[rank - 1]) for rank in ranks if 1 <= rank <= len(values))


def _shapes(stats: Mapping[str, Any]) -> Section:
    titles = {
        "min_side": "short side, px",
        "aspect_ratio": "width / height",
        "caption_characters": "characters of the caption",
        "caption_words": "words of the caption",
        "image_bytes": "bytes of the image",
    }
    found = []
    for name, title in titles.items():
        rows = [{"bin": _bin(row), "count": row["count"]} for row in stats["histograms"][name]]
        found.append({"title": title, "rows": rows, "chart": charts.histogram(rows, title)})
    counts = {name.replace("_", " "): stats[name] for name in stats if name.startswith("unique")}
    return {"charts": found, "counts": {"pairs": stats["pairs"]} | counts}


def _bin(row: Mapping[str, Any]) -> str:
    low, high = row["from"], row["to"]
    if isinstance(low, float) or high is None:
        return f"from {low:.3g}" if high is None else f"{low:.3g} to {high:.3g}"
    return str(low) if low == high else f"{low} to {high}"


def _sources(stats: Mapping[str, Any]) -> Section:
    found = []
    for name in ("hosts", "languages", "licenses", "formats"):
        rows = [{"value": "unknown" if row["value"] is None else str(row["value"])[:80],
                 "pairs": row["pairs"]} for row in stats[name][:LISTED]]  # fmt: skip
        if rows:
            found.append({"title": name, "rows": rows, "chart": charts.top_chart(rows)})
    return {"charts": found}


def _groups(manifest: Manifest) -> Section:
    found = largest_groups(manifest, LISTED)
    if not found:
        raise RefusedError("no pair stands for near-duplicates")
    wanted = {picture.row["pair_id"] for picture in found}
    distances: dict[str, list[str]] = collections.defaultdict(list)
    for batch in _ledger(manifest):
        for value in batch.filter(pc.equal(batch["stage"], "dedup"))["value"].to_pylist():
            kept, _, distance = str(value or "").partition(":")
            if kept in wanted and distance.isdigit():
                distances[kept].append(distance)
    spread = {kept: sorted(map(int, bits)) for kept, bits in distances.items()}
    texts = {
        kept: ", ".join(map(str, bits)) if len(bits) <= FEW else f"{bits[0]} to {bits[-1]}"
        for kept, bits in spread.items()
    }
    return {"pictures": found, "distances": texts}


def _ledger(manifest: Manifest) -> Iterator[pa.Table]:
    for file in manifest.listed("ledger"):
        with storage.open_read(manifest.path(file.path)) as opened:
            for batch in pq.ParquetFile(opened).iter_batches(READ_ROWS):
                yield pa.table(batch)


def _dropped(manifest: Manifest) -> Section:
    if not manifest.listed("ledger"):
        raise RefusedError("this dataset has no ledger")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for table in _ledger(manifest):
        for row in table.filter(table["caption"].is_valid()).to_pylist():
            examples = groups.setdefault((row["stage"], row["reason"]), [])
            if len(examples) < EXAMPLES:
                examples.append(row)
    return {
        "groups": [
            {"stage": stage, "reason": reason, "rows": rows}
            for (stage, reason), rows in sorted(groups.items())
        ]
    }


def _takedowns(manifest: Manifest) -> Section:
    counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
    for file in manifest.listed("tombstones"):
        with storage.open_read(manifest.path(file.path)) as opened:
            for row in pq.read_table(opened).to_pylist():
                if row["pair_id"] is not None:
                    counts[str(row["date"]), row["reason"], row["selector"]] += 1
    if not counts:
        raise RefusedError("no pair was withdrawn")
    return {"rows": [(*key, count) for key, count in sorted(counts.items())]}


def _training(folder: str | None) -> Section:
    if folder is None:
        raise RefusedError("no training run was given: --training RUN")
    series: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    with storage.open_read(storage.join(folder, "metrics.jsonl")) as file:
        for line in file:
            event = json.loads(line)
            for name, value in _numbers(event):
                series[name].append({"step": event["step"], "value": value})
    found = [
        {"title": name, "chart": charts.curve(_thin(rows), name), "rows": _thin(rows, 20)}
        for name, rows in series.items()
        if len(rows) > 1
    ]
    if not found:
        raise RefusedError(f"{folder}: has no step of training yet")
    return {"charts": found}


def _numbers(event: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a line of training that the page draws."""
    if event.get("event") == "train":
        for name in CURVES:
            value = event.get(name)
            if isinstance(value, (int, float)) and math.isfinite(value):
                yield name, value


def _thin(rows: Sequence[dict[str, Any]], points: int = POINTS) -> list[dict[str, Any]]:
    return list(itertools.islice(rows, 0, None, max(1, math.ceil(len(rows) / points))))
