"""The stages in their order: runs what is missing of a run, or says what that would be."""

import dataclasses
import functools
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from manifests.base.console import say
from manifests.base.errors import RefusedError
from manifests.format.manifest import load
from pipeline.config import LoadedConfig, data_settings
from pipeline.crawled import crawled_units, run_crawl
from pipeline.dataset.samples import DATASET
from pipeline.dataset.tables import funnel
from pipeline.engine import files
from pipeline.engine.context import Engine
from pipeline.engine.driver import open_driver
from pipeline.engine.options import worker_count
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.units import Unit
from pipeline.inputs import file_digests, input_base, input_units
from pipeline.plan import (
    STAGES,
    CommittedSteps,
    MissingStep,
    NotCommittedError,
    Plan,
    predict,
)
from pipeline.planning.pilot import Piloted
from pipeline.planning.plain import PlainEngine
from pipeline.planning.rates import Rate
from pipeline.planning.sample import take_sample
from pipeline.planning.standing import in_the_way, is_of, standing_dataset
from pipeline.query_list import RunList, find_list, list_bytes, prepare_list
from pipeline.selection.blocks import RunBlockList, find_block_lists, prepare_block_lists
from pipeline.selection.forecast import CapForecast, forecast_caps
from pipeline.sites import largest_sites
from pipeline.stages import balance, dedup, extract, fetch, match, preselect, shards

SHORT_SHOWN = 5
"""Queries that a warning names."""
PILOT_BYTES = 64 << 20
"""Before a run of fewer no sample is read: it is done sooner than it could be refused."""
SAMPLE_LIST_BYTES = 64 << 20
"""A query list of larger inputs is not built for a sample."""


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
    if loaded.settings.crawl.seeds and not only:
        if crawled_units(loaded) is None:  # what stands against the run needs no crawl to be seen
            make_plan(loaded, until=until, before_crawl=True).refuse()
        run_crawl(loaded, options=options)
    make_plan(loaded, until=until).refuse()
    settings = loaded.settings
    root = loaded.root
    with open_driver(root, settings.engine, options=options, force=force, only=only) as engine:
        units = _units(loaded)
        queries = prepare_list(
            loaded.queries,
            root,
            functools.partial(file_digests, root=root),
            workers=settings.engine.workers,
        )
        blocked = prepare_block_lists(loaded.blocklist, root)
        last = _last(walk(engine, loaded, queries, units, blocked), until)
        manifest = load(files.join(root, DATASET)) if last == "shards" else None
        return {
            "kind": "openwit-run",
            "ok": True,
            "funnel": funnel(engine.records) if manifest is None else manifest.funnel,
            "dataset": manifest and manifest.root,
            "digest": manifest and manifest.digest,
            "samples": manifest and manifest.samples,
        }


def make_plan(
    loaded: LoadedConfig, *, until: str = "", with_samples: bool = False, before_crawl: bool = False
) -> Plan:
    """Say what a run would do; nothing is written below ROOT.

    Args:
        loaded: the configuration.
        until: the last stage to plan; empty for all.
        with_samples: whether to look at samples: of the inputs for the first stages' rates, of what
            matched for what some caps would keep, and at the sites that would be asked.
        before_crawl: whether to plan without the archives of a crawl that is to come.

    Raises:
        RefusedError: if an input is missing.
    """
    _check_stage("--until", until)
    settings = loaded.settings
    root = loaded.root
    units = [] if before_crawl else _units(loaded, hashing=False)
    blocked = find_block_lists(loaded.blocklist, root)
    digest_of = functools.partial(file_digests, root=root, hashing=False)
    queries = find_list(loaded.queries, root, digest_of)
    engine = CommittedSteps(root, settings.engine.bucket_bytes)
    missing = None
    try:
        # Without its list no stage behind extract is there; and shards end in a dataset, which
        # must not be touched here.
        most = "extract" if queries is None else "balance"
        before = min(most, until or most, key=STAGES.index)
        _last(walk(engine, loaded, queries or _NO_LIST, units, blocked), before)
    except NotCommittedError as error:
        missing = error.missing
    wanted = STAGES[: STAGES.index(until or STAGES[-1]) + 1]
    standing = standing_dataset(loaded)
    is_new = missing is not None and missing.stage == "extract"
    large = sum(unit.input_bytes for unit in units) >= PILOT_BYTES
    piloted = units and is_new and (with_samples or large)
    mode = settings.engine.mode
    made = predict(
        wanted,
        engine.records,
        missing=missing,
        inputs=units,
        root=root,
        bucket_bytes=settings.engine.bucket_bytes,
        sampled=_sampled(loaded, queries, units, blocked) if piloted else None,
        workers=0 if mode == "memory" else worker_count(settings.engine),
        has_dataset=missing is None and is_of(standing, loaded, engine.records),
    )
    if with_samples and queries is not None:
        made = dataclasses.replace(
            made,
            caps=_forecast(loaded, queries, engine.records),
            **_web_forecast(loaded, engine.records, missing),
        )
    refusals = [*made.refusals, *_too_many_for_strict(made, settings.balance)]
    if "shards" in wanted and standing and not settings.shards.replace:
        refusals += in_the_way(standing, loaded, units)
    return dataclasses.replace(made, refusals=tuple(refusals))


