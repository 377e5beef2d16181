"""What the page shows, gathered section by section; a section without its source says so."""

import collections
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.base import storage
from manifests.base.console import bytes_text
from manifests.base.errors import OpenwitError, RefusedError
from manifests.format.ids import keyed_uniform
from manifests.format.manifest import Manifest
from manifests.report import charts
from manifests.report.groups import groups, ledger
from manifests.report.pictures import gallery
from manifests.report.training import training_section

POINTS = 2_000
"""Most points of a curve."""
LISTED = 20
EXAMPLES = 5
PERSON = b"openwit.m.report"
TOP_REASONS = 12

Section = dict[str, Any]
"""`title`, and what the template shows; or `missing`: why there is nothing to show."""


def gather(
    manifest: Manifest,
    *,
    stats: Callable[[], Mapping[str, Any]],
    stages: str | None,
    training: str | None,
    pictures: int,
) -> dict[str, Section]:
    """Return all sections by name, in their order.

    Args:
        manifest: the dataset.
        stats: gives its statistics.
        stages: ROOT/stages of its run, for images that were dropped.
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
        "groups": ("Near-duplicates", lambda: _groups(manifest, stages)),
        "dropped": ("Dropped pairs", lambda: _dropped(manifest)),
        "takedowns": ("Takedowns", lambda: _takedowns(manifest)),
        "training": ("Training", lambda: training_section(training)),
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
    except (
        OpenwitError,
        OSError,
        pa.ArrowException,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        return {"title": title, "missing": f"damaged: {error}"}


def _funnel(manifest: Manifest) -> Section:
    if not manifest.funnel:
        raise RefusedError("this dataset has no funnel: see its parents")
    bars, rows, reasons_of_all = [], [], []
    for line in manifest.funnel:
        lost = line["rows_in"] - line["rows_out"]
        for place, (fate, count) in enumerate(
            {"went on": line["rows_out"], "dropped": lost}.items()
        ):
            bars.append({"stage": line["stage"], "fate": fate, "rows": count, "place": place})
        reasons = sorted(line["drops"].items(), key=lambda pair: (-pair[1], pair[0]))
        rows.append({"stage": line["stage"], "in": line["rows_in"], "out": line["rows_out"],
                     "lost": lost, "reasons": reasons})  # fmt: skip
        reasons_of_all += [{"value": f"{line['stage']}: {reason}", "pairs": count}
                           for reason, count in reasons]  # fmt: skip
    reasons_of_all.sort(key=lambda row: (-row["pairs"], row["value"]))
    found = rows[0]["in"]
    return {
        "chart": charts.funnel_chart(bars),
        "rows": rows,
        "found": found,
        "share": rows[-1]["out"] / found if found else 0.0,
        "why": reasons_of_all[:TOP_REASONS],
        "why_chart": charts.top_chart(reasons_of_all[:TOP_REASONS], charts.DROPPED),
    }


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
        show = bytes_text if name == "image_bytes" else str
        rows = [{"bin": _bin(row, show), "count": row["count"]}
                for row in stats["histograms"][name]]  # fmt: skip
        found.append({"title": title, "rows": rows, "chart": charts.histogram(rows, title)})
    counts = {name.replace("_", " "): stats[name] for name in stats if name.startswith("unique")}
    return {"charts": found, "counts": {"pairs": stats["pairs"]} | counts}


def _bin(row: Mapping[str, Any], show: Callable[[int], str]) -> str:
    low, high = row["from"], row["to"]
    if isinstance(low, float) or high is None:
        return f"from {low:.3g}" if high is None else f"{low:.3g} to {high:.3g}"
    if show is bytes_text:
        return f"from {show(low)}"
    return show(low) if low == high else f"{show(low)} to {show(high)}"


def _sources(stats: Mapping[str, Any]) -> Section:
    found = []
    for name in ("domains", "languages", "licenses", "formats"):
        rows = [{"value": "unknown" if row["value"] is None else str(row["value"])[:80],
                 "pairs": row["pairs"]} for row in stats[name][:LISTED]]  # fmt: skip
        if rows:
            found.append({"title": name, "rows": rows, "chart": charts.top_chart(rows)})
    return {"charts": found}


def _groups(manifest: Manifest, stages: str | None) -> Section:
    return {"parts": groups(manifest, stages), "stages": stages is not None}


def _dropped(manifest: Manifest) -> Section:
    if not manifest.listed("ledger"):
        raise RefusedError("this dataset has no ledger")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for table in ledger(manifest):
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
