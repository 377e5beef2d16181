"""Stage crawl: seeds to WARC files, round by round: which URLs, then a visit to each."""

import dataclasses
import hashlib
import importlib.metadata
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from filters.consent.decision import ConsentSettings
from manifests.base.config import to_tables
from manifests.base.errors import ConfigError
from pipeline.crawl.frontier import FRONTIER, LINKS, SEEN, VISITED, FrontierKernel, prio_limit
from pipeline.crawl.pages import MAX_LINKS, PageReader, scope_of
from pipeline.crawl.seeds import SeedsKernel, read_seeds, seeds_unit
from pipeline.crawl.settings import CrawlSettings
from pipeline.crawl.visit import VisitKernel
from pipeline.engine import files
from pipeline.engine.context import Engine
from pipeline.engine.parts import read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep, ShuffleStep, bucket_count
from pipeline.engine.units import Source, Unit
from pipeline.fetch.journal import forget_journals
from pipeline.fetch.outcomes import HOSTS
from pipeline.fetch.settings import WEB_KEYS, FetchSettings
from pipeline.pages.page import PageLimits
from pipeline.stages.extract import ExtractSettings

__all__ = ["CrawlSettings", "archives", "run"]

STAGE = "crawl"
VERSION = 1
ROW_BYTES = 16_384
"""What a URL counts for when buckets are cut: a page's links go with it; provisional."""
_FRONTIER_KEYS = ("per_shape", "pages_per_site", "bytes_per_site")


@dataclasses.dataclass(kw_only=True)
class _Crawl:
    """A crawl and the rounds it has behind it."""

    engine: Engine
    settings: CrawlSettings
    fetch: FetchSettings
    consent: ConsentSettings
    reader: PageReader
    seeds: StageRecord
    places: str
    """Digest of what the seeds span."""
    visits: list[StageRecord] = dataclasses.field(default_factory=list)
    pages: int = 0
    """Visited so far."""

    def go(self, number: int, *, takes_pages: bool = True) -> bool:
        """Run one round; tell whether it had anything to visit."""
        frontier = self._choose(number, takes_pages)
        if not frontier.rows_out:
            return False
        found = sum(unit.notes["pages"] for unit in frontier.units)
        left = max(0, self.settings.pages - self.pages)
        limit = prio_limit(_page_prios(frontier), left) if found > left else None
        self.visits.append(self._visit(number, frontier, limit))
        self.pages += min(found, left)
        return True

    def _choose(self, number: int, takes_pages: bool) -> StageRecord:
        before = [unit for each in self.visits[:-1] for unit in each.next_units("part")]
        units = self.seeds.next_units("seeds")
        if self.visits:
            units = [*before, *map(_as_last, self.visits[-1].next_units("part"))]
        rows = sum(source.rows for unit in units for source in unit.sources)
        buckets = bucket_count(rows, ROW_BYTES, self.engine.bucket_bytes)
        tables = to_tables(self.settings)
        step = ShuffleStep(
            name=f"{STAGE}-f{number}",
            stage=STAGE,
            version=VERSION,
            parameters={
                "crawl": {name: tables[name] for name in _FRONTIER_KEYS},
                "seed": self.fetch.seed,
                "takes_pages": takes_pages,
                "libraries": {"tldextract": importlib.metadata.version("tldextract")},
            },
            outputs={"part": FRONTIER},
            accounts=False,
            kernel=FrontierKernel(
                buckets=buckets,
                settings=self.settings,
                seed=self.fetch.seed,
                takes_pages=takes_pages,
            ),
            buckets=buckets,
            sort_keys={"link": ["depth", "page", "url", "kind"], "seen": ["url", "is_page"]},
            schemas={"link": LINKS, "seen": SEEN},
        )
        return self.engine.run(step, units, self.visits[-1:] or [self.seeds])

    def _visit(self, number: int, frontier: StageRecord, limit: bytes | None) -> StageRecord:
        buckets = bucket_count(frontier.rows_out, ROW_BYTES, self.engine.bucket_bytes)
        tables, visits = to_tables(self.settings), to_tables(self.fetch)
        parameters = {
            "crawl": {
                name: tables[name]
                for name in ("scope", "include", "exclude", "images", "images_per_page")
            },
            "max_page_bytes": self.settings.max_page_bytes,
            "visits": {name: visits[name] for name in WEB_KEYS},
            "consent": to_tables(self.consent),
            "rules": to_tables(self.reader.rules),
            "places": self.places,
            "prio_limit": limit.hex() if limit else None,
            "libraries": {
                name: importlib.metadata.version(name)
                for name in ("ada-url", "tldextract", "turbohtml")
            },
        }
        step = ShuffleStep(
            name=f"{STAGE}-r{number}",
            stage=STAGE,
            version=VERSION,
            parameters=parameters,
            outputs={"part": VISITED, "hosts": HOSTS},
            accounts=False,
            content_names=True,
            kernel=VisitKernel(
                buckets=buckets,
                reader=self.reader,
                settings=self.fetch,
                segment_s=self.fetch.segment_s,
                prio_limit=limit,
                round=number,
            ),
            buckets=buckets,
            sort_keys={"url": ["prio", "url"]},
            schemas={"url": FRONTIER},
        )
        record = self.engine.run(step, frontier.next_units("part"), [frontier])
        for unit in record.units:
            forget_journals(self.engine.root, record.folder, unit.unit)
        return record


