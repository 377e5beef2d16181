"""The steps in the middle of stage dedup: nodes to those that go, by comparing some of them."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from filters.hashes.bands import Bands
from manifests.base.console import say
from manifests.base.errors import OpenwitError, RefusedError
from pipeline.dedup.clusters import EDGES, GONE, Recheck, SelectNodes
from pipeline.dedup.forecast import SAMPLE_ROWS, Forecast, forecast, pass_count, refusals
from pipeline.dedup.kernels import OVERFLOWS, FindEdges
from pipeline.dedup.keys import PROBE_BYTES, PROBES, SHARED, FindShared
from pipeline.dedup.nodes import NODES
from pipeline.dedup.settings import DedupSettings
from pipeline.engine.context import Engine
from pipeline.engine.parts import read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapKernel, MapStep, ShuffleKernel, ShuffleStep, bucket_count
from pipeline.engine.units import Source, Unit, canonical_json, inputs_of
from pipeline.hashes.files import HashFile

STAGE = "dedup"
VERSION = 3
RECHECKS = 3
_SORT_KEYS = {"probe": ["band", "rank", "flags"]}


def choose(
    engine: Engine,
    settings: DedupSettings,
    nodes: StageRecord,
    screened: StageRecord,
    published: Sequence[HashFile],
) -> tuple[StageRecord, int]:
    """Return the step that names the nodes that go, and how many hashes were not compared in full.

    Args:
        engine: runs the steps.
        settings: the section `dedup`.
        nodes: the step that counted probes.
        screened: the nodes that are compared.
        published: hash files whose images come before all others.

    Raises:
        RefusedError: if comparing would cost too much.
        OpenwitError: if there are more edges than one worker may hold.
    """
    if settings.preset == "coyo":  # equal nodes are equal already
        return _selected(engine, settings, []), 0
    units = [*screened.next_units("part"), *map(_store_unit, published)]
    hashes = sum(file.rows for file in published)
    flats = sum(unit.notes["flats"] for unit in nodes.units) if published else 0
    probes = sum(unit.notes["probes"] for unit in nodes.units) + flats + hashes
    bands = settings.bands(nodes.rows_out + hashes)
    predicted = _predicted(screened, bands, settings)
    problems = list(refusals(predicted, probes, nodes.rows_out, bands, settings))
    if problems:
        raise RefusedError("\n".join(problems))
    compare = _Compare(engine, settings, screened, units, bands, bool(published), predicted.heavy)
    edges = compare.edges(probes)
    return compare.rechecked(edges, _selected(engine, settings, edges))


@dataclasses.dataclass(frozen=True)
class _Compare:
    """The steps that find edges."""

    engine: Engine
    settings: DedupSettings
    screened: StageRecord
    units: Sequence[Unit]
    bands: Bands
    flats: bool
    skipped: tuple[tuple[int, int], ...]

    def edges(self, probes: int) -> list[StageRecord]:
        """Compare in as many passes as the memory of one process asks for."""
        common: dict[str, Any] = {
            "bands": self.bands,
            "flats": self.flats,
            "skipped": self.skipped,
        }
        parameters = {**self.settings.of_edges(), "skipped": self.skipped, "probes": probes}
        shared = run_map(
            self.engine,
            "dedup-shared",
            [self.screened],
            [as_one(self.units)],
            parameters=parameters,
            outputs={"part": SHARED},
            kernel=FindShared(probes=probes, **common),
        )
        sent = sum(shared.units[0].notes["sent"])
        bucket_bytes = self.engine.bucket_bytes
        passes = pass_count(sent, bucket_bytes)
        buckets = max(passes, bucket_count(sent, PROBE_BYTES, bucket_bytes))
        return [
            run_shuffle(
                self.engine,
                f"dedup-edges-{number + 1}",
                [self.screened, shared],
                self.units,
                parameters={**parameters, "buckets": buckets, "passes": passes},
                outputs={"part": EDGES, "overflows": OVERFLOWS},
                kernel=FindEdges(
                    parts=ids_of(self.screened),
                    buckets=buckets,
                    number=number,
                    passes=passes,
                    settings=self.settings,
                    shared=shared.paths("part")[0],
                    **common,
                ),
                buckets=buckets // passes,
                sort_keys=_SORT_KEYS,
                schemas={"probe": PROBES},
            )
            for number in range(passes)
        ]

    def rechecked(
        self, edges: Sequence[StageRecord], selected: StageRecord
    ) -> tuple[StageRecord, int]:
        """Compare kept nodes of bands crowded twice until nothing new is found."""
        if not any(file.rows for step in edges for file in step.files("overflows")):
            return selected, 0
        rows = sum(unit.notes["overflow_rows"] for step in edges for unit in step.units)
        buckets = bucket_count(rows, PROBE_BYTES, self.engine.bucket_bytes)
        found, again = list(edges), edges[0]
        for number in range(1, RECHECKS + 1):
            again = run_shuffle(
                self.engine,
                f"dedup-recheck-{number}",
                [self.screened, selected, *edges],
                self.units,
                parameters={"recheck_max": self.settings.recheck_max, "buckets": buckets},
                outputs={"part": EDGES},
                kernel=Recheck(
                    parts=ids_of(self.screened),
                    overflows=tuple(path for step in edges for path in step.paths("overflows")),
                    gone=selected.paths("part")[0],
                    buckets=buckets,
                    bands=self.bands,
                    settings=self.settings,
                ),
                buckets=buckets,
                sort_keys=_SORT_KEYS,
                schemas={"probe": PROBES},
            )
            if not again.rows_out:
                break
            found.append(again)
            selected = _selected(self.engine, self.settings, found, number)
        return selected, self._unchecked(again)

    def _unchecked(self, again: StageRecord) -> int:
        rows, pairs = (
            sum(unit.notes[name] for unit in again.units)
            for name in ("unchecked_rows", "unchecked_pairs")
        )
        if rows:
            say(
                f"warning: dedup: {pairs} pairs not compared among {rows} kept hashes of bands "
                "that too many share: duplicates may stay; raise dedup.recheck_max to compare more"
            )
        if self.settings.preset == "exact" and (rows or again.rows_out):
            raise OpenwitError(
                f"dedup: {pairs} pairs of crowded bands were not compared: the preset exact "
                "compares all: raise dedup.max_bucket or dedup.recheck_max"
            )
        return rows


def _selected(
    engine: Engine, settings: DedupSettings, edges: Sequence[StageRecord], number: int = 0
) -> StageRecord:
    total = sum(step.rows_out for step in edges)
    if total > settings.local_edges:
        raise OpenwitError(
            f"dedup: {total} edges: one worker chooses among at most {settings.local_edges}: raise "
            "dedup.local_edges (100 bytes each) or lower dedup.threshold"
        )
    return run_map(
        engine,
        f"dedup-select-{number + 1}" if number else "dedup-select",
        edges,
        [as_one([unit for step in edges for unit in step.next_units("part")])],
        parameters={},
        outputs={"part": GONE},
        kernel=SelectNodes(),
    )


def _predicted(screened: StageRecord, bands: Bands, settings: DedupSettings) -> Forecast:
    """Read the nodes with the smallest keys: a sample that no order enters."""
    sample: list[pa.RecordBatch] = []
    left = SAMPLE_ROWS
    for path in screened.paths("part"):
        for batch in read_batches(path, NODES.names) if left > 0 else ():
            sample.append(batch.slice(0, max(0, left)))
            left -= batch.num_rows
    return forecast(sample, screened.rows_out, bands, settings)


def _store_unit(file: HashFile) -> Unit:
    name = f"hashes/{file.digest}"
    source = Source(
        role="store", path=file.path, name=name, bytes=0, sha256=file.digest, rows=file.rows
    )
    return Unit(id=f"store-{file.digest[:16]}", sources=(source,), step="hashes")


def as_one(units: Sequence[Unit]) -> Unit:
    """Return one unit for the files of many, named by their content."""
    sources = tuple(source for unit in units for source in unit.sources)
    unit = Unit(id="", sources=sources, step=units[0].step if units else STAGE)
    # Other inputs make another file.
    name = hashlib.sha256(canonical_json(inputs_of(unit))).hexdigest()[:16]
    return dataclasses.replace(unit, id=name)


def ids_of(record: StageRecord) -> tuple[str, ...]:
    """Return the units of a step; their places are the numbers of its parts."""
    return tuple(unit.unit for unit in record.units)


def run_map(
    engine: Engine,
    name: str,
    upstream: Sequence[StageRecord],
    units: Sequence[Unit],
    *,
    parameters: Mapping[str, Any],
    outputs: Mapping[str, pa.Schema],
    kernel: MapKernel,
) -> StageRecord:
    """Run a map step of the stage that counts no pairs."""
    step = MapStep(
        name=name,
        stage=STAGE,
        version=VERSION,
        parameters=parameters,
        outputs=outputs,
        accounts=False,
        kernel=kernel,
    )
    return engine.run(step, units, upstream)


def run_shuffle(
    engine: Engine,
    name: str,
    upstream: Sequence[StageRecord],
    units: Sequence[Unit],
    *,
    parameters: Mapping[str, Any],
    outputs: Mapping[str, pa.Schema],
    kernel: ShuffleKernel,
    buckets: int,
    sort_keys: Mapping[str, Sequence[str]],
    schemas: Mapping[str, pa.Schema],
    accounts: bool = False,
) -> StageRecord:
    """Run a shuffle step of the stage."""
    step = ShuffleStep(
        name=name,
        stage=STAGE,
        version=VERSION,
        parameters=parameters,
        outputs=outputs,
        accounts=accounts,
        kernel=kernel,
        buckets=buckets,
        sort_keys=sort_keys,
        schemas=schemas,
    )
    return engine.run(step, units, upstream)
