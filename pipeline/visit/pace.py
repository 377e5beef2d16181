"""How long a host is left alone: gaps, back-off, Retry-After; and in which order URLs are asked."""

import email.utils
import hashlib

MAX_BACKOFF_SECONDS = 600.0
FIRST_BACKOFF_SECONDS = 5.0
_EXPONENT = 7
"""5 s doubled so often is above the longest back-off."""


def priority(url: str, seed: int) -> bytes:
    """Return 8 bytes by which URLs are ordered: as good as random, equal in every run."""
    key = f"openwit-fetch:{seed}".encode()
    return hashlib.blake2b(url.encode(), digest_size=8, key=key).digest()


def lane_of(prio: bytes, lanes: int) -> int:
    """Return which of a site's lanes a URL is in."""
    return int.from_bytes(prio, "big") % lanes


def gap_seconds(last_seconds: float, delay: float, factor: float, longest: float) -> float:
    """Return the rest between the end of a request and the next start on its host.

    Args:
        last_seconds: how long the last request took.
        delay: the least rest.
        factor: the rest in durations of the last request.
        longest: the longest rest that follows from a slow answer.
    """
    return max(delay, min(longest, factor * last_seconds))


def backoff_seconds(host: str, failures: int, seed: int) -> float:
    """Return the rest after so many failures in a row: doubling, spread by a hash of the host."""
    key = f"openwit-backoff:{seed}".encode()
    digest = hashlib.blake2b(f"{host}:{failures}".encode(), digest_size=8, key=key).digest()
    doubled = FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, _EXPONENT)
    return min(MAX_BACKOFF_SECONDS, doubled) * (0.5 + int.from_bytes(digest, "big") / 2.0**65)


def retry_after_seconds(values: list[str], date: str | None) -> float | None:
    """Return what Retry-After asks for, the largest of several; None for what makes no sense.

    Args:
        values: of all fields of the name: digits, or an HTTP date.
        date: the answer's Date, from which an HTTP date counts.
    """
    found = [_retry_seconds(value.strip(), date) for value in values]
    return max((seconds for seconds in found if seconds is not None), default=None)


def _retry_seconds(value: str, date: str | None) -> float | None:
    if value.isascii() and value.isdigit():
        return float(value[:12])
    until, since = _http_date(value), _http_date(date or "")
    if until is None or since is None:
        return None
    return until - since if until >= since else None


def _http_date(text: str) -> float | None:
    try:
        parsed = email.utils.parsedate_tz(text[:64])
        return float(email.utils.mktime_tz(parsed)) if parsed else None
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