def run(
    engine: Engine,
    settings: CrawlSettings,
    fetch: FetchSettings,
    consent: ConsentSettings,
    extract: ExtractSettings,
    absolute: Callable[[str], str],
) -> list[StageRecord]:
    """Visit pages from the seeds on.

    Args:
        engine: runs the steps.
        settings: the table `[crawl]`.
        fetch: the table `[fetch]`: who we are, and how hosts are visited.
        consent: which opt-outs are obeyed.
        extract: the table `[extract]`: it chooses the images, so that they are recorded.
        absolute: gives the place of a path of the configuration.

    Returns:
        The committed rounds; their files of the role `warc` are the archives.

    Raises:
        ConfigError: without `fetch.contact`.
        RefusedError: if the seeds cannot be read.
    """
    if not fetch.contact:
        raise ConfigError(
            "fetch.contact: not set, and a crawl asks hosts: give a URL or an e-mail address by "
            "which they reach you"
        )
    urls = read_seeds(settings.seeds, absolute)
    crawl = _Crawl(
        engine=engine,
        settings=settings,
        fetch=fetch,
        consent=consent,
        reader=PageReader(
            settings=settings,
            scope=scope_of(settings, urls),
            rules=extract.rules(),
            limits=PageLimits(
                max_tags=extract.max_tags,
                max_images=extract.max_images_per_page,
                max_links=MAX_LINKS,
            ),
            consent=consent,
        ),
        seeds=_write_seeds(engine, urls),
        places=hashlib.sha256("\n".join(urls).encode()).hexdigest(),
    )
    number = 0
    while number < settings.rounds and crawl.go(number):
        number += 1
    if settings.images != "none" and number == settings.rounds:
        crawl.go(number, takes_pages=False)
    return crawl.visits


def archives(visits: Sequence[StageRecord]) -> list[Unit]:
    """Return the units that read what was recorded; names are relative to ROOT."""
    return [
        Unit(
            id=hashlib.sha256(file.name.encode()).hexdigest()[:16],
            sources=(
                Source(
                    role="input",
                    path=files.join(record.root, file.name),
                    name=file.name,
                    bytes=file.bytes,
                    sha256=file.sha256,
                ),
            ),
        )
        for record in visits
        for file in record.files("warc")
    ]


def _write_seeds(engine: Engine, urls: list[str]) -> StageRecord:
    unit = seeds_unit(urls)
    step = MapStep(
        name=f"{STAGE}-seeds",
        stage=STAGE,
        version=VERSION,
        parameters={"seeds": unit.sources[0].sha256},
        outputs={"seeds": LINKS},
        accounts=False,
        kernel=SeedsKernel(tuple(urls)),
    )
    return engine.run(step, [unit])


def _as_last(unit: Unit) -> Unit:
    """Return a unit of the round before: its links are new."""
    sources = tuple(dataclasses.replace(source, role="last") for source in unit.sources)
    return dataclasses.replace(unit, sources=sources)


def _page_prios(frontier: StageRecord) -> list[NDArray[np.uint64]]:
    """Return the priorities of a frontier's pages, 8 bytes each."""
    found = []
    for path in frontier.paths("part"):
        for batch in read_batches(path, columns=["kind", "prio"]):
            rows = zip(batch["kind"].to_pylist(), batch["prio"].to_pylist(), strict=True)
            data = b"".join(prio for kind, prio in rows if kind == "page")
            found.append(np.frombuffer(data, ">u8"))
    return found
