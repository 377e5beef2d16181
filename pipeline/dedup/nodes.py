"""Fetched rows to nodes: rows of one and the same hash record are one node, its best row speaks.

Equal records have equal neighbours, so that collapsing them cannot change who stays. Each part is
collapsed by itself before anything crosses a shuffle: a million copies cost one row a part.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filters.hashes.matching import runs
from filters.hashes.perceptual import FLAT
from filters.hashes.rank import RANK_BYTES, caption_score, rank_keys, text_key
from manifests.base.errors import OpenwitError
from pipeline.dedup.settings import DedupSettings
from pipeline.dedup.texts import TEXT, TEXTS, merged
from pipeline.engine import files
from pipeline.engine.parts import one_batch
from pipeline.hashes.columns import Keys, as_keys, bytes_of, fixed, keys_of
from pipeline.records import FETCHED, ID

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
    pa.field("text", pa.uint64(), nullable=False),
    pa.field("hash", pa.binary(64), nullable=False),
    pa.field("chroma", pa.binary(32), nullable=False),
    pa.field("flags", pa.uint8(), nullable=False),
    pa.field("trim", pa.binary()),
]
NODES = pa.schema([_MEMBER[1], _MEMBER[2], *_HASHES])
"""One row per node: rank and part of its best row, and what near images are found by. Its rank
names a node, for no two rows have one rank. `text` is 0 where texts do not matter. The hash of a
flat image is the digest of its pixels, four times."""
COPIES = pa.schema(
    [
        *_MEMBER,
        *_HASHES,
        pa.field("sha256", pa.binary(32), nullable=False),
        pa.field("hash_version", pa.string(), nullable=False),
    ]
)
"""What crosses the shuffle by node key: `sha256` is the original's of the part's best row."""
COPY_BYTES = 640
"""Bytes of such a row with a text of 60 and two URLs of 80 characters."""

KEY_COLUMNS = [
    *("pair_id", "text", "phash"),
    *("dedup_hash", "dedup_chroma", "dedup_flags", "dedup_trim", "dedup_pixels"),
]
"""Columns of `FETCHED` that say which node a row belongs to."""
COLUMNS = [
    *KEY_COLUMNS,
    *("original_width", "original_height", "original_sha256", "hash_version"),
    *("url", "page_url", "text_source"),
]
"""Columns of `FETCHED` that decide who stays, and that duplicates leave behind."""


def check_rows(table: pa.Table, place: str, settings: DedupSettings) -> None:
    """Refuse rows that cannot be compared.

    Args:
        table: the columns `KEY_COLUMNS` of one part, at least.
        place: the part's name.
        settings: say which hashes are needed.

    Raises:
        OpenwitError: if a flat image has no pixel digest, another no pHash that is asked for, or a
            pair id comes twice.
    """
    flat = pc.not_equal(pc.bit_wise_and(table["dedup_flags"], FLAT), 0)
    needed = {"dedup_pixels": (flat, "on a flat image")}
    if settings.preset in ("coyo", "imagehash64"):
        needed["phash"] = (pc.invert(flat), f"under the preset {settings.preset}")
    for name, (where, what) in needed.items():
        if (row := pc.index(pc.and_(where, table[name].is_null()), True).as_py()) >= 0:
            raise OpenwitError(f"{place} row {row}: {name}: null {what}: make the part again")
    ids, rows = np.unique(keys_of(table["pair_id"]), return_index=True)
    if len(ids) < table.num_rows:
        row = int(np.setdiff1d(np.arange(table.num_rows), rows)[0])
        name = table["pair_id"][row].as_py().hex()
        raise OpenwitError(f"{place} row {row}: pair {name}: comes twice: make the part again")


def node_keys(table: pa.Table, settings: DedupSettings) -> Keys:
    """Return the key of each row's node, by what the preset takes for equal.

    Flat images are equal by pixels, others by hash record, by pHash, or by pHash and text.
    """
    flat = (table["dedup_flags"].to_numpy() & FLAT) != 0
    wants_text = settings.text == "image_text"
    if settings.preset in ("coyo", "imagehash64"):
        parts = [_phashes(table)]
        wants_text |= settings.preset == "coyo"
    else:
        has_trim = np.array(table["dedup_trim"].is_valid())[:, None]
        trim = bytes_of(table["dedup_trim"]) * has_trim
        flags = table["dedup_flags"].to_numpy()[:, None]
        hashes = [bytes_of(table[name]) for name in ("dedup_hash", "dedup_chroma")]
        parts = [*hashes, flags, has_trim.astype(np.uint8), trim]
    # The kind stands first, so that no pixels make the record of a hash.
    kind = np.where(flat, ord("F"), ord("S")).astype(np.uint8)[:, None]
    records = np.concatenate([kind, np.zeros((len(flat), 16), np.uint8), *parts], axis=1)
    records[flat, 1:] = 0
    records[flat, 1:17] = bytes_of(table["dedup_pixels"])[flat]
    if wants_text:
        texts = b"".join(map(text_key, table["text"].to_pylist()))
        keys = np.frombuffer(texts, np.uint8).reshape(-1, 16).copy()
        keys[flat] *= settings.text == "image_text"
        records = np.concatenate([records, keys], axis=1)
    width, data = records.shape[1], records.tobytes()
    digest = hashlib.blake2b
    starts = range(0, len(data), width)
    found = [digest(data[at : at + width], digest_size=16).digest() for at in starts]
    return np.frombuffer(b"".join(found), f"S{ID.byte_width}")


def _phashes(table: pa.Table) -> NDArray[np.uint8]:
    """Return the pHashes of rows, shape (rows, 8); zero where there is none."""
    text = "".join(value or "0" * 16 for value in table["phash"].to_pylist())
    return np.frombuffer(bytes.fromhex(text), np.uint8).reshape(-1, 8)


def copies(table: pa.Table, unit: int, settings: DedupSettings) -> pa.RecordBatch:
    """Return the rows of one part as `COPIES`, one a node.

    Args:
        table: the columns `COLUMNS`, and the preferred one.
        unit: number of the part.
        settings: presets, texts, the preferred column.
    """
    keys = node_keys(table, settings)
    texts = table["text"].to_pylist()
    scores = np.array([caption_score(text) for text in texts], np.uint8)
    sides = np.minimum(table["original_width"].to_numpy(), table["original_height"].to_numpy())
    ids, preferences = bytes_of(table["pair_id"]), _preferences(table, settings.prefer)
    ranks = as_keys(rank_keys(ids, sides, scores, preferences))
    order = np.lexsort((ranks, keys))
    starts, rows = runs(keys[order])
    best = order[starts]
    node = np.empty(len(keys), np.int64)
    node[order] = np.repeat(np.arange(len(starts)), rows)
    says = (scores > 0) | (settings.text == "image_k")
    columns = {
        "node_key": fixed(keys[best]),
        "rank": fixed(ranks[best]),
        "unit": pa.repeat(pa.scalar(unit, pa.int32()), len(best)),
        "rows": pa.array(rows, pa.int64()),
        "texts": _texts(table, ranks, node, says, len(best), settings.node_texts),
        **_hashes(table.select(KEY_COLUMNS).take(pa.array(best)), settings),
        **{
            name: table[column].take(pa.array(best))
            for name, column in (("sha256", "original_sha256"), ("hash_version", "hash_version"))
        },
    }
    return one_batch(pa.table([columns[name] for name in COPIES.names], schema=COPIES))


def _preferences(table: pa.Table, column: str) -> NDArray[np.uint8] | int:
    if not column:
        return 0
    values = table[column].cast(pa.int64()).fill_null(0).to_numpy()
    return np.where((values >= 0) & (values <= 255), values, 0).astype(np.uint8)


def _hashes(rows: pa.Table, settings: DedupSettings) -> dict[str, pa.Array]:
    """Return the columns by which rows are compared."""
    flags = rows["dedup_flags"].to_numpy()
    flat = (flags & FLAT) != 0
    texts = np.zeros(len(flat), np.uint64)
    if settings.text == "image_text":
        keys = b"".join(text_key(text)[:8] for text in rows["text"].to_pylist())
        texts = np.frombuffer(keys, ">u8").astype(np.uint64)
    hashes, chroma = bytes_of(rows["dedup_hash"]).copy(), bytes_of(rows["dedup_chroma"]).copy()
    has_trim = pc.and_(rows["dedup_trim"].is_valid(), pa.array(~flat))
    if settings.preset == "imagehash64":
        hashes[:] = 0
        hashes[:, -8:] = _phashes(rows)
        chroma[:] = 0
        flags = flags & FLAT
        has_trim = pa.array(np.zeros(len(flat), np.bool_))
    hashes[flat] = np.tile(bytes_of(rows["dedup_pixels"])[flat], 4)
    chroma[flat] = 0
    trim = rows["dedup_trim"].cast(pa.binary())
    return {
        "text": pa.array(texts),
        "hash": fixed(hashes),
        "chroma": fixed(chroma),
        "flags": pa.array(np.where(flat, FLAT, flags).astype(np.uint8)),
        "trim": pc.if_else(has_trim, trim, pa.scalar(None, pa.binary())),
    }


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
    names = ["text", "text_source", "url", "page_url"]
    taken = table.select(names).take(pa.array(rows))
    keys = b"".join(map(text_key, taken["text"].to_pylist()))
    arrays = [
        fixed(ranks[rows]),
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(rows), [None, pa.py_buffer(keys)]),
        *(taken[name].combine_chunks() for name in names),
    ]
    return merged(node[rows], pa.StructArray.from_arrays(arrays, fields=list(TEXT)), nodes, most)


def collapse(table: pa.Table) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Return the members of each node, with its best row, and the nodes.

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
    best = table.select(["rank", "unit", "sha256"]).take(pa.array(np.repeat(starts, sizes)))
    members = pa.table([*(table[field.name] for field in _MEMBER), *best.columns], schema=MEMBERS)
    nodes = table.select(NODES.names).take(pa.array(starts))
    return one_batch(members), one_batch(nodes)


def read_part(path: str, columns: list[str], prefer: str = "") -> pa.Table:
    """Return the rows of one part of fetch, which `fetch.unit_rows` bounds.

    Args:
        path: of the part.
        columns: those of `FETCHED` to read.
        prefer: one more column, of whole numbers.

    Raises:
        OpenwitError: if a column is not that of `FETCHED`: of another length, or with nulls; or a
            further one holds no whole numbers.
    """
    further = [prefer] if prefer and prefer not in columns else []
    with files.open_read(path) as file:
        table = pq.ParquetFile(file).read(columns=[*columns, *further])
    found = {name: table.schema.field(name) for name in table.schema.names}
    for name in columns:
        if not found[name].equals(FETCHED.field(name)):
            raise OpenwitError(
                f"{path}: column {found[name]}: must be {FETCHED.field(name)}: make the part again"
            )
    if prefer and (prefer not in found or not pa.types.is_integer(found[prefer].type)):
        raise OpenwitError(
            f"{path}: column {prefer}: must hold whole numbers, got {found.get(prefer)}: set "
            "dedup.prefer to another column"
        )
    return table.select([*columns, *further])
