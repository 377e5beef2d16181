"""Blocks of a shuffle beside their step instead of in the runner, which gets references to them.

Beam's in-process runner holds all that crosses a shuffle in the driver, 5 to 13 times over
(measured): a local run's memory would grow with its rows. Runners of clusters keep their shuffles
on disk themselves, so they get the blocks.
"""

import contextlib
import itertools
import pathlib
import struct
from collections.abc import Callable, Iterable, Iterator

from pipeline.engine import files

MAGIC = b"OWR1"
PLACE = struct.Struct("<4sQI")
"""Magic, offset and length; the name of the file follows."""


@contextlib.contextmanager
def open_spill(folder: str) -> Iterator[Callable[[bytes], bytes]]:
    """Give what appends a block to a new file and returns the reference to it.

    Args:
        folder: of the step, on a file system that all workers share.
    """
    with files.scratch_file(folder) as file:
        name = pathlib.Path(file.name).name.encode()

        def put(block: bytes) -> bytes:
            place = PLACE.pack(MAGIC, file.tell(), len(block))
            file.write(block)
            return place + name

        yield put


def read_spilled(received: Iterable[bytes], folder: str) -> Iterator[bytes]:
    """Yield blocks: those that are given, and those that are referred to, each file opened once.

    Raises:
        OSError: if a file is not there.
    """
    references: set[tuple[bytes, int, int]] = set()
    for value in received:
        if value.startswith(MAGIC):
            _, offset, length = PLACE.unpack_from(value)
            references.add((value[PLACE.size :], offset, length))
        else:
            yield value
    for name, places in itertools.groupby(sorted(references), key=lambda place: place[0]):
        with files.open_read(files.join(folder, name.decode())) as file:
            for _, offset, length in places:
                file.seek(offset)
                yield file.read(length)
