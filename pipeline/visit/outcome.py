"""How a request ends: libcurl's codes and HTTP statuses to reasons, and which may be retried."""

from filters.verdict import Drop, DropReason

RETRYABLE = frozenset(
    {
        DropReason.ROBOTS_UNREACHABLE,
        DropReason.SITE_PAUSED,
        DropReason.DNS,
        DropReason.CONNECT,
        DropReason.CONNECT_TIMEOUT,
        DropReason.TLS,
        DropReason.TIMEOUT,
        DropReason.REDIRECT_SITE,
        DropReason.CONNECTION_LOST,
        DropReason.HTTP_BUSY,
        DropReason.HTTP_SERVER,
    }
)
"""A further round asks again."""
AT_ONCE = frozenset({DropReason.CONNECTION_LOST, DropReason.HTTP_BUSY, DropReason.HTTP_SERVER})
"""Asked once more in the same round."""
HOST_FAILURES = frozenset(
    {
        DropReason.HTTP_BUSY,
        DropReason.DNS,
        DropReason.CONNECT,
        DropReason.CONNECT_TIMEOUT,
        DropReason.TLS,
        DropReason.CONNECTION_LOST,
    }
)
"""They say something of the host: it is left alone for longer each time."""

_BUSY = (429, 503)
_STATUSES = {
    **dict.fromkeys((404, 410), DropReason.HTTP_GONE),
    **dict.fromkeys((401, 402, 403, 451), DropReason.HTTP_DENIED),
    **dict.fromkeys(_BUSY, DropReason.HTTP_BUSY),
    408: DropReason.HTTP_SERVER,
}
_CODES = {
    6: DropReason.DNS,
    7: DropReason.CONNECT,
    35: DropReason.TLS,
    60: DropReason.TLS_CERTIFICATE,
    63: DropReason.TOO_LARGE,
    18: DropReason.CONNECTION_LOST,
    52: DropReason.CONNECTION_LOST,
    55: DropReason.CONNECTION_LOST,
}
_BROKEN_TALK = ("header", "chunk", "http/0.9", "unsupported")
"""Words of libcurl's messages for code 56 that speak of what was sent, not of the connection."""


def status_drop(status: int) -> Drop | None:
    """Return why an answer of this status gives no image; None for 200."""
    if status == 200:
        return None
    default = DropReason.HTTP_SERVER if 500 <= status < 600 else DropReason.HTTP_STATUS
    return Drop(_STATUSES.get(status, default), status)


def curl_drop(code: int, message: str) -> Drop:
    """Return the reason for a libcurl code, but for time-outs, which our own clocks tell."""
    if code == 56:
        is_talk = any(word in message.lower() for word in _BROKEN_TALK)
        reason = DropReason.PROTOCOL if is_talk else DropReason.CONNECTION_LOST
    else:
        reason = _CODES.get(code, DropReason.PROTOCOL)
    return Drop(reason, code if reason is DropReason.PROTOCOL else None)
