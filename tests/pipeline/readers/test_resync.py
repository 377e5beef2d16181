import io
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.readers.resync import BLOCK_BYTES, Window

DATA = bytes(range(256)) * 20


class Slow(io.BytesIO):
    """A file that gives at most `most` bytes for one read, as sockets do."""

    most = 1

    def read(self, size: int | None = -1) -> bytes:
        wanted = self.most if size is None or size < 0 else min(size, self.most)
        return super().read(wanted)


def slow(data: bytes, most: int) -> IO[bytes]:
    file = Slow(data)
    file.most = most
    return file


@given(
    st.sampled_from([1, 2, 7, 64, BLOCK_BYTES]),
    st.sampled_from([1, 3, 100, BLOCK_BYTES]),
    st.lists(st.tuples(st.booleans(), st.integers(0, 5200), st.integers(0, 400)), max_size=20),
)
def test_any_part_is_that_of_the_file(
    block_bytes: int, most: int, asked: list[tuple[bool, int, int]]
) -> None:
    window = Window(slow(DATA, most), block_bytes)
    assert window.size == len(DATA)
    for ahead, offset, size in asked:
        found = window.probe(offset, size) if ahead else window.peek(offset, size)
        assert bytes(found) == DATA[offset : offset + size]


def test_reading_forward_reads_each_byte_once() -> None:
    class Counting(io.BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.read_bytes += len(data)
            return data

    file = Counting(DATA)
    window = Window(file, 100)
    for offset in range(0, len(DATA), 37):
        window.peek(offset, 64)
        window.probe(offset + 60, 20)
    assert file.read_bytes == len(DATA)


def test_a_file_that_ends_before_its_size_is_a_fault_of_the_storage() -> None:
    file = io.BytesIO(DATA)
    window = Window(file)
    file.truncate(1000)
    with pytest.raises(OSError, match="ends before its size of 5120 bytes"):
        window.peek(0, 2000)
