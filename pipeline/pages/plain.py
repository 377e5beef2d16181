"""Which images no rule has anything to say about, asked of whole columns: most of them.

What a screen lets pass, the rules would leave as it is; what it does not, they judge one by one. So
a screen may only be too strict, and there is one copy of each rule.
"""

import functools
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.text.categories import regex_class
from filters.urls.tracking_pixel import tracker_beginnings
from filters.urls.url_key import MAX_URL_CHARACTERS
from pipeline.pages.image_url import PLACEHOLDER_WORDS
from pipeline.pages.texts import MAX_TEXT_CHARACTERS

BEYOND_ASCII = (
    *((0xA1, 0xAC), (0xAE, 0x24F), (0x38E, 0x3A1), (0x3A3, 0x3CE), (0x400, 0x482), (0x48A, 0x52F)),
    *((0x5D0, 0x5EA), (0x621, 0x63A), (0x641, 0x64A), (0x2010, 0x2027), (0x2030, 0x205E)),
    *((0x20A0, 0x20BF), (0x3001, 0x3029), (0x3041, 0x3096), (0x30A1, 0x30FE), (0x4E00, 0x9FA5)),
    *((0xAC00, 0xD7A3), (0xFF01, 0xFF5E)),
)
"""Characters of many scripts that no rule on texts touches, beside whichever of the others:
printable, no white space, none that combines or has another form in NFC."""
# RE2 reads these patterns: none can be slow.
_CHARACTERS = f"[!-~{regex_class(BEYOND_ASCII)}]+"
_TEXT = rf"\A{_CHARACTERS}(?: {_CHARACTERS})*\z"
_FILE_NAME = r"(?i)\.(?:jpe?g|png|gif|webp|avif|svg)\z"
# A host of a name, then what the URL parser leaves as it is.
_ABSOLUTE = r"\Ahttps?://[a-z0-9.-]*\.[a-z]+/[\w~!$&()*+,;=:@./?%-]*\z"
# No colon before the first slash, so no scheme, and none of the words that stand for no URL.
_RELATIVE = r"\A[\w~-][\w~!$&()*+,;=@.-]*(?:[/?]|\.\w+\z)"
_PARENT = "../"


def plain_texts(raw: pa.Array) -> NDArray[np.bool_]:
    """Return for each text whether it is one as it stands, and no name of an image file."""
    is_normal = pc.match_substring_regex(raw, _TEXT)
    is_short = pc.less_equal(pc.binary_length(raw), MAX_TEXT_CHARACTERS)
    is_name = pc.match_substring_regex(raw, _FILE_NAME)
    return _mask(pc.and_not(pc.and_(is_normal, is_short), is_name))


def plain_urls(
    raw: pa.Array, pages: NDArray[np.int64], page_urls: Sequence[str], bases: Sequence[str]
) -> list[str | None]:
    """Return the URL key of each value that is surely the image's, None where rules must decide.

    Args:
        raw: shape (n,), strings as found; null where there is nothing to ask.
        pages: shape (n,), index of each value's page.
        page_urls: the pages' URL keys.
        bases: what relative URLs of the pages belong to.
    """
    of_page = pa.array(pages)
    kinds = [
        pc.starts_with(raw, "http"),
        *(pc.starts_with(raw, beginning) for beginning in ("//", "/", _PARENT)),
        pc.match_substring_regex(raw, _RELATIVE),
    ]
    columns = zip(*map(_beginnings, bases), strict=True)
    before = [pa.scalar("")] + [pa.array(column, pa.string()).take(of_page) for column in columns]
    rest = pc.if_else(kinds[3], pc.replace_substring(raw, _PARENT, "", max_replacements=1), raw)
    names = [str(place) for place in range(len(kinds))]
    prefix = pc.case_when(pc.make_struct(*kinds, field_names=names), *before)
    joined = pc.binary_join_element_wise(prefix, rest, "")
    is_plain = pc.and_(
        pc.match_substring_regex(joined, _ABSOLUTE),
        pc.less_equal(pc.binary_length(joined), MAX_URL_CHARACTERS),
    )
    doubts = [pc.match_substring_regex(pc.ascii_lower(joined), _doubtful())]
    wrong = [page_urls] if bases == page_urls else [page_urls, bases]
    doubts += [pc.equal(joined, pa.array(each, pa.string()).take(of_page)) for each in wrong]
    is_plain = functools.reduce(pc.and_not, doubts, is_plain)
    urls: list[str | None] = pc.if_else(is_plain, joined, None).to_pylist()
    return urls


def _beginnings(base: str) -> tuple[str, str, str, str]:
    """Return what stands before a value that begins `//`, `/`, `../` or as a name.

    >>> _beginnings("https://h.example/a/b/c?d/e")
    ('https:', 'https://h.example', 'https://h.example/a/', 'https://h.example/a/b/')
    """
    scheme, _, host, path = base.split("/", 3)
    origin = f"{scheme}//{host}"
    folder = path.partition("?")[0].rpartition("/")[0]
    parent = folder.rpartition("/")[0]
    return (
        scheme,
        origin,
        f"{origin}/{parent}/" if parent else f"{origin}/",
        f"{origin}/{folder}/" if folder else f"{origin}/",
    )


@functools.cache
def _doubtful() -> str:
    """Return a pattern of all that some rule looks for in a URL, or the parser might change."""
    words = [*PLACEHOLDER_WORDS, *tracker_beginnings(), "/.", "%2e", "xn--"]
    return "|".join([*map(re.escape, words), r"\.svg\z", r"\.svg\?", r"\.ico\z", r"\.ico\?"])


def _mask(claims: pa.Array) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = claims.fill_null(False).to_numpy(zero_copy_only=False)
    return mask
