"""Stage fetch: pairs to stored images, one row a pair, from the archives that were read."""

import importlib.metadata

import PIL
from PIL import features

from filters.consent.decision import ConsentSettings
from filters.hashes.perceptual import self_test
from manifests.base.config import to_tables
from manifests.base.errors import AccountingError, RefusedError
from pipeline.engine.context import Engine
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep, ShuffleStep, bucket_count
from pipeline.engine.units import Unit
from pipeline.fetch.collect import CollectKernel
from pipeline.fetch.locate import LOCATED, PENDING, RECORDS, STAGE, LocateKernel
from pipeline.fetch.settings import FetchSettings
from pipeline.records import FETCHED

__all__ = ["FetchSettings", "run"]

VERSION = 1
_LOCATE_ONLY = ("source", "unit_rows")
"""Settings in the digest of `fetch-locate`, through which they reach that of `fetch`."""


def run(
    engine: Engine,
    settings: FetchSettings,
    consent: ConsentSettings,
    base: str,
    pairs: StageRecord,
    extracted: StageRecord,
) -> StageRecord:
    """Find, read and store the image of each pair.

    Args:
        engine: runs the steps.
        settings: the section `fetch`.
        consent: which marks of pages and images are obeyed.
        base: the folder or URI below which the input archives lie; not part of any digest.
        pairs: the step whose parts hold `MATCHED` rows.
        extracted: the step whose files of the role `images` index the archives.

    Raises:
        RefusedError: if this Pillow makes hashes that no known version makes.
        AccountingError: if the hops do not settle each pair once.
    """
    libraries = _libraries()
    located = [_locate(engine, settings, consent, pairs, pairs.next_units("part"), extracted)]
    while any(file.rows for file in located[-1].files("pending")):
        units = located[-1].next_units("pending")
        located.append(
            _locate(engine, settings, consent, located[-1], units, extracted, len(located) + 1)
        )
    settled = sum(record.rows_in for record in located)
    if settled != pairs.rows_out:
        raise AccountingError(
            f"fetch-locate: {settled} pairs settled in {len(located)} hops, {pairs.rows_out} came "
            "in: this is a fault of openwit, report it"
        )
    tables = to_tables(settings)
    step = MapStep(
        name=STAGE,
        stage=STAGE,
        version=VERSION,
        parameters={
            "fetch": {key: value for key, value in tables.items() if key not in _LOCATE_ONLY},
            "libraries": libraries,
        },
        outputs={"part": FETCHED},
        content_names=True,
        kernel=CollectKernel(settings=settings, base=base),
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
        outputs={"part": LOCATED, "pending": PENDING},
        kernel=LocateKernel(buckets=buckets, consent=consent),
        buckets=buckets,
        sort_keys={"pair": ["target", "pair_id"], "image": ["url", "source_file", "offset"]},
        schemas={"pair": PENDING, "image": RECORDS},
    )
    return engine.run(step, [*units, *extracted.next_units("images")], [waiting, extracted])


def _libraries() -> dict[str, str | None]:
    """Return the versions of all that makes pixels, JPEG bytes or hashes."""
    try:
        hash_version = self_test()
    except ValueError as error:
        raise RefusedError(f"fetch: {error}") from None
    codecs = ("libjpeg_turbo", "jpg", "webp", "avif", "littlecms2")
    versions = {name: features.version(name) for name in codecs}
    return {"pillow": PIL.__version__, "hash_version": hash_version, **versions}
