"""`stats`: counts over all samples and queries, computed by DuckDB within a memory limit."""

import collections
import contextlib
import re
import tempfile
from collections.abc import Iterator
from typing import Any

from manifests.base import storage
from manifests.base.domains import registered_domain
from manifests.base.errors import OpenwitError, RefusedError
from manifests.format.manifest import Manifest

# Digits, a point and a unit, each once: linear in the text.
_MEMORY = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?(MB|MiB|GB|GiB|TB|TiB)")
HOST = r"^[a-z][a-z0-9+.-]*://(?:[^/?#@]*@)?(\[[^\]]*\]|[^/?#:]*)"
FETCHED_ROWS = 10_000
DISTINCT = ("url", "phash", "caption", "sha256")
POWERS = {
    "width": "width",
    "height": "height",
    "min_side": "least(width, height)",
    "image_bytes": "image_bytes",
    "caption_characters": "length(caption)",
    "caption_words": r"len(regexp_extract_all(caption, '\S+'))",
    "duplicates": "duplicates",
}
"""Histograms with bins 0, 1, 2-3, 4-7, ...: name and SQL of the value."""
VALUES = {
    "languages": "lang",
    "formats": "original_format",
    "licenses": "license_url",
}
"""Most frequent values: name and SQL of the value."""
ASPECTS = (1 / 3, 1 / 2, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 2.0, 3.0)


def stats(
    manifest: Manifest, *, top: int = 50, memory: str = "1GiB", jobs: int = 1
) -> dict[str, Any]:
    """Return the statistics of a dataset as JSON values.

    Args:
        manifest: the dataset.
        top: how many of the most frequent values are listed; equal counts by name.
        memory: what DuckDB may use, as in `1GiB`; more spills to the temporary folder.
        jobs: threads.

    Raises:
        RefusedError: if `memory` or `top` is not one.
        OpenwitError: if a file cannot be read.
    """
    if not _MEMORY.fullmatch(memory):
        raise RefusedError(f"--memory {memory}: write a number and a unit, as in 1GiB")
    if top < 1:
        raise RefusedError(f"--top {top}: must be at least 1")
    with _connect(manifest, memory, jobs) as connection:
        distinct = ", ".join(f"count(DISTINCT hash({name})) AS unique_{name}" for name in DISTINCT)
        counts = _rows(connection, f"SELECT count(*) AS pairs, {distinct} FROM samples")[0]  # noqa: S608 (words of this file)
        value: dict[str, Any] = {
            "kind": "openwit-stats",
            "ok": True,
            "dataset": manifest.root,
            "digest": manifest.digest,
            **counts,
            "queries": _queries(connection, manifest, top),
            "histograms": {
                **{name: _powers(connection, sql, "samples") for name, sql in POWERS.items()},
                "aspect_ratio": _aspects(connection),
            },
        }
        for name, sql in VALUES.items():
            value[name] = _rows(
                connection,
                f"SELECT {sql} AS value, count(*) AS pairs FROM samples GROUP BY 1 "  # noqa: S608 (words of this file)
                f"ORDER BY pairs DESC, value NULLS LAST LIMIT {int(top)}",
            )
        value["domains"] = _domains(connection, top)
    return value


def _domains(connection: Any, top: int) -> list[dict[str, Any]]:
    """Return the registered domains of most images; hosts are counted by DuckDB, then united."""
    pairs: collections.Counter[str | None] = collections.Counter()
    result = connection.execute(
        f"SELECT regexp_extract(url, '{HOST}', 1) AS host, count(*) FROM samples GROUP BY 1"  # noqa: S608 (words of this file)
    )
    while rows := result.fetchmany(FETCHED_ROWS):
        for host, count in rows:
            pairs[registered_domain(host) if host else None] += count
    order = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0] is None, pair[0] or ""))
    return [{"value": domain, "pairs": count} for domain, count in order[:top]]


