"""Stage dedup: fetched pairs in, one pair per image out; the others name the pair that stays.

Three shuffles and one choosing worker. `dedup-nodes`, by node key: each part sends one row per
distinct hash record, so that exact copies meet their best row; its texts travel with it, which
saves a shuffle. `dedup-edges`, by band: hashes that share a key are compared. `dedup-select`: one
worker decides over all edges. `dedup`, by part of fetch: the parts of nodes tell each part of fetch
what goes, and bring what duplicates leave to the pair that stays; rows themselves do not move.
Unit of account: one fetched pair.

Who stays is the lexicographically first maximal independent set of the found edges in the order of
ranks: a function of the rows and settings alone, whatever the units, buckets or runner.
"""

import dataclasses
import hashlib

from filters.text.categories import unicode_version
from manifests.base.console import say
from manifests.base.errors import AccountingError, OpenwitError, RefusedError
from pipeline.dedup.clusters import EDGES, GONE
from pipeline.dedup.decisions import DECISIONS, LEFT
from pipeline.dedup.kernels import FindEdges, FindNodes, FinishRows, SelectNodes
from pipeline.dedup.keys import PROBE_BYTES, PROBES
from pipeline.dedup.nodes import COPIES, COPY_BYTES, MEMBERS, NODES
from pipeline.dedup.settings import DedupSettings
from pipeline.engine.context import Engine
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep, ShuffleStep, bucket_count
from pipeline.engine.units import Unit, canonical_json, inputs_of
from pipeline.records import DEDUPED

__all__ = ["DedupSettings", "run"]

STAGE = "dedup"
VERSION = 1


def run(engine: Engine, settings: DedupSettings, fetched: StageRecord) -> StageRecord:
    """Keep the best pair of each image.

    Args:
        engine: runs the steps.
        settings: the section `dedup`.
        fetched: pairs with images, with the columns of `FETCHED`.

    Raises:
        RefusedError: if the hashes are of more than one version.
        OpenwitError: if there are more edges than one worker may hold.
        AccountingError: if the sums do not match.
    """
    nodes = _nodes(engine, settings, fetched)
    versions = sorted({name for unit in nodes.units for name in unit.notes["hash_versions"]})
    if len(versions) > 1:
        raise RefusedError(
            f"dedup: hash versions {', '.join(versions)}: hashes of different Pillow versions do "
            "not compare: --force fetch makes them all with this one"
        )
    edges = _edges(engine, settings, nodes)
    if edges.rows_out > settings.local_edges:
        raise OpenwitError(
            f"dedup: {edges.rows_out} edges: one worker chooses among at most "
            f"{settings.local_edges}: raise dedup.local_edges (100 bytes each) or lower "
            "dedup.threshold"
        )
    _warn(edges)
    record = _finished(engine, settings, fetched, nodes, _selected(engine, edges))
    left, dropped = (
        sum(unit.notes["duplicates"] for unit in record.units),
        sum(record.drops.values()),
    )
    if left != dropped:
        raise AccountingError(
            f"dedup: {dropped} pairs dropped, but kept pairs stand for {left}: this is a fault of "
            "openwit, report it"
        )
    return record


def _nodes(engine: Engine, settings: DedupSettings, fetched: StageRecord) -> StageRecord:
    buckets = bucket_count(fetched.rows_out, COPY_BYTES, engine.bucket_bytes)
    # A kept pair's own text may be among those of its node: one more than it may take over.
    texts = settings.alternates_max + 1 if settings.alternates_max else 0
    step = ShuffleStep(
        name="dedup-nodes",
        stage=STAGE,
        version=VERSION,
        parameters={"texts": texts, "unicode": unicode_version(), "buckets": buckets},
        outputs={"part": NODES, "members": MEMBERS},
        accounts=False,
        kernel=FindNodes(_ids(fetched), buckets, texts),
        buckets=buckets,
        sort_keys={"copy": ["node_key", "rank"]},
        schemas={"copy": COPIES},
    )
    return engine.run(step, fetched.next_units("part"), [fetched])


def _edges(engine: Engine, settings: DedupSettings, nodes: StageRecord) -> StageRecord:
    probes = sum(unit.notes["probes"] for unit in nodes.units)
    buckets = bucket_count(probes * settings.tables, PROBE_BYTES, engine.bucket_bytes)
    step = ShuffleStep(
        name="dedup-edges",
        stage=STAGE,
        version=VERSION,
        parameters={**settings.of_edges(), "buckets": buckets},
        outputs={"part": EDGES},
        accounts=False,
        kernel=FindEdges(_ids(nodes), buckets, settings),
        buckets=buckets,
        sort_keys={"probe": ["band", "rank", "flags"]},
        schemas={"probe": PROBES},
    )
    return engine.run(step, nodes.next_units("part"), [nodes])


def _selected(engine: Engine, edges: StageRecord) -> StageRecord:
    step = MapStep(
        name="dedup-select",
        stage=STAGE,
        version=VERSION,
        parameters={},
        outputs={"part": GONE},
        accounts=False,
        kernel=SelectNodes(),
    )
    sources = tuple(source for unit in edges.next_units("part") for source in unit.sources)
    unit = Unit(id="", sources=sources, step=edges.step)
    # One unit for all parts, named by their content: other inputs make another file.
    name = hashlib.sha256(canonical_json(inputs_of(unit))).hexdigest()[:16]
    return engine.run(step, [dataclasses.replace(unit, id=name)], [edges])


def _finished(
    engine: Engine,
    settings: DedupSettings,
    fetched: StageRecord,
    nodes: StageRecord,
    selected: StageRecord,
) -> StageRecord:
    paths = tuple(fetched.paths("part"))
    step = ShuffleStep(
        name=STAGE,
        stage=STAGE,
        version=VERSION,
        parameters={"alternates_max": settings.alternates_max, "unicode": unicode_version()},
        outputs={"part": DEDUPED},
        kernel=FinishRows(_ids(nodes), paths, selected.paths("part")[0], settings.alternates_max),
        buckets=len(paths),
        sort_keys={"decision": ["node_key"], "left": ["kept_id", "rows"]},
        schemas={"decision": DECISIONS, "left": LEFT},
    )
    return engine.run(step, nodes.next_units("members"), [nodes, selected])


def _warn(edges: StageRecord) -> None:
    pairs = sum(unit.notes["overflow_pairs"] for unit in edges.units)
    if pairs:
        rows = sum(unit.notes["overflow_rows"] for unit in edges.units)
        say(
            f"warning: dedup-edges: {pairs} pairs not compared among {rows} hashes of bands that "
            "too many share: duplicates may stay; raise dedup.max_bucket to compare more"
        )


def _ids(record: StageRecord) -> tuple[str, ...]:
    """Return the units of a step; their places are the numbers of its parts."""
    return tuple(unit.unit for unit in record.units)
