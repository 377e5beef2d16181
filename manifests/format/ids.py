"""Names of pairs, and the keyed hashes behind every random choice."""

import binascii
import hashlib
import io
import re

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

# One class after the other, none repeated: linear in the text.
_HOST = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#]*)", re.IGNORECASE)
HALVES = np.dtype("u8,u8")
"""DataComp's subset files: the two halves of an id as numbers."""


def pair_id(url_key: str, text: str) -> bytes:
    """Return the 16-byte id of a pair: sha256(url_key NUL text), first half.

    Shown as 32 hexadecimal digits, the shape of DataComp's uid. Both strings are UTF-8.
    """
    return hashlib.sha256(f"{url_key}\0{text}".encode()).digest()[:16]


def keyed_hash(data: bytes, key: str) -> int:
    """Return an unsigned 64-bit integer, uniform in `data` for each `key`.

    Big-endian blake2b with `digest_size=8` and `key` as its ASCII key (at most 64 characters).
    """
    digest = hashlib.blake2b(data, digest_size=8, key=key.encode("ascii")).digest()
    return int.from_bytes(digest, "big")


def keyed_uniform(seed: int, data: bytes, person: bytes) -> int:
    """Return a 64-bit integer, uniform in `data` for each `seed` and each use (`person`).

    Little-endian blake2b with `digest_size=8` of the seed (8 bytes, little-endian) and the data.
    """
    digest = hashlib.blake2b(seed.to_bytes(8, "little") + data, digest_size=8, person=person)
    return int.from_bytes(digest.digest(), "little")


def keyed_uniforms(seed: int, ids: NDArray[np.bytes_], person: bytes) -> NDArray[np.uint64]:
    """Return `keyed_uniform` of many pair ids, shape (n,), given as 32 hexadecimal digits each."""
    start, data = seed.to_bytes(8, "little"), binascii.unhexlify(ids.tobytes())
    digests = [
        hashlib.blake2b(start + data[at : at + 16], digest_size=8, person=person).digest()
        for at in range(0, len(data), 16)
    ]
    return np.frombuffer(b"".join(digests), "<u8")


def id_array(column: pa.ChunkedArray) -> NDArray[np.bytes_]:
    """Return text of one length, as pair ids are, as fixed-width bytes, shape (n,)."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not len(array):
        return np.array([], "S32")
    offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset :][: len(array) + 1]
    width = int(offsets[1] - offsets[0])
    if not width or (np.diff(offsets) != width).any():
        return np.array([text.encode() for text in array.to_pylist()])
    data = np.frombuffer(array.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    return data.view(f"S{width}")


def are_first(ids: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """Return which ids are not equal to the one before, shape of `ids`."""
    return np.concatenate([np.ones(min(1, len(ids)), np.bool_), ids[1:] != ids[:-1]])


def are_in(ids: NDArray[np.bytes_], others: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """Return which ids occur among others, shape of `ids`; both ascend."""
    if not len(others):
        return np.zeros(len(ids), np.bool_)
    at = np.searchsorted(others, ids)
    at[at == len(others)] = 0
    return others[at] == ids


def hex_text(ids: pa.Array) -> pa.Array:
    """Return fixed-size binary as lower-case hexadecimal text; null stays null."""
    width = ids.type.byte_width
    data = memoryview(ids.buffers()[1])[ids.offset * width : (ids.offset + len(ids)) * width]
    text = pa.py_buffer(binascii.hexlify(data))
    offsets = pa.array(range(0, (len(ids) + 1) * 2 * width, 2 * width), pa.int32())
    validity = ids.is_valid().buffers()[1] if ids.null_count else None
    return pa.Array.from_buffers(pa.string(), len(ids), [validity, offsets.buffers()[1], text])


def npy_bytes(ids: pa.Array) -> bytes:
    """Return sorted hexadecimal ids as DataComp's subset file."""
    halves = [(int(text[:16], 16), int(text[16:], 16)) for text in ids.to_pylist()]
    file = io.BytesIO()
    np.save(file, np.sort(np.array(halves, HALVES)))
    return file.getvalue()


def host_of(url: str | None) -> str | None:
    """Return the host of a URL in its canonical form, without user info and port; else None.

    >>> host_of("http://me@example.com:8080/a.jpg")
    'example.com'
    """
    found = _HOST.match(url or "")
    if not found:
        return None
    host = found[1].rpartition("@")[2]
    if host.startswith("["):  # IPv6
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower() or None
