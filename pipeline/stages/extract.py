"""Stage extract: archives in, candidates out, with an index of the archive's own images.

A map stage: one unit is one input file, read once from its beginning to its end.
"""

import dataclasses
import importlib.metadata
import unicodedata
from collections.abc import Sequence
from typing import Literal

from filters.urls.tracking_pixel import tracker_list_sha256
from manifests.base.config import to_tables
from pipeline.engine.context import Engine
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep
from pipeline.engine.units import Unit
from pipeline.pages.candidates import CandidateRules
from pipeline.pages.html import PageLimits
from pipeline.pages.image_url import UrlRule
from pipeline.pages.texts import SOURCES, TextSource
from pipeline.readers.framing import Limits
from pipeline.readers.warc import HEADER_BYTES
from pipeline.records import CANDIDATES, DEADLETTERS, IMAGES
from pipeline.stages.extract_archive import ExtractArchive

VERSION = 1
LIBRARIES = ("ada-url", "turbohtml")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractSettings:
    """What is read of an archive (`[extract]`)."""

    max_record_bytes: int = 32 << 20
    """Inflated record, above a 20 MiB image with its headers; provisional."""
    max_page_bytes: int = 5 << 20
    """Decoded page; a longer one is cut; provisional."""
    max_header_bytes: int = HEADER_BYTES
    """WARC and HTTP header block, each; provisional."""
    max_tags: int = 200_000
    """`<` of a page; it is cut there. The largest page measured had 10,126; provisional."""
    max_images_per_page: int = 10_000
    """Image elements of a page that are looked at; provisional."""
    text_sources: tuple[TextSource, ...] = ("alt",)
    """Where texts are taken from; their rank is fixed, whatever the order here."""
    url_rule: UrlRule = "best"
    """`best` knows lazy loading, `src` takes what WAT files know, `largest` prefers srcset."""
    max_srcset_width: int = 2_048
    """px; the widest image of a srcset up to this is taken; provisional."""
    image_index: Literal["auto", True, False] = "auto"
    """Whether the archive's own images are indexed; `auto` when `fetch` may read them."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: if a limit is below 1, or a text source is unknown, repeated or missing.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.startswith("max_") and value < 1:
                raise ValueError(f"{field.name} must be at least 1, got {value}")
        known = set(self.text_sources)
        if not known or not known.issubset(SOURCES) or len(known) != len(self.text_sources):
            raise ValueError(
                f"text_sources must be of {', '.join(SOURCES)}, each once, "
                f"got {list(self.text_sources)!r}"
            )

    def rules(self) -> CandidateRules:
        """Return what pages are judged by."""
        return CandidateRules(
            text_sources=tuple(name for name in SOURCES if name in self.text_sources),
            url_rule=self.url_rule,
            max_srcset_width=self.max_srcset_width,
        )


def run(
    engine: Engine,
    settings: ExtractSettings,
    *,
    content_usage_keys: Sequence[str],
    archive_wanted: bool,
    units: Sequence[Unit],
) -> StageRecord:
    """Extract the candidates of all units.

    Args:
        engine: runs the step.
        settings: the table `[extract]`.
        content_usage_keys: `consent.content_usage_keys`, which are marked.
        archive_wanted: whether `fetch` may read the archive's own images.
        units: one for each WARC file, its source in the role `input`.

    Returns:
        The committed step: `part` has the columns of `CANDIDATES`, `deadletter` of `DEADLETTERS`,
        `images` of `IMAGES` if it is there.
    """
    indexes = archive_wanted if settings.image_index == "auto" else bool(settings.image_index)
    outputs = {"part": CANDIDATES, "deadletter": DEADLETTERS}
    rules = settings.rules()
    parameters = to_tables(settings) | {
        "text_sources": list(rules.text_sources),
        "image_index": indexes,
        "content_usage_keys": list(content_usage_keys),
        "trackers": tracker_list_sha256(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "unicode": unicodedata.unidata_version,
    }
    step = MapStep(
        name="extract",
        stage="extract",
        version=VERSION,
        parameters=parameters,
        outputs=outputs | ({"images": IMAGES} if indexes else {}),
        kernel=ExtractArchive(
            limits=Limits(
                record_bytes=settings.max_record_bytes, header_bytes=settings.max_header_bytes
            ),
            page_limits=PageLimits(
                max_tags=settings.max_tags, max_images=settings.max_images_per_page
            ),
            max_page_bytes=settings.max_page_bytes,
            rules=rules,
            content_usage_keys=tuple(content_usage_keys),
            indexes_images=indexes,
        ),
    )
    return engine.run(step, units)
