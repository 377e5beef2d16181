"""Where bodies come from. `archive`: the image's own record in an input archive, no network."""

import contextlib
from collections.abc import Iterator
from typing import IO

from filters.verdict import Drop, DropReason
from pipeline.engine import files
from pipeline.readers.warc import read_image


def path_of(base: str, name: str) -> str:
    """Return where the input file of a logical name is: below `base`, unless the name is a URI."""
    is_absolute = not files.is_local(name) or name.startswith("/")
    return name if is_absolute or not base else files.join(base, name)


class ArchiveSource:
    """Reads bodies by record; asked in (file, offset) order it opens each file once."""

    def __init__(self, base: str, max_bytes: int) -> None:
        """Made by `open_archives`."""
        self._base = base
        self._max_bytes = max_bytes
        self._name = ""
        self._file: IO[bytes] | None = None

    def body(self, name: str, offset: int, length: int) -> bytes | Drop:
        """Return a record's body, free of its encodings, or why it cannot be used.

        Raises:
            OSError: if the file cannot be read.
        """
        if self._file is None or name != self._name:
            self.close()
            self._file = files.open_read(path_of(self._base, name))
            self._name = name
        found = read_image(self._file, offset, length, self._max_bytes)
        return Drop(found) if isinstance(found, DropReason) else found

    def close(self) -> None:
        """Close the file that is open, if one is."""
        if self._file is not None:
            self._file.close()
        self._file = None


@contextlib.contextmanager
def open_archives(base: str, max_bytes: int) -> Iterator[ArchiveSource]:
    """Give a source whose file is closed when the block ends.

    Args:
        base: the folder or URI to which logical names are relative.
        max_bytes: largest body, as sent and as decoded.
    """
    source = ArchiveSource(base, max_bytes)
    try:
        yield source
    finally:
        source.close()
