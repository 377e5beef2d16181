"""The settings of `crawl`; each field is a key of the table `[crawl]`."""

import dataclasses
from typing import Literal

Scope = Literal["host", "site", "prefix", "any"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrawlSettings:
    """Where a crawl begins, what it takes in, and where it stops."""

    seeds: tuple[str, ...] = ()
    """URLs, and files of URLs: text, one a line, or Parquet with the column `url`. Without any
    there is no crawl; with them its archives are the input of the run."""
    scope: Scope = "host"
    """Which links are followed: to a seed's host, to its site, to what begins as the seed up to its
    last `/`, or any."""
    include: tuple[str, ...] = ()
    """Paths of pages, `*` and `$` as in robots.txt; empty for all."""
    exclude: tuple[str, ...] = ()
    """Paths of pages that are left out, in the same form."""
    rounds: int = 3
    """Links away from a seed, the seeds counted; provisional."""
    images: Literal["none", "site", "all"] = "none"
    """Whether the images of pages are recorded: none, those of the page's site, or all."""
    pages_per_site: int = 1_000
    """Provisional."""
    images_per_page: int = 100
    """Provisional."""
    bytes_per_site: int = 1 << 30
    """As recorded; provisional."""
    pages: int = 1_000_000
    """Of all sites; provisional."""
    per_shape: int = 200
    """URLs of a site that differ in numbers only; provisional."""
    max_page_bytes: int = 5 << 20
    """A page is recorded up to this size; provisional."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{field.name} must be at least 1, got {value!r}")