def _sampled(
    loaded: LoadedConfig,
    queries: RunList | None,
    units: Sequence[Unit],
    blocked: Sequence[RunBlockList],
) -> dict[str, Rate]:
    """Return rates from a sample of the inputs that goes through `extract` and `match` here."""
    of_archives = loaded.settings.input.kind in ("warc", "wat")
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        sample = take_sample(units, folder, of_archives=of_archives)
        digest_of = functools.partial(file_digests, root=folder)
        if queries is None and list_bytes(loaded.queries) <= SAMPLE_LIST_BYTES:
            queries = prepare_list(loaded.queries, folder, digest_of, workers=1)
        engine = PlainEngine(folder, loaded.settings.engine.bucket_bytes)
        start = time.process_time()
        for stage in walk(engine, loaded, queries or _NO_LIST, sample.units, blocked):
            seconds[stage] = time.process_time() - start
            start = time.process_time()
            if stage == "match" or queries is None:
                break
        listed = (queries.path, queries.sha256) if queries else None
        return Piloted(
            records=engine.records,
            seconds=seconds,
            sample_bytes=sample.bytes,
            input_bytes=sum(unit.input_bytes for unit in units),
        ).rates(listed, loaded.select, loaded.settings.preselect)


def _too_many_for_strict(made: Plan, settings: balance.BalanceSettings) -> Iterator[str]:
    """Say that more pairs would reach the strict rule than it takes, before they are fetched."""
    for stage in made.stages:
        is_over = stage.stage == "balance" and stage.rows_in > settings.strict_max_pairs
        if settings.mode == "strict" and is_over:
            yield (
                f"balance.strict_max_pairs: about {stage.rows_in} pairs would reach balance, at "
                f"most {settings.strict_max_pairs} are taken: raise it, or use balance.mode = "
                "'exact'"
            )


def _units(loaded: LoadedConfig, *, hashing: bool = True) -> list[Unit]:
    """Return the units that read the run's input: its files, or what its crawl recorded."""
    settings = loaded.settings
    if settings.crawl.seeds:
        units = crawled_units(loaded)
        if units is None:
            raise RefusedError(
                "crawl: not finished, and its archives are the input: run openwit-pipeline crawl "
                f"{loaded.path} first"
            )
        return units
    return input_units(settings.input, loaded.folder, loaded.root, hashing=hashing)


def _base(loaded: LoadedConfig) -> str:
    """Return the folder or URI below which the archives lie."""
    settings = loaded.settings
    return loaded.root if settings.crawl.seeds else input_base(settings.input, loaded.folder)


def _forecast(
    loaded: LoadedConfig, queries: RunList, records: Sequence[StageRecord]
) -> tuple[CapForecast, ...]:
    matched = [record for record in records if record.step == "match"]
    listed = (queries.path, queries.sha256)
    if not matched:
        return ()
    widened = loaded.settings.preselect.widened(loaded.select)
    return tuple(forecast_caps(matched[0], *listed, loaded.select, widened))


def _web_forecast(
    loaded: LoadedConfig, records: Sequence[StageRecord], missing: MissingStep | None
) -> dict[str, Any]:
    """Return the fields `sites` and `notes` of a plan whose next stage asks hosts."""
    settings = loaded.settings
    if missing is None or missing.stage != "fetch" or not settings.fetch.needs_network:
        return {}
    chosen = [record for record in records if record.step == "preselect"]
    again = fetch.images_asked_again(loaded.root, settings.fetch, settings.consent)
    notes = (
        f"fetch: {again} pairs below {loaded.root} have images made under other settings of images "
        "or another Pillow: their hosts are asked again, for only images stored as they came "
        "(fetch.keep_original) are made anew from what is there",
    )
    return {
        "sites": largest_sites(chosen[0], settings.fetch) if chosen else (),
        "notes": notes if again else (),
    }


def walk(
    engine: Engine,
    loaded: LoadedConfig,
    queries: RunList,
    units: Sequence[Unit],
    blocked: Sequence[RunBlockList],
) -> Iterator[str]:
    """Run one stage after the other; yield the name of each once it is committed."""
    settings = loaded.settings
    listed = (queries.path, queries.sha256)
    extracted = extract.run(
        engine,
        settings.extract,
        settings.input,
        content_usage_keys=settings.consent.content_usage_keys,
        list_entity_passes=settings.text.entity_passes,
        archive_wanted=settings.fetch.source != "web",
        units=units,
    )
    yield "extract"
    matched = match.run(
        engine,
        loaded.text,
        settings.match,
        *listed,
        extracted,
        blocked=blocked,
        list_digest=queries.digest,
    )
    yield "match"
    chosen = preselect.run(engine, loaded.select, settings.preselect, *listed, matched)
    yield "preselect"
    fetched = _fetched(engine, loaded, chosen.pairs, extracted, blocked)
    yield "fetch"
    deduped = dedup.run(engine, loaded.dedup, fetched)
    yield "dedup"
    balanced = balance.run(
        engine, settings.balance, queries.sha256, deduped, chosen, blocked=blocked
    )
    _warn_of_short(balanced.short)
    if not balanced.pairs.rows_in:
        say("warning: balance: no pair survived the stages before: the dataset will be empty")
    yield "balance"
    shards.run(
        engine,
        settings.shards,
        settings.dataset,
        deduped=deduped,
        selected=balanced.pairs,
        query_counts=balanced.queries,
        list_path=queries.path,
        list_sha256=queries.sha256,
        list_digest=queries.digest,
        cap=balanced.cap,
        history=engine.records,
        inputs=[source for unit in units for source in unit.sources],
        input_kind=settings.input.kind,
        config=data_settings(settings),
    )
    yield "shards"


def _fetched(
    engine: Engine,
    loaded: LoadedConfig,
    pairs: StageRecord,
    extracted: StageRecord,
    blocked: Sequence[RunBlockList],
) -> StageRecord:
    settings = loaded.settings
    return fetch.run(
        engine,
        loaded.fetch,
        settings.consent,
        _base(loaded),
        pairs,
        extracted,
        of_shards=settings.input.kind == "img2dataset",
        blocked=blocked,
    )


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