@contextlib.contextmanager
def _connect(manifest: Manifest, memory: str, jobs: int) -> Iterator[Any]:
    """Open a database in memory with the views `samples` and `queries`."""
    import duckdb

    paths = [manifest.path(shard.parquet.path) for shard in manifest.shards]
    tables = [manifest.path(file.path) for file in manifest.listed("queries")]
    with tempfile.TemporaryDirectory(prefix="openwit-stats-") as spill:
        connection = duckdb.connect(
            config={"memory_limit": memory, "threads": jobs, "temp_directory": spill}
        )
        try:
            if not storage.is_local(manifest.root):
                import fsspec

                protocol = manifest.root.partition("://")[0]
                connection.register_filesystem(fsspec.filesystem(protocol))
            _view(connection, "samples", paths)
            _view(connection, "queries", tables)
            yield connection
        except duckdb.Error as error:
            raise OpenwitError(
                f"{manifest.root}: {error}: run openwit-manifest verify"[:500]
            ) from None
        finally:
            connection.close()


EMPTY = {
    "samples": (
        "SELECT '' AS url, '' AS phash, '' AS caption, '' AS sha256, '' AS lang, "
        "'' AS original_format, '' AS license_url, 0 AS width, 0 AS height, 0 AS image_bytes, "
        "0 AS duplicates WHERE false"
    ),
    "queries": (
        "SELECT '' AS query, 0 AS matched, 0 AS survived, 0 AS selected, 0 AS kept WHERE false"
    ),
}


def _view(connection: Any, name: str, paths: list[str]) -> None:
    if not paths:
        connection.execute(f"CREATE VIEW {name} AS {EMPTY[name]}")
        return
    # A list of literals: views take no parameters. Quotes are doubled, as SQL asks.
    quoted = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{quoted}])")  # noqa: S608


def _rows(connection: Any, sql: str) -> list[dict[str, Any]]:
    result = connection.execute(sql)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _powers(connection: Any, sql: str, table: str) -> list[dict[str, int]]:
    """Return a histogram with bins that double: 0, 1, 2-3, 4-7, ..."""
    rows = _rows(
        connection,
        f"SELECT CASE WHEN v < 1 THEN -1 ELSE CAST(floor(log2(v)) AS INTEGER) END AS bin, "  # noqa: S608 (words of this file)
        f"count(*) AS n FROM (SELECT {sql} AS v FROM {table}) WHERE v IS NOT NULL "
        "GROUP BY 1 ORDER BY 1",
    )
    return [
        {"from": 0, "to": 0, "count": row["n"]}
        if row["bin"] < 0
        else {"from": 2 ** row["bin"], "to": 2 ** (row["bin"] + 1) - 1, "count": row["n"]}
        for row in rows
    ]


def _aspects(connection: Any) -> list[dict[str, Any]]:
    """Return a histogram of width / height with fixed edges."""
    steps = " + ".join(f"(r >= {edge!r})::INTEGER" for edge in ASPECTS)
    rows = _rows(
        connection,
        f"SELECT {steps} AS bin, count(*) AS n FROM "  # noqa: S608 (words of this file)
        "(SELECT width / height AS r FROM samples WHERE height > 0) GROUP BY 1 ORDER BY 1",
    )
    edges = [0.0, *ASPECTS, None]
    return [
        {"from": edges[row["bin"]], "to": edges[row["bin"] + 1], "count": row["n"]} for row in rows
    ]


def _queries(connection: Any, manifest: Manifest, top: int) -> dict[str, Any]:
    cap = (manifest.query_list or {}).get("cap")
    sums = _rows(
        connection,
        "SELECT count(*) AS listed, count(*) FILTER (matched > 0) AS matched, "
        "count(*) FILTER (kept > 0) AS kept, coalesce(sum(survived), 0)::BIGINT AS matches "
        "FROM queries",
    )[0]
    result: dict[str, Any] = {
        "listed": sums["listed"],
        "with_match": sums["matched"],
        "with_sample": sums["kept"],
        "cap": cap,
        "pairs_per_query": _powers(connection, "kept", "queries"),
        "top": _rows(
            connection,
            "SELECT query, matched, survived, selected, kept FROM queries "  # noqa: S608 (words of this file)
            f"ORDER BY kept DESC, query LIMIT {int(top)}",
        ),
    }
    if type(cap) is int:
        tail = _rows(
            connection,
            f"SELECT count(*) FILTER (survived > {cap}) AS head, "  # noqa: S608 (a whole number)
            f"coalesce(sum(survived) FILTER (survived <= {cap}), 0)::BIGINT AS tail FROM queries",
        )[0]
        result["head"] = tail["head"]
        result["tail_share"] = tail["tail"] / sums["matches"] if sums["matches"] else None
    return result
