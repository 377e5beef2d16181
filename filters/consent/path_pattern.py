"""Path patterns of robots.txt, tdmrep.json and crawl scopes: `*` any bytes, a final `$` the end.

Paths and patterns are brought to one form first, so that escapes do not hide a match.
"""

import dataclasses
import re

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# Single classes and a bounded repetition: linear.
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_UNSAFE = re.compile(rb"[\x00-\x20\x80-\xff]")
# A slash behind a colon belongs to a scheme inside the path and is kept.
_SLASHES = re.compile(rb"(?<!:)/{2,}")
_LITERALS = {b"%2A": b"*", b"%24": b"$"}


def normal_path(path: bytes) -> bytes:
    """Return the one form of a path with its query, `*` and `$` as they are.

    Bytes up to 0x20 and from 0x80 are escaped, escapes of unreserved characters are undone, other
    escapes upper-cased, runs of `/` are one.
    """
    if _UNSAFE.search(path):
        path = _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], path)
    if b"%" in path:
        path = _ESCAPE.sub(_escape, path)
    return _SLASHES.sub(b"/", path) if b"//" in path else path


def _escape(found: re.Match[bytes]) -> bytes:
    code = int(found[0][1:], 16)
    return bytes((code,)) if code in _UNRESERVED else found[0].upper()


def _literal(text: bytes) -> bytes:
    """Undo the escapes of `*` and `$`, which a pattern needs to mean the characters."""
    if b"%2" in text:
        for escape, character in _LITERALS.items():
            text = text.replace(escape, character)
    return text


def asked_path(path: bytes) -> bytes:
    """Return a URL's path and query as patterns are held against it."""
    return _literal(normal_path(path))


@dataclasses.dataclass(frozen=True, slots=True)
class PathPattern:
    """One pattern; made by `parse`."""

    length: int
    """Bytes of the pattern in its normal form: the longest match decides."""
    pieces: tuple[bytes, ...]
    """What stands between the stars."""
    is_anchored: bool
    """Whether it ends in `$`."""

    @classmethod
    def parse(cls, text: bytes) -> "PathPattern":
        """Read a pattern; any bytes are one."""
        normal = normal_path(text)
        is_anchored = normal.endswith(b"$")
        pieces = normal.removesuffix(b"$").split(b"*")
        kept = [pieces[0], *[piece for piece in pieces[1:-1] if piece], *pieces[1:][-1:]]
        return cls(len(normal), tuple(map(_literal, kept)), is_anchored)

    def matches(self, path: bytes) -> bool:
        """Tell whether a path, as `asked_path` gives it, begins with the pattern.

        Each piece is searched once, from where the one before ended: the first place is the best
        one, so nothing is ever tried twice and the cost is linear in both lengths.
        """
        first, *rest = self.pieces
        if not path.startswith(first):
            return False
        at = len(first)
        if not rest:
            return not self.is_anchored or at == len(path)
        *middle, last = rest
        for piece in middle:
            at = path.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
        if self.is_anchored:
            return len(path) - len(last) >= at and path.endswith(last)
        return path.find(last, at) >= 0
