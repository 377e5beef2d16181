"""Small datasets of noise pictures, written by `ShardWriter`; some samples damaged on purpose."""

import hashlib
import io
import itertools
import pathlib
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from manifests.derivation.build import blank_manifest
from manifests.format import Layout, Manifest, Samples, ShardWriter
from manifests.format.ids import pair_id
from manifests.format.schema import describe

WIDTH, HEIGHT = 20, 16
Changes = Mapping[int, bytes | str]
"""By sample number: another image file, or another caption."""
DatasetMaker = Callable[..., Manifest]


def noise_jpeg(number: int) -> bytes:
    """A picture that differs in every pixel from those of other numbers."""
    pixels = hashlib.shake_128(str(number).encode()).digest(3 * WIDTH * HEIGHT)
    file = io.BytesIO()
    Image.frombytes("RGB", (WIDTH, HEIGHT), pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def make_row(identity: str, number: int, caption: str, image: bytes) -> dict[str, Any]:
    return {
        "pair_id": identity,
        "url": f"http://host.example/{number}.jpg",
        "caption": caption,
        "caption_source": "alt",
        "alternates": [],
        "seen": 1,
        "query_ids": [],
        "selected_by": [],
        "width": WIDTH,
        "height": HEIGHT,
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "sha256": hashlib.sha256(image).hexdigest(),
        "reencoded": False,
        "duplicates": 0,
        "image_source": "web",
    }


def write_dataset(folder: pathlib.Path, sizes: Sequence[int], changes: Changes) -> Manifest:
    """Write shards of the given sizes; sample numbers count through all shards."""
    layout = Layout(samples_per_shard=max(sizes))
    ids = sorted(pair_id(f"http://host.example/{n}.jpg", "x").hex() for n in range(sum(sizes)))
    rows, images = [], []
    for number, identity in enumerate(ids):
        change = changes.get(number)
        image = change if isinstance(change, bytes) else noise_jpeg(number)
        caption = change if isinstance(change, str) else f"a photo of thing {number}"
        rows.append(make_row(identity, number, caption, image))
        images.append(image)
    shards = []
    for shard, (start, end) in enumerate(itertools.pairwise(itertools.accumulate([0, *sizes]))):
        batch = pa.RecordBatch.from_pylist(rows[start:end], schema=layout.given_schema)
        samples = Samples(batch, images[start:end])
        shards.append(ShardWriter(shard, str(folder), [samples], layout=layout).write())
    return blank_manifest(
        str(folder), "toy", describe(layout.schema), shards, files=(), per_shard=max(sizes)
    )


@pytest.fixture(scope="module")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetMaker:
    """Call it with the sizes of the shards and, if wanted, changed samples."""

    def make(sizes: Sequence[int], changes: Changes | None = None) -> Manifest:
        return write_dataset(tmp_path_factory.mktemp("dataset"), sizes, changes or {})

    return make
