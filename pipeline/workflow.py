"""The stages in their order: runs what is missing of a run, or says what that would be."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from manifests.base.console import say
from manifests.base.errors import RefusedError
from manifests.format.manifest import load
from manifests.format.naming import ROOT_NAME
from manifests.format.records import compact_json
from pipeline.config import LoadedConfig, data_settings
from pipeline.dataset.samples import DATASET
from pipeline.dataset.tables import funnel
from pipeline.engine import files
from pipeline.engine.context import Engine
from pipeline.engine.driver import open_driver
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.units import Unit
from pipeline.inputs import file_digests, input_base, input_units
from pipeline.plan import STAGES, CommittedSteps, NotCommittedError, Plan, predict
from pipeline.query_list import RunList, find_list, prepare_list
from pipeline.stages import balance, dedup, extract, fetch, match, preselect, shards

SHORT_SHOWN = 5
"""Queries that a warning names."""


def run_stages(
    loaded: LoadedConfig,
    *,
    options: Mapping[str, Any] | None = None,
    until: str = "",
    force: str = "",
    only: str = "",
) -> dict[str, Any]:
    """Run the stages that are not done.

    Args:
        loaded: the configuration.
        options: further Beam options.
        until: the last stage to run; empty for all.
        force: a stage to do again from its start.
        only: the one stage that may have work to do; those before it must be committed.

    Returns:
        JSON values: the `funnel` of the stages so far and, after the last one, where the `dataset`
        is, its `digest` and number of `samples`; null before.

    Raises:
        RefusedError: before any work, if an input is missing, or the plan cannot be carried out.
        OpenwitError: if a stage could not be finished.
    """
    _check_stage("--force", force)
    make_plan(loaded, until=until).refuse()
    settings = loaded.settings
    root = loaded.root
    with open_driver(root, settings.engine, options=options, force=force, only=only) as engine:
        units = input_units(settings.input, loaded.folder, root)
        queries = prepare_list(
            loaded.queries,
            root,
            functools.partial(file_digests, root=root),
            workers=settings.engine.workers,
        )
        last = _last(walk(engine, loaded, queries, units), until)
        manifest = load(files.join(root, DATASET)) if last == "shards" else None
        return {
            "kind": "openwit-run",
            "ok": True,
            "funnel": funnel(engine.records) if manifest is None else manifest.funnel,
            "dataset": manifest and manifest.root,
            "digest": manifest and manifest.digest,
            "samples": manifest and manifest.samples,
        }


def make_plan(loaded: LoadedConfig, *, until: str = "") -> Plan:
    """Say what a run would do; nothing is written, and nothing is read of an input but its size.

    Raises:
        RefusedError: if an input is missing.
    """
    _check_stage("--until", until)
    settings = loaded.settings
    root = loaded.root
    units = input_units(settings.input, loaded.folder, root, hashing=False)
    digest_of = functools.partial(file_digests, root=root, hashing=False)
    queries = find_list(loaded.queries, root, digest_of)
    engine = CommittedSteps(root, settings.engine.bucket_bytes)
    missing = None
    try:
        # Without its list no stage behind extract is there; and shards end in a dataset, which
        # must not be touched here.
        most = "extract" if queries is None else "balance"
        before = min(most, until or most, key=STAGES.index)
        _last(walk(engine, loaded, queries or _NO_LIST, units), before)
    except NotCommittedError as error:
        missing = error.missing
    return predict(
        STAGES[: STAGES.index(until or STAGES[-1]) + 1],
        engine.records,
        missing=missing,
        inputs=units,
        root=root,
        has_dataset=missing is None and _has_dataset(loaded, engine.records),
    )


def walk(
    engine: Engine, loaded: LoadedConfig, queries: RunList, units: Sequence[Unit]
) -> Iterator[str]:
    """Run one stage after the other; yield the name of each once it is committed."""
    settings = loaded.settings
    listed = (queries.path, queries.sha256)
    extracted = extract.run(
        engine,
        settings.extract,
        content_usage_keys=settings.consent.content_usage_keys,
        archive_wanted=settings.fetch.source == "archive",
        units=units,
    )
    yield "extract"
    matched = match.run(engine, settings.text, settings.match, *listed, extracted)
    yield "match"
    chosen = preselect.run(engine, settings.select, settings.preselect, *listed, matched)
    yield "preselect"
    base = input_base(settings.input, loaded.folder)
    fetched = fetch.run(engine, settings.fetch, settings.consent, base, chosen.pairs, extracted)
    yield "fetch"
    deduped = dedup.run(engine, settings.dedup, fetched)
    yield "dedup"
    balanced = balance.run(engine, settings.select, settings.balance, *listed, deduped, chosen)
    _warn_of_short(balanced.short)
    yield "balance"
    shards.run(
        engine,
        settings.shards,
        settings.dataset,
        selected=balanced.pairs,
        query_counts=balanced.queries,
        list_path=queries.path,
        list_sha256=queries.sha256,
        list_digest=queries.digest,
        cap=settings.select.cap,
        history=engine.records,
        inputs=[source for unit in units for source in unit.sources],
        input_kind=settings.input.kind,
        config=data_settings(settings),
    )
    yield "shards"


def _has_dataset(loaded: LoadedConfig, records: Sequence[StageRecord]) -> bool:
    """Tell whether ROOT's dataset is of these settings, and kept and dropped the same rows."""
    folder = files.join(loaded.root, DATASET)
    if files.size_bytes(files.join(folder, ROOT_NAME)) is None:
        return False
    manifest = load(folder)
    config = json.loads(compact_json(data_settings(loaded.settings)))
    return manifest.config == config and list(manifest.funnel or ())[:-1] == funnel(records)


_NO_LIST = RunList(path="", sha256="", digest="")


def _last(stages: Iterator[str], until: str) -> str:
    """Run stages up to and with `until`, or all, and return the last one's name."""
    name = ""
    for name in stages:
        if name == until:
            break
    return name


def _check_stage(option: str, name: str) -> None:
    if name and name not in STAGES:
        raise RefusedError(f"{option} {name}: not a stage: known are {', '.join(STAGES)}")


def _warn_of_short(short: Sequence[int]) -> None:
    if short:
        ids = ", ".join(map(str, short[:SHORT_SHOWN]))
        say(
            f"warning: balance: {len(short)} queries, ids {ids} among them, have fewer pairs left "
            "than the cap though more matched: lower preselect.expected_yield"
        )
