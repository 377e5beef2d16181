"""The work of the steps of the stage dedup, on the rows of one unit or bucket."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.hashes.bands import Bands
from filters.hashes.matching import Counts, match, runs
from filters.hashes.perceptual import FLAT
from filters.hashes.rank import NEW
from pipeline.dedup.clusters import read_gone, write_edges
from pipeline.dedup.decisions import LEFT, cluster_rows, decide
from pipeline.dedup.keys import (
    as_probes,
    band_buckets,
    is_shared,
    node_probes,
    pass_tables,
    probe_rows,
    read_nodes,
    shared_bits,
    slots_of,
    without,
)
from pipeline.dedup.nodes import COLUMNS, check_rows, collapse, copies, read_part
from pipeline.dedup.rows import finish_rows
from pipeline.dedup.settings import DedupSettings
from pipeline.dedup.texts import TEXT, as_lists, choose_captions
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.steps import Packet, top_bits
from pipeline.engine.units import Source, Unit
from pipeline.hashes.columns import keys_of, read_table
from pipeline.records import FETCHED

OVERFLOWS = pa.schema(
    [
        pa.field("table", pa.uint8(), nullable=False),
        pa.field("number", pa.uint8(), nullable=False),
        pa.field("group", pa.uint64(), nullable=False),
    ]
)
"""A band crowded twice: table, number of the further band, key << 30 | its value."""


@dataclasses.dataclass(frozen=True)
class FindNodes:
    """Rows to nodes: each part sends a row per record, a bucket brings equal records together."""

    parts: tuple[str, ...]
    """Units of fetch; their places are the numbers of its parts."""
    buckets: int
    settings: DedupSettings

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Collapse a part and send its nodes by their keys."""
        for source in unit.sources:
            table = read_part(source.path, COLUMNS, self.settings.prefer)
            check_rows(table, source.name, self.settings)
            batch = copies(table, self.parts.index(unit.id), self.settings)
            yield Packet("copy", top_bits(batch["node_key"], self.buckets), batch)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Name the best row of each node, and the nodes to compare."""
        _ = bucket
        table = tables["copy"]
        sink.note("hash_versions", sorted(set(table["hash_version"].to_pylist())))
        members, nodes = collapse(table)
        flat = int(np.count_nonzero(nodes["flags"].to_numpy() & FLAT))
        sink.note("flats", flat)
        sink.note("probes", 2 * nodes.num_rows - nodes["trim"].null_count - flat)
        sink.write(members, "members")
        sink.write(nodes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FindEdges:
    """Nodes to edges: each node sends its probes under their shared keys, a bucket compares them.

    One pass has the keys of some of the tables, or of a part of one.
    """

    parts: tuple[str, ...]
    """Units of `dedup-nodes`."""
    buckets: int
    """Of all passes together."""
    number: int
    passes: int
    bands: Bands
    settings: DedupSettings
    shared: str
    """Where the rows of `SHARED` are."""
    flats: bool
    skipped: tuple[tuple[int, int], ...]

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Send each probe of a part's nodes once for each of its shared keys."""
        home = self.parts.index(unit.id) if unit.id in self.parts else -1
        chosen = pass_tables(self.bands.tables, self.number, self.passes)
        per_pass = self.buckets // self.passes
        for source in unit.sources:
            for nodes in read_nodes(source.path, source.role):
                probes = node_probes(nodes, self.bands, flats=self.flats)
                emitted = without(probes.keys, probes.emitted, self.skipped)
                wanted = np.zeros_like(emitted)
                for table in range(*chosen.indices(self.bands.tables)):
                    rows = np.flatnonzero(emitted[:, table])
                    bits = shared_bits(self.shared)[table]
                    slots = slots_of(probes.keys[rows, table], len(bits).bit_length() + 2)
                    wanted[rows[is_shared(bits, slots)], table] = True
                batch = probe_rows(nodes, probes, wanted, home)
                bucket = band_buckets(batch["band"].to_numpy(), self.bands.tables, self.buckets)
                bucket -= self.number * per_pass
                inside = (bucket >= 0) & (bucket < per_pass)
                if not inside.all():
                    batch, bucket = batch.filter(pa.array(inside)), bucket[inside]
                yield Packet("probe", bucket, batch)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Write the edges among the probes of a bucket."""
        _ = bucket
        rows = tables["probe"].combine_chunks()
        counts = Counts()
        band = rows["band"].to_numpy()
        for start, size in zip(
            *(each.tolist() for each in runs(band >> np.uint64(32))), strict=True
        ):
            table = int(band[start]) >> 32
            mine = rows.slice(start, size)
            keys = (band[start : start + size] & np.uint64(0xFFFFFFFF)).astype(np.uint32)
            before = len(counts.overflows)
            found = match(self.bands, table, keys, as_probes(mine), self.settings.nearness, counts)
            write_edges(mine, found, sink)
            _write_overflows(table, counts.overflows[before:], sink)
        for name, count in vars(counts).items():
            if name != "overflows":
                sink.note(name, count)


def _write_overflows(
    table: int, overflows: Sequence[tuple[int, NDArray[np.uint64]]], sink: Sink
) -> None:
    for number, groups in overflows:
        columns = [np.full(len(groups), value, np.uint8) for value in (table, number)]
        arrays = [pa.array(column) for column in (*columns, groups)]
        sink.write(pa.RecordBatch.from_arrays(arrays, schema=OVERFLOWS), "overflows")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinishRows:
    """Decisions to rows: parts of nodes tell each part of fetch, which is a bucket, what goes."""

    parts: tuple[str, ...]
    """Units of `dedup-nodes`."""
    fetched: tuple[str, ...]
    """Where the parts of fetch are."""
    gone: str
    """Where the rows of `GONE` are."""
    hits: tuple[str, ...]
    """Where the rows of `HITS` of each part of nodes are; empty if nothing was screened."""
    settings: DedupSettings

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Send what a part of nodes decides, and what its duplicates leave."""
        for source in unit.sources:
            if source.role != "members":
                yield from _captions(source)
                continue
            home = self.parts.index(unit.id)
            gone = read_gone(self.gone, home)
            hits = read_table(self.hits[home]) if self.hits else None
            for batch in read_batches(source.path):
                members = pa.Table.from_batches([batch])
                for tag, sent in decide(members, gone, hits, self.settings).items():
                    yield Packet(tag, sent.units, sent.batch)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Split a part of fetch into rows that stay and rows that go."""
        rows = read_part(self.fetched[bucket], FETCHED.names).sort_by("pair_id")
        sink.rows_in(rows.num_rows)
        outcome = finish_rows(rows, tables, sink.stage, self.settings)
        sink.note("duplicates", sum(outcome.kept["duplicates"].to_pylist()))
        sink.note("named", outcome.dropped["generation"].to_pylist().count(NEW))
        sink.drop(outcome.ledger)
        sink.write(outcome.dropped, "dropped")
        sink.write(outcome.kept)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChooseCaptions:
    """Texts of an image to the pairs that stay for them (policy `image_k`)."""

    parts: tuple[str, ...]
    """Units of `dedup-nodes`."""
    gone: str
    hits: tuple[str, ...]
    buckets: int
    most: int
    """Pairs that an image keeps."""

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Send the texts of each image of more than one row."""
        home = self.parts.index(unit.id)
        gone = read_gone(self.gone, home)
        hits = read_table(self.hits[home]) if self.hits else None
        shared = np.unique(keys_of(read_table(self.gone)["kept_id"]))
        for source in unit.sources:
            rows = cluster_rows(read_table(source.path), gone, hits, shared)
            yield Packet("cluster", top_bits(rows["kept_id"], self.buckets), rows)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Choose the best texts of each image."""
        _ = bucket
        captions, staying = choose_captions(tables["cluster"], self.most)
        sink.write(captions)
        sink.write(staying, "staying")


def _captions(source: Source) -> Iterable[Packet]:
    """Send pairs that stay to the parts that have them, and take them from those that go."""
    for batch in read_batches(source.path):
        if source.role == "part":
            yield Packet("caption", batch["unit"].to_numpy().astype(np.int64), batch)
            continue
        none = as_lists(np.zeros(0, np.int64), pa.array([], TEXT), batch.num_rows)
        columns = [batch["kept_id"], pc.negate(batch["rows"]), none]
        left = pa.RecordBatch.from_arrays(columns, schema=LEFT)
        yield Packet("left", batch["kept_unit"].to_numpy().astype(np.int64), left)
