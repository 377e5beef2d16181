"""Stage fetch: pairs to stored images, one row a pair, from the archives or from their hosts."""

import dataclasses
import importlib.metadata
from collections.abc import Sequence
from typing import Any

import PIL
from PIL import features

from filters.consent.decision import ConsentSettings
from filters.hashes.perceptual import self_test
from manifests.base.config import to_tables
from manifests.base.errors import AccountingError, ConfigError, RefusedError
from pipeline.engine.context import Engine
from pipeline.engine.stage_dir import StageRecord, folder_of, spec_digest
from pipeline.engine.steps import MapStep, ShuffleStep, bucket_count
from pipeline.engine.units import Unit
from pipeline.fetch.collect import CollectKernel
from pipeline.fetch.img2dataset.collect import ShardsKernel
from pipeline.fetch.img2dataset.downloader import check_installed
from pipeline.fetch.journal import forget_journals
from pipeline.fetch.locate import LOCATED, PENDING, RECORDS, STAGE, LocateKernel
from pipeline.fetch.outcomes import HOSTS, LAST, LOST, OUTCOMES, WAITING, SettleKernel
from pipeline.fetch.reuse import Fetched, round_key
from pipeline.fetch.settings import IMAGE_KEYS, WEB_KEYS, FetchSettings
from pipeline.fetch.web import WebKernel
from pipeline.records import FETCHED, MATCHED
from pipeline.selection.blocks import BlockedBodies, RunBlockList, at_place

__all__ = ["FetchSettings", "run"]

VERSION = 2
ROW_BYTES = 8_192
"""What a pair counts for when buckets of the web are cut; in a worker it takes about 6 kB."""


def run(
    engine: Engine,
    settings: FetchSettings,
    consent: ConsentSettings,
    base: str,
    pairs: StageRecord,
    extracted: StageRecord,
    *,
    of_shards: bool = False,
    blocked: Sequence[RunBlockList] = (),
) -> StageRecord:
    """Find or ask for the image of each pair, and store it.

    Args:
        engine: runs the steps.
        settings: the section `fetch`.
        consent: which opt-outs are obeyed.
        base: the folder or URI below which the input archives lie; not part of any digest.
        pairs: the step whose parts hold `MATCHED` rows.
        extracted: the step whose files of the role `images` index the archives.
        of_shards: whether the pairs are those of finished shards of img2dataset, which hold the
            images, too.
        blocked: block lists of the run; those of `fetch` are asked with each body.

    Raises:
        ConfigError: if hosts would be asked without `fetch.contact`.
        RefusedError: if this Pillow makes hashes that no known version makes.
        AccountingError: if the hops, or the rounds, do not settle each pair once.
    """
    if settings.needs_network and not settings.contact:
        raise ConfigError(
            f'fetch.contact: not set, and fetch.source = "{settings.source}" asks hosts: give a '
            "URL or an e-mail address by which they reach you"
        )
    if settings.needs_network and settings.engine == "img2dataset":
        check_installed()
    libraries = _libraries()
    bodies = BlockedBodies(at_place(blocked, "fetch"))
    if of_shards:
        return _take_shards(engine, settings, base, pairs, libraries, bodies)
    waiting, steps = pairs.next_units("part"), [pairs]
    located: list[StageRecord] = []
    collected = None
    if settings.source != "web":
        located = _locate_all(engine, settings, consent, pairs, extracted)
        collected = _collect(engine, settings, base, located, libraries, bodies)
        if settings.source == "archive":
            return collected
        waiting = [unit for each in located for unit in each.next_units("missing")]
        steps = located
    rounds = _ask_all(engine, settings, consent, waiting, steps, libraries, bodies)
    return _settle(engine, pairs, located, collected, rounds)


def _take_shards(
    engine: Engine,
    settings: FetchSettings,
    base: str,
    pairs: StageRecord,
    libraries: dict[str, str | None],
    blocked: BlockedBodies,
) -> StageRecord:
    """Take the images of pairs out of the shards that they were read from."""
    buckets = bucket_count(pairs.rows_out, 1, settings.unit_rows)
    step = ShuffleStep(
        name=STAGE,
        stage=STAGE,
        version=VERSION,
        parameters={
            "fetch": _chosen(settings, IMAGE_KEYS),
            "unit_rows": settings.unit_rows,
            "libraries": libraries,
            "blocked": blocked.parameters,
            "source": "img2dataset",
        },
        outputs={"part": FETCHED},
        content_names=True,
        kernel=ShardsKernel(buckets=buckets, settings=settings, base=base, blocked=blocked),
        buckets=buckets,
        sort_keys={"pair": ["source_file", "source_offset", "pair_id"]},
        schemas={"pair": MATCHED},
    )
    return engine.run(step, pairs.next_units("part"), [pairs])


