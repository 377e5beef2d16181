"""Fetched rows to nodes: rows of one and the same hash record are one node, its best row speaks.

Equal records have equal neighbours, so that collapsing them cannot change who stays. Each part is
collapsed by itself before anything crosses a shuffle: a million copies cost one row a part.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.hashes.perceptual import FLAT
from filters.hashes.rank import RANK_BYTES, caption_score, rank_keys, text_key
from manifests.base.errors import OpenwitError
from pipeline.dedup.columns import Keys, as_keys, bytes_of, fixed, keys_of, one_batch, runs
from pipeline.dedup.texts import TEXT, TEXTS, merged
from pipeline.records import ID

RANK = pa.binary(RANK_BYTES)
_MEMBER = [
    pa.field("node_key", ID, nullable=False),
    pa.field("rank", RANK, nullable=False),
    pa.field("unit", pa.int32(), nullable=False),
    pa.field("rows", pa.int64(), nullable=False),
    pa.field("texts", TEXTS, nullable=False),
]
MEMBERS = pa.schema(
    [
        *_MEMBER,
        pa.field("best", RANK, nullable=False),
        pa.field("best_unit", pa.int32(), nullable=False),
        pa.field("best_sha256", pa.binary(32), nullable=False),
    ]
)
"""One row per node and part of fetch that has rows of it: the best rank of those rows, the part's
number, how many they are, their texts; and the node's best row of all parts."""
_HASHES = [
    pa.field("hash", pa.binary(64), nullable=False),
    pa.field("chroma", pa.binary(32), nullable=False),
    pa.field("flags", pa.uint8(), nullable=False),
    pa.field("trim", pa.binary()),
]
NODES = pa.schema([_MEMBER[1], _MEMBER[2], *_HASHES])
"""One row per node that is not flat: rank and part of its best row, and what near images are found
by. Its rank names a node, for no two rows have one rank."""
COPIES = pa.schema(
    [
        *_MEMBER,
        *_HASHES,
        pa.field("sha256", pa.binary(32), nullable=False),
        pa.field("is_flat", pa.bool_(), nullable=False),
        pa.field("hash_version", pa.string(), nullable=False),
    ]
)
"""What crosses the shuffle by node key: `sha256` is the original's of the part's best row."""
COPY_BYTES = 640
"""Bytes of such a row with a text of 60 and two URLs of 80 characters."""

HASH_COLUMNS = [
    "pair_id",
    "dedup_hash",
    "dedup_chroma",
    "dedup_flags",
    "dedup_trim",
    "dedup_pixels",
]
"""Columns of `FETCHED` that say which node a row belongs to."""
COLUMNS = [
    *HASH_COLUMNS,
    *("original_width", "original_height", "original_sha256", "hash_version"),
    *("url", "page_url", "text", "text_source"),
]
"""Columns of `FETCHED` that decide who stays, and that duplicates leave behind."""


def check_rows(table: pa.Table, place: str) -> None:
    """Refuse rows that cannot be compared.

    Args:
        table: the columns `HASH_COLUMNS` of one part, at least.
        place: the part's name.

    Raises:
        OpenwitError: if a flat image has no pixel digest, or a pair id comes twice.
    """
    flat = pc.not_equal(pc.bit_wise_and(table["dedup_flags"], FLAT), 0)
    if (row := pc.index(pc.and_(flat, table["dedup_pixels"].is_null()), True).as_py()) >= 0:
        raise OpenwitError(
            f"{place} row {row}: dedup_pixels: null on a flat image: make the part again"
        )
    ids, rows = np.unique(keys_of(table["pair_id"]), return_index=True)
    if len(ids) < table.num_rows:
        row = int(np.setdiff1d(np.arange(table.num_rows), rows)[0])
        name = table["pair_id"][row].as_py().hex()
        raise OpenwitError(f"{place} row {row}: pair {name}: comes twice: make the part again")


