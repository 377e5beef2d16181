"""The members of chosen rows, copied from the tars of one or several datasets."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from manifests.base.errors import OpenwitError
from manifests.format.join import SHARD
from manifests.format.manifest import Manifest
from manifests.format.schema import OFFSET_COLUMNS
from manifests.format.writer import Layout, Samples

WINDOW_BYTES = 32 << 20
"""Image bytes that are held at once."""
SOURCE = "_source"
"""Column of a row's dataset: its position among the sources."""


def windows(sources: Sequence[Manifest], table: pa.Table, layout: Layout) -> Iterator[Samples]:
    """Yield the samples of rows with their members, which are read together, images checked."""
    sizes = table["image_bytes"].to_numpy().astype(np.int64)
    start = 0
    while start < len(table):
        held = np.cumsum(sizes[start:])
        count = max(1, int(np.searchsorted(held, WINDOW_BYTES, "right")))
        part = table.slice(start, count)
        batch = part.select(layout.given_schema.names).combine_chunks().to_batches()[0]
        yield Samples(batch, *read_members(sources, part))
        start += count


def read_members(
    sources: Sequence[Manifest], table: pa.Table
) -> tuple[list[bytes], list[bytes], list[bytes | None]]:
    """Return image, text and JSON (None: there is none) of rows with `SOURCE` and `SHARD`.

    Raises:
        OpenwitError: if an image is not the one of its row.
    """
    count = len(table)
    found: list[bytes] = [b""] * (3 * count)
    places = list(zip(table[SOURCE].to_pylist(), table[SHARD].to_pylist(), strict=True))
    columns = {name: table[name].fill_null(0).to_numpy() for name in OFFSET_COLUMNS}
    for source, number in sorted(set(places)):
        reader = sources[source].reader(sources[source].shards[number])
        chosen = [at for at, place in enumerate(places) if place == (source, number)]
        ranges = [
            (int(columns[f"{kind}_offset"][at]), int(columns[f"{kind}_bytes"][at]))
            for kind in ("image", "text", "json")
            for at in chosen
        ]
        wanted = [part * count + at for part in range(3) for at in chosen]
        for place, data in zip(wanted, reader.read_ranges(ranges), strict=True):
            found[place] = data
        for at in chosen:
            actual, told = hashlib.sha256(found[at]).hexdigest(), table["sha256"][at].as_py()
            if actual != told:
                raise OpenwitError(
                    f"{reader.tar_path}: sample {table['key'][at]}: sha256 {actual}, its row says "
                    f"{told}: run openwit-manifest verify --deep"
                )
    has_json = table["json_offset"].is_valid().to_pylist()
    jsons = [data if has else None for data, has in zip(found[2 * count :], has_json, strict=True)]
    # A foreign caption may come out of a JSON member: then there is no text to copy.
    texts = [
        text or caption.encode()
        for text, caption in zip(
            found[count : 2 * count], table["caption"].to_pylist(), strict=True
        )
    ]
    return found[:count], texts, jsons
