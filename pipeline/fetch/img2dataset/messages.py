"""What img2dataset says of a row that failed, to our reasons; it has no codes, only texts."""

import re

from filters.verdict import Drop, DropReason
from pipeline.visit.outcome import status_drop

SUCCESS = "success"
_VALUE_CHARACTERS = 256
_STATUS = re.compile(r"HTTP Error (\d{3})\b")
_WORDS: tuple[tuple[str, DropReason], ...] = (
    ("x-robots-tag", DropReason.OPTOUT_IMAGE),
    ("hash mismatch", DropReason.HASH_MISMATCH),
    ("image too small", DropReason.TOO_SMALL),
    ("image area too large", DropReason.TOO_MANY_PIXELS),
    ("aspect ratio too large", DropReason.ASPECT_RATIO),
    ("image decoding error", DropReason.DECODE_ERROR),
    ("is not allowed", DropReason.REDIRECT_REFUSED),
    ("infinite loop", DropReason.REDIRECT_LIMIT),
    ("certificate_verify_failed", DropReason.TLS_CERTIFICATE),
    ("ssl:", DropReason.TLS),
    ("name or service not known", DropReason.DNS),
    ("name resolution", DropReason.DNS),
    ("no address associated", DropReason.DNS),
    ("nodename nor servname", DropReason.DNS),
    ("timed out", DropReason.TIMEOUT),
    ("connection refused", DropReason.CONNECT),
    ("no route to host", DropReason.CONNECT),
    ("network is unreachable", DropReason.CONNECT),
    ("connection reset", DropReason.CONNECTION_LOST),
    ("remote end closed", DropReason.CONNECTION_LOST),
    ("incompleteread", DropReason.CONNECTION_LOST),
)
"""Parts of messages of version 1.47 and of Python's urllib, in lower case; the first counts."""


def failure(status: str | None, message: str | None) -> Drop | None:
    """Return why a row has no image; None if it has one.

    Args:
        status: `success`, `failed_to_download`, `failed_to_resize`; None counts as success.
        message: its `error_message`.
    """
    if status in (None, SUCCESS):
        return None
    text = (message or status or "")[:_VALUE_CHARACTERS]
    lowered = text.lower()
    for words, reason in _WORDS:
        if words in lowered:
            return Drop(reason, text)
    found = _STATUS.search(text)
    drop = status_drop(int(found[1])) if found else None
    default = DropReason.PROTOCOL if status == "failed_to_download" else DropReason.DECODE_ERROR
    return drop or Drop(default, text)
