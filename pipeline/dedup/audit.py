"""What a run missed and what it merged: a measured sample, and a page of pairs to look at."""

import base64
import csv
import dataclasses
import hashlib
import html
import io
import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.hashes.hamming import near_pairs, words
from filters.hashes.matching import CHROMA_BYTES, Nearness, Probes, near
from filters.hashes.perceptual import FLAT
from filters.hashes.rank import NEW, text_key
from pipeline.dedup.settings import DedupSettings
from pipeline.engine import files
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.units import FileRecord, Unit
from pipeline.hashes.columns import Keys, as_keys, bytes_of, fixed, keys_of, read_table
from pipeline.records import DEDUPED, ID

MISSED = pa.schema(
    [
        pa.field("pair_id", ID, nullable=False),
        pa.field("other_id", ID, nullable=False),
        pa.field("distance", pa.uint16(), nullable=False),
    ]
)
"""A kept pair of the sample and another kept pair that is near it."""
DISTANCES = (0, 15, 31, 64, 100)
"""Upper ends of the ranges of distances."""
_PROBE_COLUMNS = [
    *("pair_id", "cluster_id", "text"),
    *("dedup_hash", "dedup_chroma", "dedup_flags", "dedup_trim"),
]
_IMAGE_COLUMNS = ["pair_id", "url", "text", "dedup_chroma", "blob", "blob_offset", "blob_bytes"]
EMBEDDED_BYTES = 256 << 10
"""Larger images are named on the page, not shown."""

Row = dict[str, Any]
Pair = tuple[Row, Row]
"""A dropped row and the kept one that stays for it."""


@dataclasses.dataclass(frozen=True)
class Audit:
    """Kept and dropped rows to measured misses and a page of pairs."""

    settings: DedupSettings

    def run(self, unit: Unit, sink: Sink) -> None:
        """Measure a sample of kept rows by brute force, and show some of the dropped ones."""
        parts = [source.path for source in unit.sources if source.role == "part"]
        dropped = [source.path for source in unit.sources if source.role == "dropped"]
        self._measure(parts, sink)
        if self.settings.audit_pairs:
            pairs = _with_kept(_chosen(dropped, self.settings.audit_pairs), parts)
            _publish(sink, "page", "pairs.html", _page(pairs, sink.root).encode())
            _publish(sink, "table", "pairs.csv", _table(pairs).encode())
            sink.note("pairs", len(pairs))

    def _measure(self, parts: list[str], sink: Sink) -> None:
        # The other presets take other hashes for equal.
        compares = self.settings.preset in ("openwit", "exact")
        sample = _sample(parts, self.settings.audit_sample if compares else 0)
        mine = self._probes(sample)
        found: list[pa.RecordBatch] = []
        for path in parts if sample.num_rows else ():
            for batch in read_batches(path, _PROBE_COLUMNS):
                theirs = self._probes(pa.Table.from_batches([batch]))
                found.append(_missed(mine, theirs, self.settings.nearness))
        table = pa.Table.from_batches(found, schema=MISSED).group_by(["pair_id", "other_id"])
        missed = table.aggregate([("distance", "min")]).rename_columns(MISSED.names)
        missed = missed.cast(MISSED).sort_by([("pair_id", "ascending"), ("other_id", "ascending")])
        rows = len(missed["pair_id"].unique())
        low, high = wilson(rows, sample.num_rows)
        sink.note("sample", sample.num_rows)
        sink.note("rows_with_missed", rows)
        sink.note("missed_share", [rows / max(1, sample.num_rows), low, high])
        sink.note("missed_by_distance", by_distance(missed["distance"].to_numpy()))
        for batch in missed.to_batches():
            sink.write(batch)

    def _probes(self, rows: pa.Table) -> Probes:
        """Return the probes of rows that are not flat; their ranks are the pair ids."""
        flags = rows["dedup_flags"].to_numpy()
        has_trim = np.array(rows["dedup_trim"].combine_chunks().is_valid())
        first = np.flatnonzero((flags & FLAT) == 0)
        second = np.flatnonzero(has_trim & ((flags & FLAT) == 0))
        trim = bytes_of(rows["dedup_trim"])[second]
        order = np.concatenate([first, second])
        texts = np.zeros(len(flags), np.uint64)
        if self.settings.text == "image_text":
            keys = b"".join(text_key(text)[:8] for text in rows["text"].to_pylist())
            texts = np.frombuffer(keys, np.uint64)
        return Probes(
            hashes=np.concatenate([bytes_of(rows["dedup_hash"])[first], trim[:, :64]]),
            chroma=np.concatenate([bytes_of(rows["dedup_chroma"])[first], trim[:, 64:96]]),
            flags=np.concatenate([flags[first], trim[:, 96]]),
            ranks=keys_of(rows["cluster_id"])[order],  # pairs of one image count as one
            texts=texts[order],
            fixed=np.zeros(len(order), np.bool_),
        )


