"""The verdict of a filter: `None` keeps, a `Drop` says why not; all reasons of all stages."""

import dataclasses
import enum


class DropReason(enum.StrEnum):
    """Why a pair is not in the dataset: the closed list, in the order of the stages."""

    # extract, an image element of a page; the first group is counted only, it has no pair id
    TOO_MANY_IMAGES = "too_many_images"
    BAD_ENCODING = "bad_encoding"
    NO_TEXT = "no_text"
    NO_URL = "no_url"
    PLACEHOLDER = "placeholder"
    URL_INVALID = "url_invalid"
    URL_SCHEME = "url_scheme"
    URL_USERINFO = "url_userinfo"
    URL_TOO_LONG = "url_too_long"
    NOSCRIPT_TWIN = "noscript_twin"
    PIXEL_DECLARED = "pixel_declared"
    TINY_DECLARED = "tiny_declared"
    TRACKER = "tracker"
    REPEAT_IN_PAGE = "repeat_in_page"
    # match
    BLOCKED_URL = "blocked_url"
    BLOCKED_DOMAIN = "blocked_domain"
    BLOCKED_PAGE_DOMAIN = "blocked_page_domain"
    BLOCKED_PAIR = "blocked_pair"
    TEXT_EMPTY = "text_empty"
    TEXT_TOO_SHORT = "text_too_short"
    TEXT_TOO_LONG = "text_too_long"
    TOO_FEW_WORDS = "too_few_words"
    TOO_MANY_WORDS = "too_many_words"
    BLOCKED_WORD = "blocked_word"
    LANGUAGE = "language"
    NO_QUERY_MATCH = "no_query_match"
    DUPLICATE_PAIR = "duplicate_pair"
    TEXT_TOO_FREQUENT = "text_too_frequent"
    # preselect
    NOT_PRESELECTED = "not_preselected"
    # fetch: consent, before a request
    OPTOUT_PAGE = "optout_page"
    OPTOUT_HOST = "optout_host"
    OPTOUT_IMAGE = "optout_image"
    # fetch: the archive and the body
    NOT_IN_ARCHIVE = "not_in_archive"
    ARCHIVE_RECORD = "archive_record"
    REDIRECT_LIMIT = "redirect_limit"
    TOO_LARGE = "too_large"
    EMPTY_BODY = "empty_body"
    BODY_ENCODING = "body_encoding"
    NOT_IMAGE = "not_image"
    FORMAT_REFUSED = "format_refused"
    HASH_MISMATCH = "hash_mismatch"
    BLOCKED_SHA256 = "blocked_sha256"
    # fetch: the image
    TOO_SMALL = "too_small"
    ASPECT_RATIO = "aspect_ratio"
    TOO_MANY_PIXELS = "too_many_pixels"
    ANIMATED = "animated"
    TRUNCATED_IMAGE = "truncated_image"
    DECODE_ERROR = "decode_error"
    # dedup
    UNHASHABLE = "unhashable"
    DUP_BYTES = "dup_bytes"
    DUP_PIXELS = "dup_pixels"
    DUP_SIGNATURE = "dup_signature"
    DUP_NEAR = "dup_near"
    # balance
    OVER_CAP = "over_cap"
    # any stage: an exception nobody expected, for one row
    INTERNAL_ERROR = "internal_error"


@dataclasses.dataclass(frozen=True, slots=True)
class Drop:
    """A reason, and the value that decided it, as text for the ledger."""

    reason: DropReason
    value: str | int | float | None = None
