"""Tar bytes that depend on names and contents alone: USTAR, packed here.

`tarfile` and GNU tar fill the device fields differently; both read ours.
"""

from typing import Protocol

BLOCK = 512
RECORD = 10_240
MAX_MEMBER_BYTES = 8**11 - 1
"""11 octal digits."""
END_BYTES = 2 * BLOCK

_MODE_UID_GID = b"0000644\x00" + b"0000000\x00" * 2
_MTIME = b"0" * 11 + b"\x00"
_TAIL = b"0" + bytes(100) + b"ustar\x00" + b"00" + bytes(247)
# POSIX: the checksum is taken with its own field as 8 blanks.
_FIXED_SUM = sum(_MODE_UID_GID) + sum(_MTIME) + 8 * ord(" ") + sum(_TAIL)


class Output(Protocol):
    """What tar bytes are written to."""

    def write(self, data: bytes) -> int:
        """Append bytes."""


def header(name: str, size: int) -> bytes:
    """Return the 512-byte header of a plain file.

    Args:
        name: at most 100 bytes of UTF-8, not empty.
        size: bytes of the content.

    Raises:
        ValueError: if name or size do not fit USTAR's fields.
    Source: POSIX.1-2017, pax, "ustar Interchange Format".
    """
    field = name.encode()
    if not 0 < len(field) <= 100 or b"\0" in field:
        raise ValueError(f"name must be 1 to 100 bytes without NUL, got {name!r}")
    if not 0 <= size <= MAX_MEMBER_BYTES:
        raise ValueError(f"size must be from 0 to {MAX_MEMBER_BYTES}, got {size}")
    octal = b"%011o\x00" % size
    checksum = b"%06o\x00 " % (_FIXED_SUM + sum(field) + sum(octal))
    return field.ljust(100, b"\0") + _MODE_UID_GID + octal + _MTIME + checksum + _TAIL


def parse_header(block: bytes) -> tuple[str, int, bytes, bool]:
    """Return name, size, type and whether the checksum holds, of any 512 bytes.

    The prefix field of long names is left out: openwit never writes one.
    """
    try:
        size = int(block[124:136].rstrip(b" \x00") or b"0", 8)
        checksum = int(block[148:156].strip(b" \x00") or b"0", 8)
    except ValueError:
        return "", 0, b"", False
    found = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
    name = block[:100].rstrip(b"\x00").decode("utf-8", "backslashreplace")
    return name, size, block[156:157], size >= 0 and found == checksum


def padded(size: int) -> int:
    """Return the bytes that a content of `size` takes in a tar, its header not counted."""
    return -(-size // BLOCK) * BLOCK


def total_bytes(content_end: int) -> int:
    """Return the size of a tar whose last member ends, padded, at `content_end`."""
    return -(-(content_end + END_BYTES) // RECORD) * RECORD


class TarWriter:
    """Append members to a file and finish it; no member is buffered."""

    def __init__(self, file: Output) -> None:
        """Write to `file`, which must be empty."""
        self._file = file
        self.bytes = 0

    def add(self, name: str, data: bytes) -> int:
        """Append a member and return the offset of its data, in bytes."""
        offset = self.bytes + BLOCK
        self._file.write(header(name, len(data)))
        self._file.write(data)
        end = padded(len(data))
        if end > len(data):
            self._file.write(bytes(end - len(data)))
        self.bytes = offset + end
        return offset

    def close(self) -> None:
        """Write the end of the archive: two zero blocks, then zeros to a whole record."""
        end = total_bytes(self.bytes)
        self._file.write(bytes(end - self.bytes))
        self.bytes = end
