"""Decisions about nodes to decisions about rows: who stays, who names whom, which texts go on."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.hashes.perceptual import FLAT
from filters.hashes.rank import text_key
from filters.verdict import DropReason
from manifests.base.errors import AccountingError
from manifests.format.ids import hex_text
from pipeline.dedup.columns import Keys, as_keys, bytes_of, fixed, keys_of, one_batch
from pipeline.dedup.nodes import node_keys
from pipeline.dedup.texts import TEXTS, as_lists, best_texts, flat, merged
from pipeline.records import ALTERNATE, DEDUPED, DROPS, ID

DECISIONS = pa.schema(
    [
        pa.field("node_key", ID, nullable=False),
        pa.field("best_id", ID, nullable=False),
        pa.field("best_sha256", pa.binary(32), nullable=False),
        pa.field("kept_id", ID, nullable=False),
        pa.field("distance", pa.uint16(), nullable=False),
        pa.field("is_near", pa.bool_(), nullable=False),
    ]
)
"""What a part is told of a node of which it drops rows: all if `is_near`, else not `best_id`."""
LEFT = pa.schema(
    [
        pa.field("kept_id", ID, nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("texts", TEXTS, nullable=False),
    ]
)
"""What duplicates leave to the part with the pair that stays: their number and texts."""


@dataclasses.dataclass(frozen=True)
class Sent:
    """Rows and the part of fetch that each goes to."""

    batch: pa.RecordBatch
    units: NDArray[np.int64]


def decide(members: pa.Table, gone: pa.Table, texts: int) -> tuple[Sent, Sent]:
    """Return the `DECISIONS` and the `LEFT` of one part of nodes.

    A member that drops no row makes neither: what a part hears nothing of stays.

    Args:
        members: columns of `MEMBERS`.
        gone: columns of `GONE`, those of the same part, sorted by rank.
        texts: most texts that a pair takes over.
    """
    best = keys_of(members["best"])
    place, is_near = _find(keys_of(gone["rank"]), best)
    kept_ids = np.ascontiguousarray(bytes_of(members["best"])[:, 4:])
    units = members["best_unit"].to_numpy().astype(np.int64)
    distance = np.zeros(len(best), np.uint16)
    near = np.flatnonzero(is_near)
    kept_ids[near] = bytes_of(gone["kept_id"])[place[near]]
    units[near] = gone["kept_unit"].to_numpy()[place[near]]
    distance[near] = gone["distance"].to_numpy()[place[near]]
    stays = ~is_near & (keys_of(members["rank"]) == best)
    dropped = members["rows"].to_numpy() - stays

    rows = np.flatnonzero(dropped)
    taken = members.take(pa.array(rows))
    columns = [
        taken["node_key"],
        fixed(bytes_of(taken["best"])[:, 4:]),
        taken["best_sha256"],
        fixed(kept_ids[rows]),
        pa.array(distance[rows]),
        pa.array(is_near[rows]),
    ]
    decisions = one_batch(pa.table(columns, schema=DECISIONS))
    left = _left(as_keys(kept_ids[rows]), units[rows], dropped[rows], taken["texts"], texts + 1)
    return Sent(decisions, taken["unit"].to_numpy().astype(np.int64)), left


def _left(
    kept_ids: Keys,
    units: NDArray[np.int64],
    dropped: NDArray[np.int64],
    lists: pa.ChunkedArray,
    most: int,
) -> Sent:
    """Return one row a kept pair; one text more than it may have, for one may be its own."""
    names, first, group = np.unique(kept_ids, return_index=True, return_inverse=True)
    sums = np.zeros(len(names), np.int64)
    np.add.at(sums, group, dropped)
    number, values = flat(lists)
    texts = merged(group[number], values, len(names), most)
    arrays = [fixed(names), pa.array(sums), texts]
    return Sent(pa.RecordBatch.from_arrays(arrays, schema=LEFT), units[first])


def finish_rows(
    rows: pa.Table, decisions: pa.Table, left: pa.Table, stage: str, texts: int
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Return the rows that stay, as `DEDUPED`, and those that go, as `DROPS`.

    Args:
        rows: columns of `FETCHED`, all of one part, sorted by pair id.
        decisions: columns of `DECISIONS`, sorted by node key.
        left: columns of `LEFT`.
        stage: the stage's name in the ledger.
        texts: most texts that a pair takes over.

    Raises:
        AccountingError: if something was left to a pair that does not stay.
    """
    place, told = _find(keys_of(decisions["node_key"]), node_keys(rows))
    told_rows = np.flatnonzero(told)
    mine = decisions.take(pa.array(place[told_rows]))
    is_near = mine["is_near"].to_numpy()
    ids = keys_of(rows["pair_id"])
    drops = is_near | (keys_of(mine["best_id"]) != ids[told_rows])
    gone = told_rows[drops]
    ledger = _ledger(rows.take(pa.array(gone)), mine.filter(pa.array(drops)), is_near[drops], stage)
    stays = np.ones(len(ids), np.bool_)
    stays[gone] = False
    return _kept(rows.filter(pa.array(stays)), left, texts), ledger


