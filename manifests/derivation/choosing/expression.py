"""One SQL expression over the columns of a sample: checked before any row is read."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests.base.errors import RefusedError

_PLAIN = {"BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION"}
_PLAIN |= {"CONSTANT", "FUNCTION", "LAMBDA", "LAMBDA_REF", "OPERATOR", "TYPE"}
"""Kinds of expression that look at one row alone; all others are refused."""


class Expression:
    """Evaluates one expression, with DuckDB; null counts as false."""

    def __init__(self, sql: str, schema: pa.Schema) -> None:
        """Check `sql` against the columns of `schema`.

        Raises:
            RefusedError: if it is not one true-or-false expression of one row.
        """
        import duckdb

        self._error: type[Exception] = duckdb.Error
        self._connection = duckdb.connect(config={"enable_external_access": "false", "threads": 1})
        self._connection.execute("SET TimeZone = 'UTC'")
        # On its own line: a comment at the end of the expression must not hide the bracket.
        self._query = f"SELECT ({sql}\n) AS value"
        self._sql = sql
        self._check()
        self._connection.execute("SET lock_configuration = true")
        kind = self._run(schema.empty_table()).type
        if not pa.types.is_boolean(kind):
            raise RefusedError(f"--where {sql}: gives {kind}, not true or false")

    def __call__(self, table: pa.Table) -> NDArray[np.bool_]:
        """Return for each row whether the expression is true.

        Raises:
            RefusedError: if a value cannot be computed; nothing is written then.
        """
        return self._run(table).fill_null(False).to_numpy()

    def _run(self, table: pa.Table) -> pa.ChunkedArray:
        self._connection.register("samples", table)
        try:
            return self._connection.sql(f"{self._query} FROM samples").to_arrow_table()["value"]
        except self._error as error:
            raise RefusedError(f"--where {self._sql}: {str(error).splitlines()[0]}") from None
        finally:
            self._connection.unregister("samples")

    def _check(self) -> None:
        found: Any = self._connection.execute(
            "SELECT json_serialize_sql(?)", [self._query]
        ).fetchone()
        parsed: dict[str, Any] = json.loads(found[0])
        if parsed["error"]:
            raise RefusedError(f"--where {self._sql}: {parsed.get('error_message', 'not SQL')}")
        nodes = [statement["node"] for statement in parsed["statements"]]
        if len(nodes) != 1 or not _is_one_item(nodes[0]):
            raise RefusedError(f"--where {self._sql}: is more than one expression")
        names = set()
        for each in _expressions(nodes[0]["select_list"]):
            if each["class"] not in _PLAIN:
                kind = each["class"].lower()
                raise RefusedError(f"--where {self._sql}: a {kind} looks beyond its row")
            if each["class"] == "FUNCTION":
                names.add(each["function_name"])
        bad = sorted(name for name in names if not self._is_consistent(name))
        if bad:
            raise RefusedError(
                f"--where {self._sql}: {', '.join(bad)}: not a function of its arguments alone"
            )

    def _is_consistent(self, name: str) -> bool:
        """Tell whether DuckDB says that a function gives the same for the same arguments."""
        kinds: list[Any] = self._connection.execute(
            "SELECT DISTINCT function_type, stability FROM duckdb_functions() "
            "WHERE function_name = ?",
            [name.lower()],
        ).fetchall()
        return bool(kinds) and set(kinds) == {("scalar", "CONSISTENT")}


def _is_one_item(node: dict[str, Any]) -> bool:
    return (
        node["type"] == "SELECT_NODE"
        and len(node["select_list"]) == 1
        and node["from_table"]["type"] == "EMPTY"
        and not any(node[name] for name in ("modifiers", "where_clause", "group_expressions"))
        and not any(node[name] for name in ("group_sets", "having", "sample", "qualify"))
        and not node["cte_map"]["map"]
    )


def _expressions(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every expression of a parsed tree."""
    if isinstance(value, dict):
        if "class" in value:
            yield value
        children = list(value.values())
    else:
        children = value if isinstance(value, list) else []
    for child in children:
        yield from _expressions(child)
