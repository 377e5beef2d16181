"""Names of pairs, and the keyed hashes behind every random choice."""

import hashlib


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
