"""A parsed page to candidate rows and drops: every image ends as one or the other."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

from filters.urls.tracking_pixel import declared_size, tracker
from filters.verdict import Drop, DropReason
from manifests.format.ids import pair_id
from pipeline.pages.columns import CandidateColumns
from pipeline.pages.image_elements import CandidateRules, FoundImage, PageImages
from pipeline.pages.image_url import Chosen
from pipeline.pages.page import NO_SIZE, Page
from pipeline.pages.texts import NO_TEXTS, Texts

_FLAGGED = frozenset({".svg", ".ico"})


@dataclasses.dataclass(slots=True)
class ElementDrops:
    """Dropped images: counts by reason, and rows for those that have a URL and a text."""

    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def add(self, drop: Drop, url: str | None, texts: Texts) -> None:
        """Count an image, or put it in the ledger if it is a pair."""
        if url is None or not texts.found:
            self.counts[drop.reason] += 1
            return
        text = texts.found[0].text
        row = {"pair_id": pair_id(url, text), "reason": drop.reason, "url": url, "caption": text}
        if drop.value is not None:
            row["value"] = str(drop.value)
        self.rows.append(row)


def add_candidates(
    page: Page,
    page_url: str,
    rules: CandidateRules,
    page_flags: Sequence[str],
    columns: CandidateColumns,
    drops: ElementDrops,
) -> int:
    """Put the page's candidates in `columns`, whose page is open, and the others in `drops`.

    Args:
        page: as parsed.
        page_url: its URL key.
        rules: which texts and URLs.
        page_flags: flags that all rows of the page get.
        columns: where rows go.
        drops: where the other images go.

    Returns:
        The number of images seen: rows and drops together.
    """
    images = PageImages(page, page_url, rules)
    if images.passed_over:
        drops.counts[DropReason.TOO_MANY_IMAGES] += images.passed_over
    seen: set[tuple[str, ...]] = set()
    no_text = 0
    for found in images.found:
        if found.texts is NO_TEXTS and not found.is_twin:  # most
            no_text += 1
            continue
        if not found.texts.found:
            drops.counts[_without_text(found)] += 1
            continue
        url = images.url(found)
        size_px = found.image.size_px if found.image else NO_SIZE
        drop = _judge(found, url, size_px if rules.url_rule != "src" else NO_SIZE, seen)
        if drop:
            drops.add(drop, url.url if isinstance(url, Chosen) else None, found.texts)
        elif isinstance(url, Chosen):
            columns.append(
                url=url.url,
                url_source=url.source,
                position=found.position,
                size_px=size_px,
                flags=row_flags(url, found.texts, page_flags),
                texts=found.texts,
                license_url=images.licenses.get(url.url),
            )
    if no_text:
        drops.counts[DropReason.NO_TEXT] += no_text
    return len(images.found) + images.passed_over


def row_flags(url: Chosen, texts: Texts, page_flags: Sequence[str]) -> tuple[str, ...]:
    """Return the flags of a candidate, those of its page in their place."""
    flags = ["text_truncated", *page_flags] if texts.is_truncated else [*page_flags]
    if texts.is_file_name:
        flags.append("alt_filename")
    extension = url.url.partition("?")[0][-4:].lower()
    if extension in _FLAGGED:
        flags.append(extension[1:])
    if url.is_suspect:
        flags.append("placeholder_suspect")
    return tuple(flags)


def _without_text(found: FoundImage) -> DropReason:
    if found.is_twin:
        return DropReason.NOSCRIPT_TWIN
    return DropReason.BAD_ENCODING if found.texts.has_invalid else DropReason.NO_TEXT


def _judge(
    found: FoundImage,
    url: Chosen | DropReason,
    size_px: tuple[int | None, int | None],
    seen: set[tuple[str, ...]],
) -> Drop | None:
    """Return why an image with a text is dropped; what is kept is put in `seen`."""
    if found.is_twin:
        return Drop(DropReason.NOSCRIPT_TWIN)
    if isinstance(url, DropReason):
        return Drop(url)
    drop = declared_size(*size_px) if size_px is not NO_SIZE else None
    drop = drop or tracker(url.url)
    if drop:
        return drop
    key = (url.url, *[text.text for text in found.texts.found])
    if key in seen:
        return Drop(DropReason.REPEAT_IN_PAGE)
    seen.add(key)
    return None
