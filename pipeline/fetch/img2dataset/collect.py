"""Pairs that were read from finished shards to their images: nothing is asked of any host."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.verdict import Drop, DropReason
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.steps import Packet, top_bits
from pipeline.engine.units import Unit
from pipeline.fetch.collect import Blocked, Images, fetched_rows, prepared_or_dropped
from pipeline.fetch.img2dataset.shards import Found, Shard, open_shard
from pipeline.fetch.locate import LOCATED, dropped
from pipeline.fetch.settings import FetchSettings
from pipeline.fetch.sources import path_of
from pipeline.records import MATCHED

_KEY_BYTES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardsKernel:
    """Pairs meet by shard, so that each shard is opened once."""

    buckets: int
    settings: FetchSettings
    base: str
    """The folder or URI below which the shards lie; no output depends on it."""
    blocked: Blocked | None = None

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Yield pairs by the shard that they were read from."""
        for source in unit.sources:
            for batch in read_batches(source.path):
                if batch.num_rows:
                    yield Packet("pair", self._shard_buckets(batch["source_file"]), batch)

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Prepare the images of whole shards."""
        pairs = tables["pair"].combine_chunks()
        sink.rows_in(pairs.num_rows)
        images = Images(sink)
        verdicts: dict[int, Drop] = {}
        numbers: list[int] = []
        sizes: list[int] = []
        for rows, found in self._images(pairs):
            drop = found if isinstance(found, Drop) else self._take(found, images)
            if drop is not None:
                verdicts |= dict.fromkeys(rows, drop)
            numbers += [len(images.rows) - 1] * len(rows)
            sizes += [0 if isinstance(found, Drop) else len(found.body)] * len(rows)
        sink.drop(dropped(pairs, verdicts))
        keep = pa.array([row not in verdicts for row in range(pairs.num_rows)], pa.bool_())
        if images.rows:
            kept = _located(pairs, sizes).filter(keep)
            chosen = pa.array(numbers, pa.int64()).filter(keep)
            blob = images.close()
            sink.write(fetched_rows(kept, chosen, images.rows, blob, source="img2dataset"))

    def _images(self, pairs: pa.Table) -> Iterator[tuple[list[int], Found | Drop]]:
        """Yield the pairs' rows by image, in order, with the image or why there is none."""
        files, numbers = pairs["source_file"].to_pylist(), pairs["source_offset"].to_pylist()
        for name, rows in itertools.groupby(range(len(files)), key=files.__getitem__):
            with open_shard(path_of(self.base, name)) as shard:
                for number, same in itertools.groupby(rows, key=numbers.__getitem__):
                    yield list(same), _image(shard, number, self.settings.max_bytes)

    def _take(self, found: Found, images: Images) -> Drop | None:
        """Store an image; return why it is not kept."""
        digest = found.original_sha256 or hashlib.sha256(found.body).digest()
        image = prepared_or_dropped(found.body, digest, self.settings, self.blocked)
        if isinstance(image, Drop):
            return image
        original = {
            "original_sha256": digest,
            "original_width": found.original_width or image.original_width,
            "original_height": found.original_height or image.original_height,
        }
        images.add(image, len(found.body), original)
        return None

    def _shard_buckets(self, names: pa.Array) -> NDArray[np.int64]:
        keys = [
            hashlib.blake2b(name.encode(), digest_size=_KEY_BYTES).digest()
            for name in names.to_pylist()
        ]
        return top_bits(pa.array(keys, pa.binary(_KEY_BYTES)), self.buckets)


def _image(shard: Shard, number: int, max_bytes: int) -> Found | Drop:
    found = shard.image(number)
    if isinstance(found, Found) and len(found.body) > max_bytes:
        return Drop(DropReason.TOO_LARGE, len(found.body))
    return found


def _located(pairs: pa.Table, sizes: list[int]) -> pa.Table:
    """Return pairs with the columns of `LOCATED`: their record is their row of the shard."""
    count = pairs.num_rows
    made = {
        "redirects": pa.array(np.zeros(count, np.int8)),
        "final_url": pairs["url"],
        "image_file": pairs["source_file"],
        "image_record": pairs["source_offset"],
        "image_length": pa.array(sizes, pa.int64()),
    }
    columns = [
        pairs[field.name]
        if field.name in MATCHED.names
        else made.get(field.name, pa.nulls(count, field.type))
        for field in LOCATED
    ]
    return pa.Table.from_arrays(columns, schema=LOCATED)