def _locate_all(
    engine: Engine,
    settings: FetchSettings,
    consent: ConsentSettings,
    pairs: StageRecord,
    extracted: StageRecord,
) -> list[StageRecord]:
    """Let pairs meet the records of the archives, hop by hop, until none waits."""
    located = [_locate(engine, settings, consent, pairs, pairs.next_units("part"), extracted)]
    while any(file.rows for file in located[-1].files("pending")):
        units = located[-1].next_units("pending")
        located.append(
            _locate(engine, settings, consent, located[-1], units, extracted, len(located) + 1)
        )
    settled = sum(record.rows_in + _rows(record, "missing") for record in located)
    _check("fetch-locate", settled, pairs.rows_out, f"{len(located)} hops")
    return located


def _collect(
    engine: Engine,
    settings: FetchSettings,
    base: str,
    located: Sequence[StageRecord],
    libraries: dict[str, str | None],
    blocked: BlockedBodies,
) -> StageRecord:
    """Read the records that were found; under `archive` this is the stage's last step."""
    step = MapStep(
        name=STAGE if settings.source == "archive" else f"{STAGE}-archive",
        stage=STAGE,
        version=VERSION,
        parameters={
            "fetch": _chosen(settings, IMAGE_KEYS),
            "libraries": libraries,
            "blocked": blocked.parameters,
        },
        outputs={"part": FETCHED},
        content_names=True,
        kernel=CollectKernel(settings=settings, base=base, blocked=blocked),
    )
    return engine.run(step, [unit for each in located for unit in each.next_units("part")], located)


def _locate(
    engine: Engine,
    settings: FetchSettings,
    consent: ConsentSettings,
    waiting: StageRecord,
    units: list[Unit],
    extracted: StageRecord,
    hop: int = 1,
) -> StageRecord:
    """Run one hop: the pairs of `units`, files of `waiting`, meet the records of all archives."""
    rows = sum(source.rows for unit in units for source in unit.sources)
    buckets = bucket_count(rows, 1, settings.unit_rows)
    keeps_missing = settings.source == "auto"
    step = ShuffleStep(
        name=f"{STAGE}-locate" if hop == 1 else f"{STAGE}-locate-{hop}",
        stage=STAGE,
        version=VERSION,
        parameters={
            "unit_rows": settings.unit_rows,
            "consent": to_tables(consent),
            "source": settings.source,
            "libraries": {"ada-url": importlib.metadata.version("ada-url")},
        },
        outputs={"part": LOCATED, "pending": PENDING}
        | ({"missing": MATCHED} if keeps_missing else {}),
        kernel=LocateKernel(buckets=buckets, consent=consent, keeps_missing=keeps_missing),
        buckets=buckets,
        sort_keys={"pair": ["target", "pair_id"], "image": ["url", "source_file", "offset"]},
        schemas={"pair": PENDING, "image": RECORDS},
    )
    return engine.run(step, [*units, *extracted.next_units("images")], [waiting, extracted])


def _ask_all(
    engine: Engine,
    settings: FetchSettings,
    consent: ConsentSettings,
    units: list[Unit],
    upstream: list[StageRecord],
    libraries: dict[str, str | None],
    blocked: BlockedBodies,
) -> list[StageRecord]:
    """Ask hosts; each further round takes exactly what the one before may ask again."""
    rounds: list[StageRecord] = []
    for number in range(1, settings.rounds + 1):
        record = _ask(engine, settings, consent, number, units, upstream, libraries, blocked)
        rounds.append(record)
        if not sum(unit.notes["retryable"] for unit in record.units):
            break
        units, upstream = record.next_units("lost"), [record]
    return rounds