def node_keys(table: pa.Table) -> Keys:
    """Return the key of each row's node: flat images are equal by pixels, others by hash record."""
    flags = table["dedup_flags"].to_numpy()
    hashes, chroma = bytes_of(table["dedup_hash"]), bytes_of(table["dedup_chroma"])
    kind = np.full((len(flags), 1), ord("S"), np.uint8)
    records = np.concatenate([kind, hashes, chroma, flags[:, None]], axis=1)
    width, data = records.shape[1], memoryview(records.tobytes())
    keys = bytearray()
    for row, (is_flat, trim, pixels) in enumerate(
        zip(
            (flags & FLAT).tolist(),
            table["dedup_trim"].to_pylist(),
            table["dedup_pixels"].to_pylist(),
            strict=True,
        )
    ):
        # The kind stands first, so that no pixels make the record of a hash.
        record = b"F" + pixels if is_flat else data[row * width : (row + 1) * width]
        digest = hashlib.blake2b(record, digest_size=ID.byte_width)
        if trim is not None and not is_flat:
            digest.update(trim)
        keys += digest.digest()
    return np.frombuffer(bytes(keys), f"S{ID.byte_width}")


def copies(table: pa.Table, unit: int, texts: int) -> pa.RecordBatch:
    """Return the rows of one part as `COPIES`, one a node.

    Args:
        table: the columns `COLUMNS`.
        unit: number of the part.
        texts: most texts of a node that go on.
    """
    keys = node_keys(table)
    scores = np.array([caption_score(text) for text in table["text"].to_pylist()], np.uint8)
    sides = np.minimum(table["original_width"].to_numpy(), table["original_height"].to_numpy())
    ranks = as_keys(rank_keys(bytes_of(table["pair_id"]), sides, scores))
    order = np.lexsort((ranks, keys))
    starts, rows = runs(keys[order])
    best = order[starts]
    node = np.empty(len(keys), np.int64)
    node[order] = np.repeat(np.arange(len(starts)), rows)
    taken = table.take(pa.array(best))
    flags = taken["dedup_flags"].to_numpy()
    columns = {
        "node_key": fixed(keys[best]),
        "rank": fixed(ranks[best]),
        "unit": pa.repeat(pa.scalar(unit, pa.int32()), len(best)),
        "rows": pa.array(rows, pa.int64()),
        "texts": _texts(table, ranks, node, scores > 0, len(best), texts),
        "hash": taken["dedup_hash"],
        "chroma": taken["dedup_chroma"],
        "flags": taken["dedup_flags"],
        "trim": taken["dedup_trim"].cast(pa.binary()),
        "sha256": taken["original_sha256"],
        "is_flat": pa.array((flags & FLAT) != 0),
        "hash_version": taken["hash_version"],
    }
    return one_batch(pa.table([columns[name] for name in COPIES.names], schema=COPIES))


def _texts(
    table: pa.Table,
    ranks: Keys,
    node: NDArray[np.int64],
    says: NDArray[np.bool_],
    nodes: int,
    most: int,
) -> pa.ListArray:
    """Return the best texts of each node; those that only name a file are left out."""
    rows = np.flatnonzero(says) if most else np.zeros(0, np.int64)
    taken = table.take(pa.array(rows))
    keys = b"".join(map(text_key, taken["text"].to_pylist()))
    arrays = [
        fixed(ranks[rows]),
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(rows), [None, pa.py_buffer(keys)]),
        *(taken[name].combine_chunks() for name in ("text", "text_source", "url", "page_url")),
    ]
    return merged(node[rows], pa.StructArray.from_arrays(arrays, fields=list(TEXT)), nodes, most)


def collapse(table: pa.Table) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Return the members of each node, with its best row, and the nodes to compare.

    Args:
        table: columns of `COPIES`, all of each node, sorted by (node_key, rank).

    Raises:
        OpenwitError: if a pair id comes twice.
    """
    ranks = keys_of(table["rank"])
    starts, sizes = runs(keys_of(table["node_key"]))
    if (same := np.flatnonzero(ranks[1:] == ranks[:-1])).size:
        first, second = (table.slice(int(same[0]) + place, 1) for place in (0, 1))
        name = first["rank"][0].as_py()[4:].hex()
        places = f"parts {first['unit'][0]} and {second['unit'][0]} of fetch"
        raise OpenwitError(f"{places}: pair {name}: comes twice: make them again")
    best = table.take(pa.array(np.repeat(starts, sizes)))
    added = [best["rank"], best["unit"], best["sha256"]]
    members = pa.table([*(table[field.name] for field in _MEMBER), *added], schema=MEMBERS)
    nodes = table.take(pa.array(starts))
    nodes = nodes.filter(pc.invert(nodes["is_flat"])).select(NODES.names)
    return one_batch(members), one_batch(nodes)
