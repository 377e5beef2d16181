"""The crawl of a configuration: run before all stages; its archives are the input of the run."""

from collections.abc import Mapping
from typing import Any

from manifests.base.errors import RefusedError
from pipeline.config import LoadedConfig
from pipeline.engine.context import Engine
from pipeline.engine.driver import open_driver
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.units import Unit
from pipeline.inputs import absolute
from pipeline.plan import CommittedSteps, NotCommittedError
from pipeline.stages import crawl


def run_crawl(
    loaded: LoadedConfig, *, options: Mapping[str, Any] | None = None, force: bool = False
) -> dict[str, Any]:
    """Run the rounds that are not done.

    Args:
        loaded: the configuration.
        options: further Beam options.
        force: whether to begin again.

    Returns:
        JSON values: what the rounds visited and recorded.

    Raises:
        RefusedError: if there are no seeds, or nobody to contact.
    """
    settings = loaded.settings
    if not settings.crawl.seeds:
        raise RefusedError("crawl.seeds: not set: name URLs, or files that list them")
    forced = crawl.STAGE if force else ""
    with open_driver(loaded.root, settings.engine, options=options, force=forced) as engine:
        visits = _run(engine, loaded)
    units = crawl.archives(visits)
    return {
        "kind": "openwit-crawl",
        "ok": True,
        "rounds": [
            {"round": number, "visited": record.rows_out, "drops": record.drops}
            for number, record in enumerate(visits)
        ],
        "archives": [source.path for unit in units for source in unit.sources],
        "bytes": sum(unit.input_bytes for unit in units),
    }


def crawled_units(loaded: LoadedConfig) -> list[Unit] | None:
    """Return the units that read a finished crawl, or None; nothing is asked or written.

    Raises:
        RefusedError: if there are no seeds to be read, or nobody to contact.
    """
    engine = CommittedSteps(loaded.root, loaded.settings.engine.bucket_bytes)
    try:
        return crawl.archives(_run(engine, loaded))
    except NotCommittedError:
        return None


def _run(engine: Engine, loaded: LoadedConfig) -> list[StageRecord]:
    settings = loaded.settings
    return crawl.run(
        engine,
        settings.crawl,
        settings.fetch,
        settings.consent,
        settings.extract,
        lambda path: absolute(path, loaded.folder),
    )
