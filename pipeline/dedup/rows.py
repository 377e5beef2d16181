"""Rows of a part by what it was told: who stays and with which texts, who goes and for whom."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.hashes.perceptual import FLAT
from filters.hashes.rank import NEW, SCORE_BYTE, text_key
from filters.verdict import DropReason
from manifests.base.errors import AccountingError
from manifests.format.ids import hex_text
from pipeline.dedup.nodes import node_keys
from pipeline.dedup.settings import DedupSettings
from pipeline.dedup.texts import as_lists, best_texts, flat
from pipeline.engine.parts import one_batch
from pipeline.hashes.columns import Keys, bytes_of, find, fixed, keys_of
from pipeline.records import ALTERNATE, DEDUPED, DROPS, ID

DROPPED = pa.schema(
    [
        pa.field("pair_id", ID, nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        ("dup_of", ID),
        pa.field("distance", pa.uint16(), nullable=False),
        pa.field("generation", pa.uint8(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("dedup_chroma", pa.binary(32), nullable=False),
        pa.field("blob", pa.string(), nullable=False),
        pa.field("blob_offset", pa.int64(), nullable=False),
        pa.field("blob_bytes", pa.int32(), nullable=False),
    ]
)
"""A dropped pair, the one it matched and that one's generation: 0 for evaluation sets and block
lists, 1 for published datasets, 2 for this run; and where its image is, for the audit."""
_FIXED = {DropReason.BLOCKED_HASH: 0, DropReason.CONTAMINATED: 0, DropReason.DUP_STORE: 1}
"""Reasons for which no pair of this run stays instead, and the generation of what was matched."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What becomes of the rows of a part."""

    kept: pa.RecordBatch
    """Columns of `DEDUPED`."""
    ledger: pa.RecordBatch
    """Columns of `DROPS`."""
    dropped: pa.RecordBatch
    """Columns of `DROPPED`."""


def finish_rows(
    rows: pa.Table, told: Mapping[str, pa.Table], stage: str, settings: DedupSettings
) -> Outcome:
    """Split the rows of one part.

    Args:
        rows: columns of `FETCHED`, sorted by pair id.
        told: by tag what the part was sent: `decision` sorted by node key, `left`, `flag`, and
            `caption` under the policy `image_k`.
        stage: the stage's name in the ledger.
        settings: policies of texts.

    Raises:
        AccountingError: if something was left to a pair that does not stay.
    """
    decisions = told["decision"]
    place, is_told = find(keys_of(decisions["node_key"]), node_keys(rows, settings))
    told_rows = np.flatnonzero(is_told)
    mine = decisions.take(pa.array(place[told_rows]))
    reasons = _reasons(rows.take(pa.array(told_rows)), mine)
    ids = keys_of(rows["pair_id"])
    drops = mine["reason"].is_valid().to_numpy()
    drops |= keys_of(mine["best_id"]) != ids[told_rows]
    if "caption" in told:
        stays, is_over = _captions(rows.take(pa.array(told_rows)), mine, told["caption"])
        drops &= ~stays
        reasons[is_over] = DropReason.CAPTION_LIMIT.value
    gone = told_rows[drops]
    kept = np.ones(len(ids), np.bool_)
    kept[gone] = False
    clusters = ids.copy()
    clusters[told_rows] = keys_of(mine["kept_id"])
    gone_rows, mine = rows.take(pa.array(gone)), mine.filter(pa.array(drops))
    return Outcome(
        kept=_kept(rows.filter(pa.array(kept)), clusters[kept], told, settings),
        ledger=_ledger(gone_rows, mine, reasons[drops], stage),
        dropped=_dropped(gone_rows, mine, reasons[drops]),
    )


def _reasons(rows: pa.Table, decisions: pa.Table) -> NDArray[np.object_]:
    """Return why each row goes, if it goes."""
    given = decisions["reason"].to_numpy()
    same_bytes = keys_of(rows["original_sha256"]) == keys_of(decisions["best_sha256"])
    is_flat = (rows["dedup_flags"].to_numpy() & FLAT) != 0
    found = np.full(len(given), DropReason.DUP_SIGNATURE.value, object)
    found[is_flat] = DropReason.DUP_PIXELS.value
    found[same_bytes] = DropReason.DUP_BYTES.value
    is_given = decisions["reason"].is_valid().to_numpy()
    found[is_given] = given[is_given]
    return found


