"""The largest sites that a run would ask, and how long politeness makes each of them."""

import collections
import dataclasses

from filters.urls.domain import site_of
from filters.urls.url_key import url_host
from pipeline.engine.parts import read_batches
from pipeline.engine.stage_dir import StageRecord
from pipeline.fetch.settings import FetchSettings

SHOWN = 20
SAMPLE_PAIRS = 500_000
"""Pairs that are looked at; parts are ranges of pair ids, which are hashes: any is a sample."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiteForecast:
    """What one site would be asked."""

    site: str
    urls: int
    """URLs of all its pairs, about."""
    over_budget: int
    """URLs beyond its budget, which are not asked."""
    hours: float
    """At least so long: the rests of its busiest host between two requests."""


def largest_sites(pairs: StageRecord, settings: FetchSettings) -> tuple[SiteForecast, ...]:
    """Return the sites with most URLs among the pairs of a committed step."""
    urls: set[str] = set()
    looked = 0
    for path in pairs.paths("part"):
        for batch in read_batches(path, ["url"]):
            urls.update(batch["url"].to_pylist())
            looked += batch.num_rows
        if looked >= SAMPLE_PAIRS:
            break
    if not looked:
        return ()
    scale = pairs.rows_out / looked
    hosts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for url in urls:
        host = url_host(url)
        hosts[site_of(host)][host] += 1
    ranked = sorted(hosts, key=lambda site: (-hosts[site].total(), site))[:SHOWN]
    return tuple(_forecast(site, hosts[site], scale, settings) for site in ranked)


def _forecast(
    site: str, hosts: collections.Counter[str], scale: float, settings: FetchSettings
) -> SiteForecast:
    (busiest, most), *_ = hosts.most_common(1)
    grant = settings.grant(busiest)
    budget = grant.budget if grant and grant.budget else settings.site_budget
    total = round(hosts.total() * scale)
    over = max(0, total - budget)
    asked_of_busiest = most * scale * (total - over) / max(1, total)
    delay = grant.delay_s if grant and grant.delay_s is not None else settings.delay_s
    connections = grant.connections if grant else settings.host_connections
    hours = asked_of_busiest * delay / connections / 3600
    return SiteForecast(site=site, urls=total, over_budget=over, hours=round(hours, 3))
