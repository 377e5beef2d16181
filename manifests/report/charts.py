"""Vega-Lite specifications: data is values only, never part of an expression, title or signal."""

from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""A name, not fetched."""
ROW_PX = 22
KEPT, DROPPED = "#2f7d6b", "#c97a33"
"""At least 3:1 on the page, light and dark."""
LINES = (KEPT, DROPPED, "#8a6fb0", "#3f7fb5")
# Axes keep the order of their rows (`sort` None): a list of values would become an expression.
Rows = Sequence[Mapping[str, Any]]


def _chart(rows: Rows, height: int, **spec: Any) -> dict[str, Any]:
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": height,
        "data": {"values": [dict(row) for row in rows]},
        **spec,
    }


def funnel_chart(rows: Rows) -> dict[str, Any]:
    """Return a bar per stage: what went on, and what was dropped."""
    stages = len({row["stage"] for row in rows})
    return _chart(
        rows,
        ROW_PX * stages + 10,
        mark={"type": "bar"},
        encoding={
            "y": {"field": "stage", "type": "nominal", "sort": None, "title": None},
            "x": {"field": "rows", "type": "quantitative", "title": "rows"},
            "color": {
                "field": "fate",
                "type": "nominal",
                "title": None,
                "scale": {"domain": ["went on", "dropped"], "range": [KEPT, DROPPED]},
                "legend": {"orient": "bottom"},
            },
            "order": {"field": "place", "type": "quantitative"},
        },
    )


def rank_chart(rows: Rows, cap: int | None) -> dict[str, Any]:
    """Return pairs per query by rank, before and after the cap, on two logarithmic axes."""
    log = {"type": "log"}
    # No lines: a log axis has eight more between two powers of ten.
    axis = {"grid": False, "tickCount": 4}
    encoding = {
        "x": {
            "field": "rank",
            "type": "quantitative",
            "scale": log,
            "axis": axis,
            "title": "rank of the query",
        },
        "y": {
            "field": "pairs",
            "type": "quantitative",
            "scale": log,
            "axis": axis,
            "title": "pairs",
        },
        "color": {
            "field": "when",
            "type": "nominal",
            "title": None,
            "scale": {
                "domain": ["before the cap", "in the dataset"],
                "range": [DROPPED, KEPT],
            },
            "legend": {"orient": "bottom"},
        },
    }
    layers: list[dict[str, Any]] = [{"mark": {"type": "line"}, "encoding": encoding}]
    if cap:
        rule = {"y": {"datum": cap, "type": "quantitative", "scale": log}}
        mark = {"type": "rule", "strokeDash": [5, 4], "color": "#8a6fb0"}
        layers.append({"mark": mark, "encoding": rule})
    return _chart(rows, 260, layer=layers)


def histogram(rows: Rows, title: str) -> dict[str, Any]:
    """Return bars in the order of their rows: `bin` and `count`."""
    x = {"field": "bin", "type": "ordinal", "sort": None, "title": title}
    return _chart(
        rows,
        180,
        mark={"type": "bar", "color": KEPT},
        encoding={
            "x": x,
            "y": {"field": "count", "type": "quantitative", "title": "pairs"},
        },
    )


def top_chart(rows: Rows, color: str = KEPT) -> dict[str, Any]:
    """Return the most frequent values as bars: `value` and `pairs`."""
    return _chart(
        rows,
        ROW_PX * max(1, len(rows)),
        mark={"type": "bar", "color": color},
        encoding={
            "y": {
                "field": "value",
                "type": "nominal",
                "sort": None,
                "title": None,
                "axis": {"labelLimit": 180},
            },
            "x": {"field": "pairs", "type": "quantitative", "title": "pairs"},
        },
    )


def curve(rows: Rows) -> dict[str, Any]:
    """Return values of training by step, one line for each `line` if the rows have that."""
    encoding: dict[str, Any] = {
        "x": {"field": "step", "type": "quantitative", "title": "step"},
        "y": {
            "field": "value",
            "type": "quantitative",
            "title": None,  # the heading says it
            "scale": {"zero": False},
        },
    }
    mark = {"type": "line"} if "line" in rows[0] else {"type": "line", "color": KEPT}
    if "line" in rows[0]:
        encoding["color"] = {
            "field": "line",
            "type": "nominal",
            "title": None,
            "scale": {"range": list(LINES)},
            "legend": {"orient": "bottom", "columns": 1, "labelLimit": 300},
        }
    return _chart(rows, 180, mark=mark, encoding=encoding)
