"""Texts of too many pairs: counted by hash, so that only those over the limit become data."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.verdict import DropReason
from pipeline.engine import files
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.steps import Packet
from pipeline.engine.units import Unit
from pipeline.records import MATCHED
from pipeline.selection.ledger import ledger_rows
from pipeline.selection.pairs import Extras
from pipeline.selection.quotas import Listed

TEXTS = pa.schema(
    [
        pa.field("text_hash", pa.uint64(), nullable=False),
        pa.field("pairs", pa.int64(), nullable=False),
    ]
)
"""Pairs that have a text, by its hash."""


def text_hashes(texts: pa.Array) -> NDArray[np.uint64]:
    """Return 64 bits of each text, shape (texts,)."""
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts.to_pylist()]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


@dataclasses.dataclass(frozen=True)
class CountTexts:
    """`TEXTS` of all texts that more than `most` pairs have; buckets are ranges of hashes."""

    buckets: int
    most: int

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Yield each text of a unit once."""
        hashes = [
            text_hashes(batch["text"])
            for source in unit.sources
            for batch in read_batches(source.path, ["text"])
        ]
        found, counts = np.unique(
            np.concatenate([np.zeros(0, np.uint64), *hashes]), return_counts=True
        )
        bits = (self.buckets - 1).bit_length()
        buckets = found >> np.uint64(64 - bits) if bits else np.zeros_like(found)
        rows = pa.RecordBatch.from_arrays([pa.array(found), pa.array(counts)], schema=TEXTS)
        yield Packet("text", buckets.astype(np.int64), rows)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Write the texts of one range that are over the limit."""
        _ = bucket
        sums = tables["text"].group_by("text_hash").aggregate([("pairs", "sum")])
        sums = sums.sort_by("text_hash").rename_columns(TEXTS.names)
        for batch in sums.cast(TEXTS).combine_chunks().to_batches():
            counts = batch["pairs"].to_numpy()
            sink.write(batch.filter(pa.array(counts > self.most)))


@functools.lru_cache(maxsize=1)
def _load_texts(tables: Listed) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return hashes and counts of the files of `TEXTS`, in ascending order of hashes."""
    hashes, counts = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for path, _ in tables:
        if files.size_bytes(path):
            for batch in read_batches(path):
                hashes.append(batch["text_hash"].to_numpy())
                counts.append(batch["pairs"].to_numpy())
    order = np.argsort(np.concatenate(hashes), kind="stable")
    return np.concatenate(hashes)[order], np.concatenate(counts)[order]


@dataclasses.dataclass(frozen=True)
class LimitTexts:
    """Leave out the pairs whose text too many have."""

    texts: Listed
    extras: Extras

    def run(self, unit: Unit, sink: Sink) -> None:
        """Judge one unit."""
        kept = [MATCHED.empty_table()]
        for source in unit.sources:
            for batch in read_batches(source.path):
                sink.rows_in(batch.num_rows)
                frequent = _too_frequent(batch["text"], self.texts)
                lost = batch.take(pa.array(list(frequent), pa.int64()))
                reasons = [DropReason.TEXT_TOO_FREQUENT.value] * len(frequent)
                values = [str(count) for count in frequent.values()]
                sink.drop(ledger_rows(lost, sink.stage, reasons, values))
                stays = np.ones(batch.num_rows, np.bool_)
                stays[list(frequent)] = False
                rows = batch.filter(pa.array(stays))
                sink.write(rows)
                kept.append(pa.Table.from_batches([rows]))
        self.extras.write(pa.concat_tables(kept), sink)


def _too_frequent(texts: pa.Array, tables: Listed) -> dict[int, int]:
    """Return how many pairs have the text of each row, of rows whose text is over the limit."""
    known, counts = _load_texts(tables)
    if not len(known):
        return {}
    hashes = text_hashes(texts)
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    rows = np.flatnonzero(known[places] == hashes)
    return dict(zip(rows.tolist(), counts[places[rows]].tolist(), strict=True))
