"""Stage extract: archives or URL lists in, candidates out, with an index of a WARC's own images.

A map stage: one unit is one input file, read once from its beginning to its end.
"""

import dataclasses
import importlib.metadata
import unicodedata
from collections.abc import Sequence
from typing import Literal

from filters.urls.tracking_pixel import tracker_list_sha256
from manifests.base.config import to_tables
from manifests.base.errors import ConfigError
from pipeline.engine.context import Engine
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapKernel, MapStep
from pipeline.engine.units import Unit
from pipeline.pages.image_elements import CandidateRules
from pipeline.pages.image_url import UrlRule
from pipeline.pages.page import PageLimits
from pipeline.pages.texts import SOURCES, TextSource
from pipeline.readers.framing import Limits
from pipeline.readers.kinds import InputSettings
from pipeline.readers.warc import HEADER_BYTES
from pipeline.readers.wat import Entities
from pipeline.records import CANDIDATES, DEADLETTERS, IMAGES
from pipeline.stages.extract_archive import ExtractArchive
from pipeline.stages.extract_list import ExtractList
from pipeline.stages.extract_wat import ExtractWat

VERSION = 3
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
    wat_entities: Entities = "auto"
    """Whether character references of WAT files are decoded, once; `auto` as their crawl needs."""
    image_index: Literal["auto", True, False] = "auto"
    """Whether a WARC's own images are indexed; `auto` when `fetch` may read them."""

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
            max_images=self.max_images_per_page,
        )


def run(
    engine: Engine,
    settings: ExtractSettings,
    inputs: InputSettings,
    *,
    content_usage_keys: Sequence[str],
    list_entity_passes: int,
    archive_wanted: bool,
    units: Sequence[Unit],
) -> StageRecord:
    """Extract the candidates of all units.

    Args:
        engine: runs the step.
        settings: the table `[extract]`.
        inputs: the table `[input]`: what the files hold.
        content_usage_keys: `consent.content_usage_keys`, which are marked.
        list_entity_passes: `text.list_entity_passes`, how often references of lists are decoded.
        archive_wanted: whether `fetch` may read the archive's own images.
        units: one for each file, its source in the role `input`.

    Returns:
        The committed step: `part` has the columns of `CANDIDATES`, `deadletter` of `DEADLETTERS`,
        `images` of `IMAGES` if it is there.

    Raises:
        ConfigError: if an index is asked for of what holds no images.
    """
    indexes = archive_wanted and inputs.kind == "warc"
    if settings.image_index != "auto":
        indexes = settings.image_index
    if indexes and inputs.kind != "warc":
        raise ConfigError(
            f'extract.image_index: true with input.kind = "{inputs.kind}": only "warc" files hold '
            'images: set it to "auto"'
        )
    outputs = {"part": CANDIDATES, "deadletter": DEADLETTERS}
    parameters = to_tables(settings) | {
        "kind": inputs.kind,
        "columns": [inputs.url_column, inputs.text_column],
        "list_entity_passes": list_entity_passes,
        "text_sources": list(settings.rules().text_sources),
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
        kernel=_kernel(settings, inputs, tuple(content_usage_keys), list_entity_passes, indexes),
    )
    return engine.run(step, units)


def _kernel(
    settings: ExtractSettings,
    inputs: InputSettings,
    usage_keys: tuple[str, ...],
    list_entity_passes: int,
    indexes_images: bool,
) -> MapKernel:
    """Return what reads files of the input's kind."""
    if inputs.kind in ("urls", "img2dataset"):
        return ExtractList(
            is_shard=inputs.kind == "img2dataset",
            url_column=inputs.url_column,
            text_column=inputs.text_column,
            max_row_bytes=settings.max_record_bytes,
            entity_passes=list_entity_passes,
        )
    limits = Limits(record_bytes=settings.max_record_bytes, header_bytes=settings.max_header_bytes)
    if inputs.kind == "wat":
        return ExtractWat(
            limits=limits,
            max_images=settings.max_images_per_page,
            rules=settings.rules(),
            content_usage_keys=usage_keys,
            entities=settings.wat_entities,
        )
    return ExtractArchive(
        limits=limits,
        page_limits=PageLimits(max_tags=settings.max_tags, max_images=settings.max_images_per_page),
        max_page_bytes=settings.max_page_bytes,
        rules=settings.rules(),
        content_usage_keys=usage_keys,
        indexes_images=indexes_images,
    )
