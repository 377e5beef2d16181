"""A whole run of made-up rows: URL lists of any length, and images that nobody had to send.

Real are all stages, files and jobs, with the kernels that run in them. Made up are the lists, and
what hosts would answer: 16 small JPEGs, each stored once a unit, under hash records of which 30 %
stand in near-duplicate groups of three. So no time goes to requests and pixels, and what is left is
the hardest case for an engine: work by the row.
"""

import dataclasses
import functools
import hashlib
import io
import pathlib
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from filters.hashes.perceptual import self_test
from manifests.format.table import write_table
from pipeline.engine.parts import Sink
from pipeline.fetch.outcomes import HOSTS, OUTCOMES, settle
from pipeline.fetch.web import WebKernel

ROWS_OF_LIST = 62_500
"""So that a million rows make 16 units."""
WORDS = 20_000
"""Every other one is a query."""
WORDS_OF_TEXT = 8
ROWS_OF_HOST = 40
JPEGS = 16
GROUP, GROUPED = 3, 10
"""Of ten images, three show the same."""
FLIPPED_BITS = 8
LISTS = pa.schema([("url", pa.string()), ("text", pa.string())])
CONFIG = """
root = "run"
[input]
kind = "urls"
paths = ["@lists.txt"]
[queries]
file = "queries.txt"
[fetch]
source = "web"
contact = "https://example.com/"
[dedup]
audit_pairs = 0
"""


def write_job(folder: pathlib.Path, rows: int, units: int) -> str:
    """Write lists, queries and configuration of a run, and return where the configuration is.

    Args:
        folder: where; must not be there yet.
        rows: of all lists.
        units: lists, of nearly equal length.
    """
    folder.mkdir(parents=True)
    names = [f"list-{number:05d}.parquet" for number in range(units)]
    edges = np.linspace(0, rows, units + 1).astype(int).tolist()
    for name, start, stop in zip(names, edges[:-1], edges[1:], strict=True):
        write_table(folder / name, [_list_rows(start, stop)], LISTS)
    (folder / "lists.txt").write_text("\n".join(names), encoding="utf-8")
    queries = ["photo", *(f"word{number}" for number in range(0, WORDS, 2))]
    (folder / "queries.txt").write_text("\n".join(queries), encoding="utf-8")
    config = folder / "config.toml"
    config.write_text(CONFIG, encoding="utf-8")
    return str(config)


def _list_rows(start: int, stop: int) -> pa.RecordBatch:
    """Return rows whose texts have a head query in common, and four of the others on average."""
    drawn = np.random.default_rng(start).integers(0, WORDS, (stop - start, WORDS_OF_TEXT))
    texts = [
        f"photo {n} " + " ".join(f"word{word}" for word in row)
        for n, row in enumerate(drawn.tolist(), start)
    ]
    urls = [f"https://www.site{n // ROWS_OF_HOST}.com/{n}.jpg" for n in range(start, stop)]
    return pa.record_batch([urls, texts], schema=LISTS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MadeUpWeb(WebKernel):
    """The kernel of a round of fetch with answers of its own; pairs go the same ways."""

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Give each pair an image; all are stored."""
        _ = bucket
        pairs = tables["pair"].combine_chunks()
        refused = self._refused(pairs)
        urls = pairs["target"].unique()
        for settled in settle(pairs, refused, _outcomes(urls, sink) if len(urls) else _NONE):
            sink.write(settled.part)
            sink.write(settled.lost, "lost")
        sink.write(pa.RecordBatch.from_pylist([], schema=HOSTS), "hosts")
        sink.note("reused", 0)
        sink.note("retryable", 0)


_NONE = OUTCOMES.empty_table()


def _outcomes(urls: pa.Array, sink: Sink) -> pa.Table:
    """Store the JPEGs and return what was got from each URL."""
    blob = sink.open_blob()
    images = jpegs()
    offsets = np.array([blob.append(image) for image in images])
    names = urls.to_pylist()
    numbers = np.array([int(url.rpartition("/")[2].removesuffix(".jpg")) for url in names])
    chosen = numbers % JPEGS
    sha256 = [hashlib.sha256(image).digest() for image in images]
    columns: dict[str, Any] = {
        "url": urls,
        "original_sha256": [hashlib.sha256(name.encode()).digest() for name in names],
        "sha256": pa.array(sha256, pa.binary(32)).take(pa.array(chosen)),
        "blob_offset": offsets[chosen],
        "blob_bytes": np.array([len(image) for image in images])[chosen],
        "dedup_hash": pa.array(list(_hashes(numbers)), pa.binary(64)),
        **_constants(blob.close()),
    }
    arrays = [_column(field, columns.get(field.name), len(names)) for field in OUTCOMES]
    return pa.Table.from_arrays(arrays, schema=OUTCOMES)


def _column(field: pa.Field, values: Any, rows: int) -> pa.Array:
    if values is None or isinstance(values, str | bytes | int):
        return pa.repeat(pa.scalar(values, field.type), rows)
    if isinstance(values, list) and not values:
        return pa.repeat(pa.scalar([], field.type), rows)
    return (values if isinstance(values, pa.Array) else pa.array(values)).cast(field.type)


def _constants(blob: str) -> dict[str, Any]:
    return {
        "image_source": "web", "attempts": 1, "redirects": 0, "http_status": 200,
        "content_type": "image/jpeg", "original_format": "jpeg", "original_bytes": 20_000,
        "original_width": 640, "original_height": 480, "animated": False, "width": 640,
        "height": 480, "reencoded": False, "blob": blob, "image_flags": [],
        "dedup_chroma": b"\x80" * 32, "dedup_quality": 0, "dedup_flags": 0,
        "hash_version": self_test(),
    }  # fmt: skip


def _hashes(numbers: NDArray[np.int64]) -> list[bytes]:
    """Return hashes that are random, but for near-duplicate groups of three."""
    place = numbers % GROUPED
    shown = np.where(place < GROUP, numbers - place, numbers)
    found = []
    for number, image in zip(numbers.tolist(), shown.tolist(), strict=True):
        value = int.from_bytes(hashlib.shake_256(b"%d" % image).digest(64))
        if number != image:
            for bit in random.Random(number).sample(range(512), FLIPPED_BITS):  # noqa: S311 (a seed)
                value ^= 1 << bit
        found.append(value.to_bytes(64))
    return found


@functools.cache
def jpegs() -> tuple[bytes, ...]:
    """Return small JPEGs, all different."""
    found = []
    for number in range(JPEGS):
        noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).resize((64, 64)).save(buffer, "JPEG")
        found.append(buffer.getvalue())
    return tuple(found)