def _ask(
    engine: Engine,
    settings: FetchSettings,
    consent: ConsentSettings,
    number: int,
    units: list[Unit],
    upstream: list[StageRecord],
    libraries: dict[str, str | None],
    blocked: BlockedBodies,
) -> StageRecord:
    """Run one round, on what is not known from an earlier one below the same ROOT."""
    rows = sum(source.rows for unit in units for source in unit.sources)
    buckets = bucket_count(rows, ROW_BYTES, engine.bucket_bytes)
    tables = _round_tables(settings, consent, libraries)
    step = ShuffleStep(
        name=f"{STAGE}-r{number}",
        stage=STAGE,
        version=VERSION,
        # Not among what rounds must share: a list is asked again with what an earlier one got.
        parameters=tables | {"blocked": blocked.parameters},
        outputs={"part": FETCHED, "lost": LOST, "hosts": HOSTS},
        accounts=False,
        content_names=True,
        kernel=WebKernel(buckets=buckets, settings=settings, consent=consent, blocked=blocked),
        buckets=buckets,
        sort_keys={
            "pair": ["prio", "target", "pair_id"],
            "known": ["url", "fetched_at", "blob", "blob_offset", "reason", "value"],
            "kept": ["url", "fetched_at", "blob", "blob_offset"],
            "copied": ["url", "fetched_at", "blob", "blob_offset"],
        },
        schemas={"pair": WAITING, "known": OUTCOMES, "kept": OUTCOMES, "copied": OUTCOMES},
    )
    fetched = Fetched(engine.root)
    key = round_key(folder_of(step.name, spec_digest(step, upstream)), units)
    known: list[Unit] = []
    others: list[dict[str, Any]] = []
    if number == 1 and settings.reuse != "never":
        others = fetched.others(key, () if settings.reuse == "auto" else settings.reuse)
        known = fetched.known_units(key, tables, others)
    record = engine.run(step, [*units, *known], upstream)
    fetched.add(key, tables, record, others)
    for unit in record.units:
        forget_journals(engine.root, record.folder, unit.unit)
    return record


def _round_tables(
    settings: FetchSettings, consent: ConsentSettings, libraries: dict[str, str | None]
) -> dict[str, Any]:
    """Return what a round depends on, and what `Fetched` tells rounds apart by."""
    return {
        "images": _chosen(settings, IMAGE_KEYS),
        "visits": _chosen(settings, WEB_KEYS),
        "consent": to_tables(consent),
        "grants": [[each.match, each.lanes, each.budget] for each in settings.site],
        "libraries": libraries | {"tldextract": importlib.metadata.version("tldextract")},
    }


def images_asked_again(root: str, settings: FetchSettings, consent: ConsentSettings) -> int:
    """Return how many pairs have an image below ROOT that other settings of images have made.

    Their hosts are asked again, but for images that are stored as they came.
    """
    if settings.reuse == "never" or not settings.needs_network:
        return 0
    return Fetched(root).other_images(_round_tables(settings, consent, _libraries()))


def _settle(
    engine: Engine,
    pairs: StageRecord,
    located: list[StageRecord],
    collected: StageRecord | None,
    rounds: list[StageRecord],
) -> StageRecord:
    """Bring the rows of archive and rounds together, and the drops that stand."""
    archive = [collected] if collected else []
    units = [unit for each in archive for unit in each.next_units("part")]
    for record in rounds:
        asked = record.next_units("part", "lost")
        units += map(_renamed, asked) if record is rounds[-1] else asked
    step = MapStep(
        name=STAGE,
        stage=STAGE,
        version=VERSION,
        parameters={},
        outputs={"part": FETCHED},
        content_names=True,
        kernel=SettleKernel(),
    )
    made = engine.run(step, units, [*archive, *rounds])
    before = sum(sum(record.drops.values()) for record in (*located, *archive))
    _check(STAGE, before + made.rows_in, pairs.rows_out, f"{len(rounds)} rounds")
    return made


def _renamed(unit: Unit) -> Unit:
    """Return a unit of the last round: what it lost is lost for good."""
    sources = tuple(
        dataclasses.replace(source, role=LAST) if source.role == "lost" else source
        for source in unit.sources
    )
    return dataclasses.replace(unit, sources=sources)


def _check(what: str, settled: int, rows: int, steps: str) -> None:
    if settled != rows:
        raise AccountingError(
            f"{what}: {settled} pairs settled in {steps}, {rows} came in: this is a fault of "
            "openwit, report it"
        )


def _rows(record: StageRecord, role: str) -> int:
    return sum(file.rows for file in record.files(role))


def _chosen(settings: FetchSettings, names: Sequence[str]) -> dict[str, Any]:
    tables = to_tables(settings)
    return {name: tables[name] for name in names}


def _libraries() -> dict[str, str | None]:
    """Return the versions of all that makes pixels, JPEG bytes or hashes."""
    try:
        hash_version = self_test()
    except ValueError as error:
        raise RefusedError(f"fetch: {error}") from None
    codecs = ("libjpeg_turbo", "jpg", "webp", "avif", "littlecms2")
    versions = {name: features.version(name) for name in codecs}
    return {"pillow": PIL.__version__, "hash_version": hash_version, **versions}