def _captions(
    rows: pa.Table, decisions: pa.Table, captions: pa.Table
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which rows stay for their texts, and whose texts are too many for their image."""
    ids: dict[bytes, set[bytes]] = {}
    keys: dict[bytes, set[bytes]] = {}
    for caption in captions.to_pylist():
        ids.setdefault(caption["kept_id"], set()).add(caption["pair_id"])
        keys.setdefault(caption["kept_id"], set()).add(caption["key"])
    stays, is_over = np.zeros(rows.num_rows, np.bool_), np.zeros(rows.num_rows, np.bool_)
    names, texts = rows["pair_id"].to_pylist(), rows["text"].to_pylist()
    for row, cluster in enumerate(decisions["kept_id"].to_pylist()):
        if cluster in ids:
            stays[row] = names[row] in ids[cluster]
            is_over[row] = text_key(texts[row]) not in keys[cluster]
    return stays, is_over


def _ledger(
    rows: pa.Table, decisions: pa.Table, reasons: NDArray[np.object_], stage: str
) -> pa.RecordBatch:
    kept_ids = decisions["kept_id"].combine_chunks()
    distances = decisions["distance"].combine_chunks().cast(pa.string())
    named = pc.binary_join_element_wise(hex_text(kept_ids), distances, ":")
    columns = [
        rows["pair_id"],
        pa.repeat(stage, rows.num_rows),
        pa.array(reasons, pa.string()),
        pc.coalesce(decisions["value"], named),
        pa.repeat(pa.scalar(1, pa.int64()), rows.num_rows),
        rows["url"],
        rows["text"],
    ]
    return one_batch(pa.table(columns, schema=DROPS))


def _dropped(rows: pa.Table, decisions: pa.Table, reasons: NDArray[np.object_]) -> pa.RecordBatch:
    generations = [_FIXED.get(reason, NEW) for reason in reasons.tolist()]
    has_pair = pa.array([generation > 0 for generation in generations], pa.bool_())
    columns = {
        **{name: rows[name] for name in DROPPED.names if name in rows.column_names},
        "reason": pa.array(reasons, pa.string()),
        "dup_of": pc.if_else(has_pair, decisions["kept_id"], pa.scalar(None, ID)),
        "distance": decisions["distance"],
        "generation": pa.array(generations, pa.uint8()),
    }
    return one_batch(pa.table([columns[name] for name in DROPPED.names], schema=DROPPED))


def _kept(
    rows: pa.Table, clusters: Keys, told: Mapping[str, pa.Table], settings: DedupSettings
) -> pa.RecordBatch:
    """Add to the rows that stay what their duplicates left them."""
    left, ids = told["left"], keys_of(rows["pair_id"])
    names, group = np.unique(keys_of(left["kept_id"]), return_inverse=True)
    place, found = find(ids, names)
    if not found.all():
        name = left["kept_id"][int(np.flatnonzero(~found[group])[0])].as_py().hex()
        raise AccountingError(
            f"pair {name}: duplicates name it, but it does not stay: this is a fault of openwit, "
            "report it"
        )
    duplicates = np.zeros(rows.num_rows, np.int32)
    np.add.at(duplicates, place[group], left["rows"].to_numpy().astype(np.int32))
    added = [
        pa.array(duplicates),
        _alternates(rows, left["texts"], place[group], settings),
        fixed(clusters),
        _eval_hits(ids, told.get("flag")),
    ]
    return one_batch(pa.table([*rows.columns, *added], schema=DEDUPED))


def _alternates(
    rows: pa.Table, lists: pa.ChunkedArray, owners: NDArray[np.int64], settings: DedupSettings
) -> pa.Array:
    """Return the texts that each row takes over: the best but its own and those that stay."""
    number, values = flat(lists)
    owner = owners[number]
    heirs, of_heir = np.unique(owner, return_inverse=True)
    own = b"".join(map(text_key, rows["text"].take(pa.array(heirs)).to_pylist()))
    others = np.flatnonzero(keys_of(values.field("key")) != np.frombuffer(own, "S16")[of_heir])
    own_pairs = settings.captions_k - 1 if settings.text == "image_k" else 0
    owner, values = owner[others], values.take(pa.array(others))
    chosen = best_texts(owner, values, own_pairs + settings.alternates_max, own_pairs)
    chosen = chosen[bytes_of(values.field("rank"))[chosen, SCORE_BYTE] < 255]
    owner, values = owner[chosen], values.take(pa.array(chosen))
    names = [field.name for field in ALTERNATE]
    texts = pa.StructArray.from_arrays([values.field(n) for n in names], fields=list(ALTERNATE))
    return as_lists(owner, texts, rows.num_rows)


def _eval_hits(ids: Keys, flags: pa.Table | None) -> pa.Array:
    """Return the list of what each row shows of evaluation sets."""
    if flags is None:
        return as_lists(np.zeros(0, np.int64), pa.array([], pa.string()), len(ids))
    place, found = find(ids, keys_of(flags["pair_id"]))
    owner, hits = place[found], flags["hit"].combine_chunks().filter(pa.array(found))
    return as_lists(owner, hits, len(ids))
