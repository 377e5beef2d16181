"""Shows what is in a list, and what a text becomes and matches."""

import json
import unicodedata
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filters.queries.match_form import Case, match_form, normalise_v1
from filters.queries.matcher import Matcher, Mode
from filters.queries.query_list import SOURCES, QueryList
from manifests.base.console import printable, table_text
from manifests.base.errors import RefusedError
from pipeline.queries.check import load_list


def show_list(
    path: str,
    *,
    text: str | None = None,
    query: str | None = None,
    source: str | None = None,
    lang: str | None = None,
    limit: int = 20,
    mode: Mode = "openwit",
    case: Case = "sensitive",
) -> dict[str, Any]:
    """Return header and rows of a list as plain values, as `--json` prints them.

    Args:
        path: of the list.
        text: is matched; the rows are then its queries.
        query: only the rows of this query.
        source: only rows that this source offered, credited or not.
        lang: only rows of this language.
        limit: most rows.
        mode: how `text` is matched.
        case: how `text` is matched.

    Returns:
        `header` (the builder's metadata, if any), `queries`, `list_digest`, `matching` rows of
        which the first `limit` are `rows`; with a text also `form`.

    Raises:
        RefusedError: if the file is no list, or a source is unknown.
    """
    if source is not None and source not in SOURCES:
        raise RefusedError(f"--source {source}: not a source: known are {', '.join(SOURCES)}")
    if limit < 0:
        raise RefusedError(f"--limit {limit}: must be 0 or more")
    loaded = load_list(path)
    shown: dict[str, Any] = {
        "path": path,
        "header": loaded.metadata,
        "queries": len(loaded),
        "list_digest": loaded.digest,
    }
    rows = loaded.table
    if text is not None:
        shown["form"] = normalise_v1(text) if mode == "metaclip-v1" else match_form(text, case)
        rows = rows.take(_matched(loaded, text, mode, case))
    if query is not None:
        rows = rows.filter(pc.equal(rows["query"], unicodedata.normalize("NFC", query)))
    if source is not None:
        rows = rows.filter(pc.not_equal(pc.bit_wise_and(rows["sources"], _bit(source)), _bit(None)))
    if lang is not None:
        rows = rows.filter(pc.equal(rows["lang"], lang))
    return shown | {"matching": rows.num_rows, "rows": rows.slice(0, limit).to_pylist()}


def show_lines(shown: dict[str, Any]) -> list[str]:
    """Return what `show_list` found as lines for people."""
    lines = [f"{shown['path']}: {shown['queries']} queries, digest {shown['list_digest']}"]
    for name, value in shown["header"].items():
        if name != "list_digest":
            lines.append(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")
    if "form" in shown:
        lines.append(f"form: {printable(shown['form'])!r}")
    rows = [
        {key: printable(value) if isinstance(value, str) else value for key, value in row.items()}
        for row in shown["rows"]
    ]
    if rows:
        lines.append(table_text(list(rows[0]), rows))
    return [*lines, f"{len(rows)} of {shown['matching']} rows"]


def _matched(loaded: QueryList, text: str, mode: Mode, case: Case) -> pa.Array:
    matcher = Matcher(loaded.queries, mode=mode, case=case)
    return matcher.match(pa.array([text], pa.string())).flatten()


def _bit(source: str | None) -> pa.Scalar:
    return pa.scalar(SOURCES[source] if source else 0, pa.uint8())
