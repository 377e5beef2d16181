"""Stage dedup: fetched pairs in, one pair per image out; the others name the pair that stays.

`dedup-nodes`, a shuffle by node key: each part sends one row per distinct hash record, so that
exact copies meet their best row. `dedup-screen`: nodes that show an image of an evaluation set or
block list leave. `dedup-shared` finds the keys that two nodes share, `dedup-edges-<n>`, shuffles by
key, each over a range of the tables, compare those that do. `dedup-select`: one worker decides over
all edges; `dedup-recheck-<n>` compares kept nodes of bands that were too crowded, and selects
again. `dedup`, a shuffle by part of fetch: the parts of nodes tell each part of fetch what goes;
rows themselves do not move. `dedup-audit` measures what was missed. Unit of account: one pair.

Who stays is the lexicographically first maximal independent set of the found edges in the order of
ranks: a function of the rows and settings alone, whatever the units, buckets, passes or runner.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from filters.text.categories import unicode_version
from manifests.base.console import say
from manifests.base.errors import AccountingError, OpenwitError, RefusedError
from pipeline.dedup.audit import MISSED, Audit
from pipeline.dedup.compare import as_one, choose, ids_of, run_map, run_shuffle
from pipeline.dedup.decisions import DECISIONS, FLAGGED, LEFT
from pipeline.dedup.kernels import ChooseCaptions, FindNodes, FinishRows
from pipeline.dedup.nodes import COPIES, COPY_BYTES, MEMBERS, NODES
from pipeline.dedup.rows import DROPPED
from pipeline.dedup.screen import HITS, ScreenNodes
from pipeline.dedup.settings import DedupSettings
from pipeline.dedup.texts import CAPTIONS, CLUSTERS, STAYING
from pipeline.engine.context import Engine
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import bucket_count
from pipeline.hashes.files import HashFile, describe
from pipeline.records import DEDUPED

__all__ = ["DedupSettings", "run"]

MAX_FIXED_PROBES = 4_000_000
"""Of evaluation sets and block lists, about 250 bytes each in every process; provisional."""


def run(engine: Engine, settings: DedupSettings, fetched: StageRecord) -> StageRecord:
    """Keep the best pair of each image.

    Args:
        engine: runs the steps.
        settings: the section `dedup`, its paths absolute.
        fetched: pairs with images, with the columns of `FETCHED`.

    Raises:
        RefusedError: if the hashes are of more than one version, a hash file is not one, or
            comparing would cost too much.
        OpenwitError: if there are more edges than one worker may hold, or bands too crowded.
        AccountingError: if the sums do not match.
    """
    published = [_described("published", path) for path in settings.against]
    fixed = [_described(kind, path) for kind, path in settings.fixed_sets]
    nodes = _nodes(engine, settings, fetched)
    _check_versions(nodes, [*published, *fixed], settings)
    screened = _screened(engine, settings, nodes, fixed) if fixed else nodes
    hits = tuple(screened.paths("hits"))
    selected, unchecked = choose(engine, settings, nodes, screened, published)
    record = _finished(engine, settings, fetched, nodes, selected, hits)
    _check_sums(record, unchecked, settings)
    if settings.audit_sample or settings.audit_pairs:
        _audit(engine, settings, record)
    return record


def _nodes(engine: Engine, settings: DedupSettings, fetched: StageRecord) -> StageRecord:
    buckets = bucket_count(fetched.rows_out, COPY_BYTES, engine.bucket_bytes)
    return run_shuffle(
        engine,
        "dedup-nodes",
        [fetched],
        fetched.next_units("part"),
        parameters={
            "texts": settings.node_texts,
            "unicode": unicode_version(),
            "buckets": buckets,
            **{name: getattr(settings, name) for name in ("preset", "text", "prefer")},
        },
        outputs={"part": NODES, "members": MEMBERS},
        kernel=FindNodes(ids_of(fetched), buckets, settings),
        buckets=buckets,
        sort_keys={"copy": ["node_key", "rank"]},
        schemas={"copy": COPIES},
    )


def _check_versions(nodes: StageRecord, files: Sequence[HashFile], settings: DedupSettings) -> None:
    found = {name for unit in nodes.units for name in unit.notes["hash_versions"]}
    found |= {file.hash_version for file in files}
    if len(found) > 1 and not settings.allow_mixed_hash:
        raise RefusedError(
            f"dedup: hash versions {', '.join(sorted(found))}: hashes of different Pillow versions "
            "do not compare: --force fetch makes them all with this one, or set "
            "dedup.allow_mixed_hash"
        )


def _screened(
    engine: Engine, settings: DedupSettings, nodes: StageRecord, fixed: Sequence[HashFile]
) -> StageRecord:
    probes = sum(file.rows for file in fixed)
    if probes > MAX_FIXED_PROBES:
        raise RefusedError(
            f"dedup: {probes} hashes of evaluation sets and block lists, at most "
            f"{MAX_FIXED_PROBES} (250 bytes each in every process): give fewer files"
        )
    inner = dataclasses.asdict(settings.decontaminate)
    return run_map(
        engine,
        "dedup-screen",
        [nodes],
        nodes.next_units("part"),
        parameters={
            **{name: value for name, value in inner.items() if name != "eval"},
            **dataclasses.asdict(settings.nearness),
            "sets": [file.digest for file in fixed],
            "nodes": nodes.rows_out,
        },
        outputs={"part": NODES, "hits": HITS},
        kernel=ScreenNodes(settings, nodes.rows_out),
    )


def _captions(
    engine: Engine,
    settings: DedupSettings,
    nodes: StageRecord,
    selected: StageRecord,
    hits: tuple[str, ...],
) -> StageRecord:
    rows = sum(file.rows for file in nodes.files("members"))
    buckets = bucket_count(rows, COPY_BYTES, engine.bucket_bytes)
    return run_shuffle(
        engine,
        "dedup-captions",
        [nodes, selected],
        nodes.next_units("members"),
        parameters={"captions_k": settings.captions_k, "buckets": buckets},
        outputs={"part": CAPTIONS, "staying": STAYING},
        kernel=ChooseCaptions(
            parts=ids_of(nodes),
            gone=selected.paths("part")[0],
            hits=hits,
            buckets=buckets,
            most=settings.captions_k,
        ),
        buckets=buckets,
        sort_keys={"cluster": ["kept_id", "unit"]},
        schemas={"cluster": CLUSTERS},
    )


def _finished(
    engine: Engine,
    settings: DedupSettings,
    fetched: StageRecord,
    nodes: StageRecord,
    selected: StageRecord,
    hits: tuple[str, ...],
) -> StageRecord:
    paths = tuple(fetched.paths("part"))
    upstream, units = [nodes, selected], nodes.next_units("members")
    sort_keys = {"decision": ["node_key"], "left": ["kept_id", "rows"]}
    schemas = {"decision": DECISIONS, "left": LEFT}
    if hits:
        sort_keys["flag"], schemas["flag"] = ["pair_id", "hit"], FLAGGED
    if settings.text == "image_k":
        captions = _captions(engine, settings, nodes, selected, hits)
        upstream.append(captions)
        units += captions.next_units("part", "staying")
        sort_keys["caption"], schemas["caption"] = ["kept_id", "pair_id"], CAPTIONS
    return run_shuffle(
        engine,
        "dedup",
        upstream,
        units,
        parameters={
            "alternates_max": settings.alternates_max,
            "unicode": unicode_version(),
            "screened": bool(hits),
        },
        outputs={"part": DEDUPED, "dropped": DROPPED},
        accounts=True,
        kernel=FinishRows(
            parts=ids_of(nodes),
            fetched=paths,
            gone=selected.paths("part")[0],
            hits=hits,
            settings=settings,
        ),
        buckets=len(paths),
        sort_keys=sort_keys,
        schemas=schemas,
    )


def _check_sums(record: StageRecord, unchecked: int, settings: DedupSettings) -> None:
    left, dropped = (
        sum(unit.notes[name] for unit in record.units) for name in ("duplicates", "named")
    )
    if left != dropped:
        raise AccountingError(
            f"dedup: {dropped} pairs dropped, but kept pairs stand for {left}: this is a fault of "
            "openwit, report it"
        )
    most = settings.max_overflow * record.rows_out
    if settings.max_overflow < 1 and unchecked > most:
        raise OpenwitError(
            f"dedup: {unchecked} kept hashes of crowded bands not compared in full, at most "
            f"{most:.0f} of {record.rows_out} (dedup.max_overflow): raise dedup.recheck_max"
        )


def _audit(engine: Engine, settings: DedupSettings, record: StageRecord) -> None:
    audit = run_map(
        engine,
        "dedup-audit",
        [record],
        [as_one(record.next_units("part", "dropped"))],
        parameters={
            **settings.of_edges(),
            "sample": settings.audit_sample,
            "pairs": settings.audit_pairs,
        },
        outputs={"part": MISSED},
        kernel=Audit(settings),
    )
    notes: dict[str, Any] = dict(audit.units[0].notes)
    if notes["sample"]:
        share, low, high = (100 * each for each in notes["missed_share"])
        say(
            f"dedup-audit: {notes['rows_with_missed']} of {notes['sample']} kept pairs have a "
            f"near-duplicate left: {share:.2f} %, 95 % interval {low:.2f} to {high:.2f}"
        )


def _described(kind: str, path: str) -> HashFile:
    described = describe(path)
    if described.kind != kind:
        table = {"published": "against", "block": "block", "eval": "decontaminate.eval"}[kind]
        raise RefusedError(
            f"{path}: a hash file of the kind {described.kind}: dedup.{table} takes the kind "
            f"{kind}: make it with --kind {kind}"
        )
    return described
