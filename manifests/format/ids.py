"""Names of pairs, and the keyed hashes behind every random choice."""

import binascii
import hashlib

import pyarrow as pa


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


def hex_text(ids: pa.Array) -> pa.Array:
    """Return fixed-size binary as lower-case hexadecimal text; null stays null."""
    width = ids.type.byte_width
    data = memoryview(ids.buffers()[1])[ids.offset * width : (ids.offset + len(ids)) * width]
    text = pa.py_buffer(binascii.hexlify(data))
    offsets = pa.array(range(0, (len(ids) + 1) * 2 * width, 2 * width), pa.int32())
    validity = ids.is_valid().buffers()[1] if ids.null_count else None
    return pa.Array.from_buffers(pa.string(), len(ids), [validity, offsets.buffers()[1], text])
