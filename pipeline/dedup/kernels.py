"""The work of the steps of the stage dedup, on the rows of one unit or bucket."""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.base.errors import OpenwitError
from pipeline.dedup.clusters import EDGES, choose_nodes, edge_rows
from pipeline.dedup.columns import bytes_of, keys_of, runs
from pipeline.dedup.decisions import decide, finish_rows
from pipeline.dedup.edges import Counts, Probes, match
from pipeline.dedup.keys import band_buckets, probe_rows
from pipeline.dedup.nodes import COLUMNS, check_rows, collapse, copies
from pipeline.dedup.settings import DedupSettings
from pipeline.engine import files
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.steps import Packet, top_bits
from pipeline.engine.units import Unit
from pipeline.records import FETCHED

HELD_EDGES = 1 << 22
"""Edges that a bucket holds before it merges and writes them: 18 bytes each."""


@dataclasses.dataclass(frozen=True)
class FindNodes:
    """Rows to nodes: each part sends a row per record, a bucket brings equal records together."""

    parts: tuple[str, ...]
    """Units of fetch; their places are the numbers of its parts."""
    buckets: int
    texts: int
    """Most texts of a node that go on."""

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Collapse a part and send its nodes by their keys."""
        for source in unit.sources:
            table = _read(source.path, COLUMNS)
            check_rows(table, source.name)
            batch = copies(table, self.parts.index(unit.id), self.texts)
            yield Packet("copy", top_bits(batch["node_key"], self.buckets), batch)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Name the best row of each node, and the nodes to compare."""
        _ = bucket
        table = tables["copy"]
        sink.note("hash_versions", sorted(set(table["hash_version"].to_pylist())))
        members, nodes = collapse(table)
        sink.note("probes", 2 * nodes.num_rows - nodes["trim"].null_count)
        sink.write(members, "members")
        sink.write(nodes)


@dataclasses.dataclass(frozen=True)
class FindEdges:
    """Nodes to edges: each node sends its probes under their bands, a bucket compares them."""

    parts: tuple[str, ...]
    """Units of `dedup-nodes`."""
    buckets: int
    settings: DedupSettings

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Send each probe of a part's nodes once for each of its bands."""
        tables, home = self.settings.tables, self.parts.index(unit.id)
        for source in unit.sources:
            for nodes in read_batches(source.path):
                batch = probe_rows(nodes, home, tables)
                band = batch["band"].to_numpy()
                yield Packet("probe", band_buckets(band, tables, self.buckets), batch)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Write the edges among the probes of a bucket."""
        _ = bucket
        probes = tables["probe"].combine_chunks()
        counts = Counts()
        band = probes["band"].to_numpy()
        starts, sizes = runs(band >> np.uint64(32))
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
            self._match(probes.slice(start, size), int(band[start]) >> 32, counts, sink)
        for name, count in dataclasses.asdict(counts).items():
            sink.note(name, count)

    def _match(self, rows: pa.Table, table: int, counts: Counts, sink: Sink) -> None:
        keys = (rows["band"].to_numpy() & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        probes = Probes(
            hashes=bytes_of(rows["hash"]),
            chroma=bytes_of(rows["chroma"]),
            flags=rows["flags"].to_numpy(),
            ranks=keys_of(rows["rank"]),
        )
        held, held_edges = [], 0
        for found in match(table, keys, probes, self.settings, counts):
            held.append(found)
            held_edges += len(found[0])
            if held_edges >= HELD_EDGES:
                sink.write(edge_rows(rows, held))
                held, held_edges = [], 0
        if held:
            sink.write(edge_rows(rows, held))


@dataclasses.dataclass(frozen=True)
class SelectNodes:
    """All edges to the nodes that go."""

    def run(self, unit: Unit, sink: Sink) -> None:
        """Choose over the edges of all buckets at once."""
        batches = [batch for source in unit.sources for batch in read_batches(source.path)]
        edges = pa.Table.from_batches(batches, schema=EDGES)
        gone = choose_nodes(edges)
        sink.note("edges", edges.num_rows)
        sink.write(gone)


@dataclasses.dataclass(frozen=True)
class FinishRows:
    """Decisions to rows: parts of nodes tell each part of fetch, which is a bucket, what goes."""

    parts: tuple[str, ...]
    """Units of `dedup-nodes`."""
    fetched: tuple[str, ...]
    """Where the parts of fetch are."""
    gone: str
    """Where the rows of `GONE` are."""
    texts: int
    """Most texts that a pair takes over."""

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Send what a part of nodes decides, and what its duplicates leave."""
        home = self.parts.index(unit.id)
        with files.open_read(self.gone) as file:
            gone = pq.read_table(file, filters=[("home", "=", home)]).sort_by("rank")
        for source in unit.sources:
            for batch in read_batches(source.path):
                members = pa.Table.from_batches([batch])
                decisions, left = decide(members, gone, self.texts)
                yield Packet("decision", decisions.units, decisions.batch)
                yield Packet("left", left.units, left.batch)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Split a part of fetch into rows that stay and rows that go."""
        path = self.fetched[bucket]
        rows = _read(path, FETCHED.names).sort_by("pair_id")
        sink.rows_in(rows.num_rows)
        kept, drops = finish_rows(rows, tables["decision"], tables["left"], sink.stage, self.texts)
        sink.note("duplicates", sum(kept["duplicates"].to_pylist()))
        sink.drop(drops)
        sink.write(kept)


def _read(path: str, columns: list[str]) -> pa.Table:
    """Return the rows of one part, which `fetch.unit_rows` bounds.

    Raises:
        OpenwitError: if a column is not that of `FETCHED`: of another length, or with nulls.
    """
    with files.open_read(path) as file:
        table = pq.ParquetFile(file).read(columns=columns)
    for name in columns:
        found, wanted = table.schema.field(name), FETCHED.field(name)
        if not found.equals(wanted):
            raise OpenwitError(f"{path}: column {found}: must be {wanted}: make the part again")
    return table.select(columns)
