"""Lines of text files, of bounded length."""

from collections.abc import Iterable, Iterator

from manifests.base.errors import RefusedError

MAX_LINE_BYTES = 1 << 24
"""A longer line of a text file is refused."""
MALFORMED_PERCENT = 1
"""Above this share of malformed lines a file of counts or views is refused; provisional."""


def read_lines(blocks: Iterable[bytes], path: str) -> Iterator[str]:
    """Yield the lines of UTF-8 text without their ends.

    Raises:
        RefusedError: if a line is no UTF-8 or longer than `MAX_LINE_BYTES`; names the line.
    """
    number = 0
    for number, line in enumerate(split_lines(blocks), 1):
        if len(line) > MAX_LINE_BYTES:
            raise RefusedError(f"{path} line {number}: {len(line)} bytes: split it into segments")
        try:
            yield (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).decode()
        except UnicodeDecodeError:
            raise RefusedError(f"{path} line {number}: {line[:40]!r}: must be UTF-8") from None


def split_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines without their newline; one longer than `MAX_LINE_BYTES` is cut and the last."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        if len(rest) > MAX_LINE_BYTES:
            break
    if rest:
        yield rest
