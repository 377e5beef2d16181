"""A parsed page as plain values."""

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

META_NAMES = frozenset(
    {
        "robots",
        "openwit",
        "tdm-reservation",
        "og:image",
        "og:image:alt",
        "twitter:image",
        "twitter:image:alt",
    }
)
"""Names and properties of metas that say something to us."""
# Classes and bounded repetitions only: linear.
MAX_DIGITS = 9
_DIGITS = re.compile(rf"[ \t\n\f\r]*\+?(\d{{1,{MAX_DIGITS}}})(?!\d)", re.ASCII)

NO_SIZE: tuple[int | None, int | None] = (None, None)
"""The size of an image that declares none."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PageLimits:
    """Guards against pages made to be expensive."""

    max_tags: int
    """A body is cut at this many `<`."""
    max_images: int
    """Image elements of a page that are looked at."""
    max_links: int = 0
    """Links to other pages that are collected."""


class Meta(NamedTuple):
    """A meta element we know the name (or property) of, in lower case."""

    name: str
    content: str


class ImageElement(NamedTuple):
    """An `img`, `amp-img`, `amp-anim`, or `input` of type image."""

    tag: str
    attributes: dict[str, str]
    """Not read, so empty, if nothing can give the image a text."""
    sources: tuple[dict[str, str], ...]
    """Attributes of the `source` elements of its picture."""
    figures: tuple[int, ...]
    """Indexes in `Page.captions` of the figures around it, nearest first, if asked for."""

    @property
    def size_px(self) -> tuple[int | None, int | None]:
        """Declared width and height; None for percentages and junk."""
        width, height = self.attributes.get("width"), self.attributes.get("height")
        if width is None and height is None:
            return NO_SIZE
        return _leading_digits(width), _leading_digits(height)


class Page(NamedTuple):
    """What a page holds for us."""

    encoding: str
    """The WHATWG name of the encoding it was decoded with."""
    language: str | None
    bases: tuple[str, ...]
    """`href` of the base elements, in order."""
    metas: tuple[Meta, ...]
    license_href: str | None
    images: tuple[ImageElement, ...]
    twins: dict[int, int]
    """Index in `images` of an image to that of its twin inside a noscript."""
    images_passed_over: int
    """Image elements beyond the limit."""
    captions: tuple[str, ...]
    """Text of each figure's caption, empty if it has none."""
    json_ld: tuple[object, ...]
    """Decoded JSON-LD blocks, if any is of interest; bad and deep ones are left out."""
    is_cut: bool
    """Whether the body was cut at the limit of tags."""
    links: tuple[str, ...] = ()
    """`href` of `a`, `area` and `link rel=next` that may be followed, and of a meta refresh."""


class SrcPage(NamedTuple):
    """A page of whose `img` elements no more is known than `src` and one text, as columns."""

    bases: tuple[str, ...]
    srcs: Sequence[str]
    text_source: str
    texts: Sequence[str]
    """Of that source, which is an attribute; empty for an image without it."""
    images_passed_over: int
    """Image elements beyond the limit."""


def _leading_digits(value: str | None) -> int | None:
    if not value or "%" in value:
        return None
    if value.isdigit() and value.isascii() and len(value) <= MAX_DIGITS:  # most
        return int(value)
    found = _DIGITS.match(value)
    return int(found[1]) if found else None