def wilson(found: int, of: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share."""
    if not of:
        return 0.0, 1.0
    z, share = 1.959964, found / of
    middle = share + z * z / (2 * of)
    spread = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def by_distance(distances: NDArray[np.uint16]) -> dict[str, int]:
    """Return how many distances are in each range."""
    lows = (0, *(end + 1 for end in DISTANCES[:-1]))
    return {
        f"{low}-{high}": int(((distances >= low) & (distances <= high)).sum())
        for low, high in zip(lows, DISTANCES, strict=True)
    }


def _order(ids: pa.ChunkedArray | pa.Array) -> Keys:
    """Return what a sample of pair ids is drawn by: those with the smallest values."""
    digests = [
        hashlib.blake2b(each, digest_size=8, key=b"audit").digest() for each in ids.to_pylist()
    ]
    return as_keys(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 8))


def _sample(parts: list[str], rows: int) -> pa.Table:
    """Return the kept rows, not flat, whose keyed hashes are smallest; few are held at a time."""
    held: pa.Table | None = None
    for path in parts if rows else ():
        table = read_table(path, _PROBE_COLUMNS)
        table = table.filter(pc.equal(pc.bit_wise_and(table["dedup_flags"], FLAT), 0))
        held = table if held is None else pa.concat_tables([held, table])
        order = np.argsort(_order(held["pair_id"]), kind="stable")[:rows]
        held = held.take(pa.array(order))
    return held if held is not None else DEDUPED.empty_table().select(_PROBE_COLUMNS)


def _missed(mine: Probes, theirs: Probes, rule: Nearness) -> pa.RecordBatch:
    """Compare all; return pairs that should have been one."""
    fields = [field.name for field in dataclasses.fields(Probes)]
    both = Probes(
        *(np.concatenate([getattr(each, name) for each in (mine, theirs)]) for name in fields)
    )
    bits, size = words(both.hashes), len(mine.flags)
    most = max(rule.threshold, rule.threshold_graphic)
    found = [
        near(both, bits, row, column + size, rule)
        for row, column in near_pairs(bits[:size], bits[size:], most)
    ]
    rows, others = (
        np.concatenate([np.zeros(0, np.int64), *(each[side] for each in found)]) for side in (0, 1)
    )
    apart = np.concatenate([np.zeros(0, np.uint16), *(each[2] for each in found)])
    columns = [fixed(both.ranks[rows]), fixed(both.ranks[others]), pa.array(apart)]
    return pa.RecordBatch.from_arrays(columns, schema=MISSED)


def _chosen(dropped: list[str], most: int) -> list[Row]:
    """Return dropped rows that another pair of this run stays for, as many of each distance."""
    held: dict[int, list[tuple[bytes, Row]]] = {place: [] for place in range(len(DISTANCES))}
    for path in dropped:
        for batch in read_batches(path):
            rows = batch.filter(pc.equal(batch["generation"], NEW))
            places = np.searchsorted(DISTANCES, rows["distance"].to_numpy()).tolist()
            drawn = zip(places, _order(rows["pair_id"]).tolist(), rows.to_pylist(), strict=True)
            for place, order, row in drawn:
                held[place].append((order, row))
            for place, some in held.items():
                held[place] = sorted(some, key=lambda each: each[0])[:most]
    turns = (some[turn][1] for turn in range(most) for some in held.values() if turn < len(some))
    chosen = list(itertools.islice(turns, most))
    return sorted(chosen, key=lambda row: (row["distance"], row["pair_id"]))


def _with_kept(dropped: list[Row], parts: Iterable[str]) -> list[Pair]:
    """Return dropped rows, each with the one that stays for it."""
    wanted = np.unique(np.array([row["dup_of"] for row in dropped], "S16"))
    kept: dict[bytes, Row] = {}
    for path in parts if dropped else ():
        for batch in read_batches(path, _IMAGE_COLUMNS):
            rows = batch.filter(pa.array(np.isin(keys_of(batch["pair_id"]), wanted)))
            kept.update((row["pair_id"], row) for row in rows.to_pylist())
    return [(row, kept[row["dup_of"]]) for row in dropped]


def _colours(pair: Pair) -> float:
    """Return the mean difference of colours, in levels."""
    left, right = (np.frombuffer(row["dedup_chroma"], np.uint8).astype(np.int16) for row in pair)
    return round(float(np.abs(left - right).sum() / CHROMA_BYTES), 2)


def _facts(pair: Pair) -> tuple[str, ...]:
    row, kept = pair
    ids = (row["pair_id"].hex(), kept["pair_id"].hex())
    return (*ids, row["reason"], str(row["distance"]), str(_colours(pair)))


def _table(pairs: list[Pair]) -> str:
    """Return the pairs as CSV, with an empty column for a verdict."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ("dropped", "kept", "reason", "distance", "chroma", "dropped_url", "kept_url")
    writer.writerow((*names, "verdict"))
    for pair in pairs:
        writer.writerow((*_facts(pair), *(row["url"] for row in pair), ""))
    return out.getvalue()


def _page(pairs: list[Pair], root: str) -> str:
    """Return the pairs as one page that needs no other file."""
    rows = [
        "<tr>"
        + "".join(f"<td>{_image(row, root)}<br>{html.escape(row['text'])}</td>" for row in pair)
        + "".join(f"<td>{html.escape(fact)}</td>" for fact in _facts(pair)[2:])
        + "</tr>"
        for pair in pairs
    ]
    heads = "".join(f"<th>{name}</th>" for name in ("dropped", "kept", "reason", "bits", "chroma"))
    return (
        '<!doctype html><meta charset="utf-8"><title>dropped pairs</title>'
        "<style>img{max-width:256px;max-height:256px}td{vertical-align:top}</style>"
        f"<table><tr>{heads}</tr>\n" + "\n".join(rows) + "\n</table>\n"
    )


def _image(row: Row, root: str) -> str:
    """Return the stored image inside an element, or its address if it is large."""
    if row["blob_bytes"] > EMBEDDED_BYTES:
        return html.escape(row["url"])
    with files.open_read(files.join(root, row["blob"])) as file:
        file.seek(row["blob_offset"])
        data = base64.b64encode(file.read(row["blob_bytes"])).decode()
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'


def _publish(sink: Sink, role: str, name: str, data: bytes) -> None:
    path = f"{sink.folder}/audit/{sink.unit.id}-{name}"
    with files.new_file(files.join(sink.root, sink.folder)) as file:
        file.write(data)
        files.make_folder(files.join(sink.root, sink.folder, "audit"))
        file.publish(files.join(sink.root, path))
        sink.register(FileRecord(role=role, name=path, bytes=file.bytes, sha256=file.sha256))
