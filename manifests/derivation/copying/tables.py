"""Queries and inputs of a new dataset: those of its sources, as one list, counts taken anew."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from manifests.base import storage
from manifests.base.errors import OpenwitError
from manifests.format.manifest import Manifest
from manifests.format.records import ListedFile
from manifests.format.schema import INPUTS, QUERIES
from manifests.format.table import TableWriter

Map = NDArray[np.int32]
"""New number of each old number."""


@dataclasses.dataclass(frozen=True)
class Lists:
    """The lists of the sources as one, and the new numbers of each source's rows."""

    queries: pa.Table | None
    inputs: pa.Table | None
    query_maps: tuple[Map, ...]
    input_maps: tuple[Map, ...]

    def renumbered(self, table: pa.Table, source: int) -> pa.Table:
        """Return sample rows of a source with the new numbers."""
        for names, maps in (
            (("query_ids", "selected_by"), self.query_maps),
            (("page_input", "image_input"), self.input_maps),
        ):
            numbers = maps[source]
            if np.array_equal(numbers, np.arange(len(numbers))):
                continue
            for name in names:
                if name in table.schema.names:
                    place = table.schema.get_field_index(name)
                    field = table.schema.field(place)
                    column = _mapped(table[name].combine_chunks(), numbers)
                    table = table.set_column(place, field, column)
        return table


def _mapped(column: pa.Array, numbers: Map) -> pa.Array:
    if pa.types.is_list(column.type):
        # Ascending within a row, as the contract says: the new numbers may be in another order.
        lists = [
            None if ids is None else sorted(numbers[ids].tolist()) for ids in column.to_pylist()
        ]
        return pa.array(lists, column.type)
    values = numbers[column.fill_null(0).to_numpy(zero_copy_only=False)] if len(numbers) else []
    mask = column.is_null().to_numpy(zero_copy_only=False)
    return pa.array(values, column.type, mask=mask)


def join_lists(sources: Sequence[Manifest], *, sort_queries: bool = False) -> Lists:
    """Read the lists of all sources and make one of each.

    Args:
        sources: the datasets.
        sort_queries: whether the lists of queries differ; their union is sorted by text. Else all
            have the first one's.

    Raises:
        OpenwitError: if a table is not the one that its manifest lists.
    """
    queries = [_first(source, "queries", QUERIES) for source in sources]
    inputs = [_first(source, "inputs", INPUTS) for source in sources]
    all_inputs, input_maps = _union(inputs, "input", INPUTS)
    all_queries, query_maps = queries[0], tuple(_identity(table) for table in queries)
    if sort_queries:
        all_queries, query_maps = _union_queries(queries)
    if all_queries is not None:
        all_queries = _added(all_queries, sources, queries, query_maps)
    return Lists(all_queries, all_inputs, query_maps, input_maps)


def _first(source: Manifest, role: str, schema: pa.Schema) -> pa.Table | None:
    listed = source.listed(role)
    return read_list(source, listed[0], schema) if listed else None


def read_list(source: Manifest, file: ListedFile, schema: pa.Schema) -> pa.Table:
    """Read a table beside the shards.

    Raises:
        OpenwitError: if it is not the one that the manifest lists.
    """
    path = source.path(file.path)
    if storage.sha256_of(path) != file.sha256:
        raise OpenwitError(f"{path}: not the file that the manifest lists: run verify")
    with storage.open_read(path) as opened:
        return pq.read_table(opened).select(schema.names).cast(schema)


def _identity(table: pa.Table | None) -> Map:
    return np.arange(0 if table is None else len(table), dtype=np.int32)


def _union(
    tables: Sequence[pa.Table | None], number: str, schema: pa.Schema
) -> tuple[pa.Table | None, tuple[Map, ...]]:
    """Return all different rows in the order of their first place, and the new numbers."""
    places: dict[tuple[object, ...], int] = {}
    maps = []
    for table in tables:
        rows = [] if table is None else table.drop_columns([number]).to_pylist()
        new = [places.setdefault(tuple(row.values()), len(places)) for row in rows]
        maps.append(np.array(new, np.int32))
    if all(table is None for table in tables):
        return None, tuple(maps)
    names = [name for name in schema.names if name != number]
    columns = list(zip(*places, strict=True)) if places else [()] * len(names)
    values: dict[str, object] = dict(zip(names, columns, strict=True))
    values[number] = range(len(places))
    return pa.table({name: list(values[name]) for name in schema.names}, schema), tuple(maps)  # type: ignore[call-overload]


def _union_queries(tables: Sequence[pa.Table | None]) -> tuple[pa.Table | None, tuple[Map, ...]]:
    present = [table for table in tables if table is not None]
    if not present:
        return None, tuple(_identity(table) for table in tables)
    first: dict[str, dict[str, object]] = {}
    for table in present:
        for row in table.to_pylist():
            first.setdefault(row["query"], row)
    order = {query: number for number, query in enumerate(sorted(first))}
    rows = [first[query] | {"query_id": number} for query, number in order.items()]
    maps = tuple(
        np.array([] if table is None else [order[query] for query in table["query"].to_pylist()],
                 np.int32)
        for table in tables
    )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=QUERIES), maps


def _added(
    table: pa.Table,
    sources: Sequence[Manifest],
    queries: Sequence[pa.Table | None],
    maps: Sequence[Map],
) -> pa.Table:
    """Add up matched and survived pairs; sources that were cut from one dataset count once."""
    origins = {
        source.parents[0]["digest"] if source.parents else source.digest: number
        for number, source in reversed(list(enumerate(sources)))
    }
    for name in ("matched", "survived"):
        total = np.zeros(len(table), np.int64)
        for number in origins.values():
            counts = queries[number]
            if counts is not None:
                np.add.at(total, maps[number], counts[name].to_numpy())
        table = replaced(table, name, total)
    return table


def replaced(table: pa.Table, name: str, values: NDArray[np.int64]) -> pa.Table:
    """Return a table with other numbers in one column."""
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), pa.array(values))


def write_lists(
    out: str, lists: Lists, kept: Mapping[int, int], selected: Mapping[int, int]
) -> list[ListedFile]:
    """Write `inputs.parquet` and `queries.parquet` with the counts of the new dataset."""
    files = []
    if lists.inputs is not None:
        files.append(write_list(out, "inputs.parquet", "inputs", lists.inputs))
    if lists.queries is not None:
        table = lists.queries
        for name, counts in (("kept", kept), ("selected", selected)):
            column = np.zeros(len(table), np.int64)
            column[list(counts)] = list(counts.values())
            table = replaced(table, name, column)
        files.append(write_list(out, "queries.parquet", "queries", table))
    return files


def write_list(out: str, name: str, role: str, table: pa.Table) -> ListedFile:
    """Write a table beside the shards and return what the manifest lists."""
    with storage.new_file(out) as target:
        writer = TableWriter(target, table.schema)
        for batch in table.to_batches():
            writer.write(batch)
        writer.close()
        entry = ListedFile(
            path=name, role=role, bytes=target.bytes, sha256=target.sha256, rows=writer.rows
        )
        target.publish(storage.join(out, name))
    return entry