def _ledger(
    rows: pa.Table, decisions: pa.Table, is_near: NDArray[np.bool_], stage: str
) -> pa.RecordBatch:
    same_bytes = keys_of(rows["original_sha256"]) == keys_of(decisions["best_sha256"])
    is_flat = (rows["dedup_flags"].to_numpy() & FLAT) != 0
    reasons = np.select(
        [is_near, same_bytes, is_flat],
        [
            np.full(len(is_near), reason.value, object)
            for reason in (DropReason.DUP_NEAR, DropReason.DUP_BYTES, DropReason.DUP_PIXELS)
        ],
        np.full(len(is_near), DropReason.DUP_SIGNATURE.value, object),
    )
    kept_ids = decisions["kept_id"].combine_chunks()
    distances = decisions["distance"].combine_chunks().cast(pa.string())
    columns = [
        rows["pair_id"],
        pa.repeat(stage, rows.num_rows),
        pa.array(reasons, pa.string()),
        pc.binary_join_element_wise(hex_text(kept_ids), distances, ":"),
        pa.repeat(pa.scalar(1, pa.int64()), rows.num_rows),
        rows["url"],
        rows["text"],
    ]
    return one_batch(pa.table(columns, schema=DROPS))


def _kept(rows: pa.Table, left: pa.Table, most: int) -> pa.RecordBatch:
    """Add to the rows that stay what their duplicates left them."""
    names, group = np.unique(keys_of(left["kept_id"]), return_inverse=True)
    place, found = _find(keys_of(rows["pair_id"]), names)
    if not found.all():
        name = left["kept_id"][int(np.flatnonzero(~found[group])[0])].as_py().hex()
        raise AccountingError(
            f"pair {name}: duplicates name it, but it does not stay: this is a fault of openwit, "
            "report it"
        )
    duplicates = np.zeros(rows.num_rows, np.int32)
    np.add.at(duplicates, place[group], left["rows"].to_numpy().astype(np.int32))
    number, values = flat(left["texts"])
    own = b"".join(map(text_key, rows["text"].take(pa.array(place)).to_pylist()))
    own_keys = np.frombuffer(own, "S16")[group[number]]
    others = np.flatnonzero(keys_of(values.field("key")) != own_keys)
    owner, values = place[group[number[others]]], values.take(pa.array(others))
    chosen = best_texts(owner, values, most)
    alternates = as_lists(owner[chosen], _alternates(values.take(pa.array(chosen))), rows.num_rows)
    added = [
        pa.array(duplicates),
        alternates,
        rows["pair_id"],
        as_lists(np.zeros(0, np.int64), pa.array([], pa.string()), rows.num_rows),
    ]
    return one_batch(pa.table([*rows.columns, *added], schema=DEDUPED))


def _alternates(texts: pa.StructArray) -> pa.StructArray:
    names = [field.name for field in ALTERNATE]
    return pa.StructArray.from_arrays([texts.field(name) for name in names], fields=list(ALTERNATE))


def _find(among: Keys, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the place of each key among sorted ones, and whether it is there."""
    if not len(among):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.bool_)
    place = np.minimum(np.searchsorted(among, keys), len(among) - 1)
    return place, among[place] == keys
