"""Dumps of many bzip2 streams with an index: cut into ranges that processes read in parallel."""

import bz2
import dataclasses
import itertools
from collections.abc import Iterator

from manifests.base import storage
from manifests.base.errors import RefusedError
from pipeline.queries.lines import split_lines
from pipeline.queries.sources.inflate import INFLATED_BYTES, READ_BYTES, Inflater

RANGE_BYTES = 1 << 20
"""Compressed bytes of one range, about: some MiB of wikitext."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StreamRange:
    """Some of a dump's streams, read as if they were a whole export.

    The first stream of a dump opens the root element, the last one closes it; a range without them
    gets a root of its own.
    """

    path: str
    start: int
    stop: int
    is_first: bool
    is_last: bool

    @property
    def position(self) -> int:
        """Bytes of the file up to the end of the range."""
        return self.stop

    def __iter__(self) -> Iterator[bytes]:
        """Yield blocks of XML of at most `INFLATED_BYTES`.

        Raises:
            RefusedError: if no bzip2 stream begins where the index says, or one does not end.
        """
        if not self.is_first:
            yield b"<mediawiki>"
        with storage.open_read(self.path) as file:
            file.seek(self.start)
            left, data = self.stop - self.start, b""
            while left or data:
                decompressor = bz2.BZ2Decompressor()
                begin = self.stop - left - len(data)
                while not decompressor.eof:
                    if not data and decompressor.needs_input:
                        data = file.read(min(left, READ_BYTES))
                        left -= len(data)
                        if not data:
                            raise self._refused(begin)
                    try:
                        block = decompressor.decompress(data, INFLATED_BYTES)
                    except OSError:
                        raise self._refused(begin) from None
                    data = b""
                    yield block
                data = decompressor.unused_data
        if not self.is_last:
            yield b"</mediawiki>"

    def _refused(self, offset: int) -> RefusedError:
        return RefusedError(
            f"{self.path} byte {offset}: no whole bzip2 stream of the index begins here: do dump "
            "and index belong together?"
        )


def stream_ranges(path: str, index: str) -> list[StreamRange]:
    """Return the ranges of a dump, in order.

    Args:
        path: of the dump.
        index: of its index, plain, gzip or bzip2; lines `offset:page_id:title`.

    Raises:
        RefusedError: if a line of the index is none, or an offset is not in the dump.
    """
    size = storage.size_bytes(path) or 0
    offsets = sorted(_offsets(index))
    if not offsets or offsets[-1] >= size:
        raise RefusedError(f"{index}: {offsets[-1:]} is no offset in the {size} bytes of {path}")
    edges = [0]
    for offset in offsets:
        if offset - edges[-1] >= RANGE_BYTES:
            edges.append(offset)
    edges.append(size)
    return [
        StreamRange(path=path, start=start, stop=stop, is_first=start == 0, is_last=stop == size)
        for start, stop in itertools.pairwise(edges)
    ]


def _offsets(index: str) -> set[int]:
    found: set[int] = set()
    for number, line in enumerate(split_lines(Inflater(index)), 1):
        offset = line.partition(b":")[0]
        if line and not (offset.isdigit() and line.count(b":") >= 2):
            raise RefusedError(
                f"{index} line {number}: {line[:60]!r}: must be `offset:page_id:title`"
            )
        if line:
            found.add(int(offset))
    return found
