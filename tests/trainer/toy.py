"""A small dataset that can be learned: flat pictures, each with its colours as caption."""

import hashlib
import io
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from manifests.format import Layout, Manifest, Samples, ShardWriter, commit
from manifests.format.ids import pair_id
from manifests.format.records import ListedFile
from manifests.format.schema import QUERIES, describe
from trainer.config import load_config
from trainer.plan import Plan, make_plan

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 30),
    "blue": (30, 60, 220),
    "yellow": (230, 220, 40),
    "black": (10, 10, 10),
    "white": (250, 250, 250),
    "pink": (250, 150, 190),
}
BASE = (
    "train.data.workers=0",
    "train.global_batch=8",
    "train.model.name=micro-64",
    "train.log.every_s=0",
    "train.log.tensorboard=false",
)


def picture(number: int) -> tuple[bytes, str]:
    """A JPEG file and its caption; 42 differ."""
    names = list(COLOURS)
    upper, lower = names[number % 7], names[(number // 7 + number + 1) % 7]
    image = Image.new("RGB", (32, 32), COLOURS[upper])
    image.paste(COLOURS[lower], (0, 16, 32, 32))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue(), f"{upper} over {lower}"


def write_dataset(
    folder: pathlib.Path,
    count: int,
    per_shard: int,
    changes: Mapping[int, bytes | str] | None = None,
    *,
    with_queries: bool = False,
) -> Manifest:
    """Write a dataset; `changes` gives samples, by their number, another image file or caption.

    Queries, if there are any, are the upper colours.
    """
    layout = Layout(samples_per_shard=per_shard)
    rows, images = [], {}
    for number in range(count):
        image, caption = picture(number)
        change = (changes or {}).get(number)
        image = change if isinstance(change, bytes) else image
        caption = change if isinstance(change, str) else caption
        identity = pair_id(f"http://host.example/{number}.jpg", caption).hex()
        images[identity] = image
        row = _row(identity, number, caption, image)
        rows.append(row | {"query_ids": [number % 7] if with_queries else []})
    rows.sort(key=lambda row: row["pair_id"])
    shards = []
    for shard, start in enumerate(range(0, count, per_shard)):
        part = rows[start : start + per_shard]
        batch = pa.RecordBatch.from_pylist(part, schema=layout.given_schema)
        samples = Samples(batch, [images[row["pair_id"]] for row in part])
        shards.append(ShardWriter(shard, str(folder), [samples], layout=layout).write())
    manifest = Manifest(
        root=str(folder),
        name="toy",
        version="1",
        description="",
        license=None,
        spec=None,
        tool={"name": "openwit", "version": "0", "git": None, "libraries": {}},
        schema=describe(layout.schema),
        config=None,
        samples_per_shard=per_shard,
        hash=None,
        query_list=None,
        funnel=None,
        files=(_write_queries(folder, count),) if with_queries else (),
        shards=tuple(shards),
    )
    commit(str(folder), manifest)
    return manifest


def _write_queries(folder: pathlib.Path, count: int) -> ListedFile:
    rows = []
    for query, colour in enumerate(COLOURS):
        pairs = len(range(query, count, 7))
        counts = dict.fromkeys(("matched", "survived", "selected", "kept"), pairs)
        rows.append({"query_id": query, "query": colour, "theta": 0, **counts})
    path = folder / "queries.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=QUERIES), path)
    data = path.read_bytes()
    return ListedFile(
        path=path.name,
        role="queries",
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        rows=len(rows),
    )


def _row(identity: str, number: int, caption: str, image: bytes) -> dict[str, Any]:
    return {
        "pair_id": identity,
        "url": f"http://host.example/{number}.jpg",
        "caption": caption,
        "caption_source": "alt",
        "alternates": [],
        "seen": 1,
        "query_ids": [],
        "selected_by": [],
        "width": 32,
        "height": 32,
        "original_width": 32,
        "original_height": 32,
        "sha256": hashlib.sha256(image).hexdigest(),
        "reencoded": False,
        "duplicates": 0,
        "image_source": "web",
    }


def plan_for(manifest: Manifest, *overrides: str) -> Plan:
    """A training on a dataset with batches of 8, in this process, every step logged."""
    return make_plan(load_config(f"{manifest.root}/manifest.json", (*BASE, *overrides)))


def events(run: pathlib.Path, kind: str) -> list[dict[str, Any]]:
    """The events of a kind in a RUN's metrics.jsonl."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def losses(run: pathlib.Path) -> dict[int, float]:
    """Loss by step, the last one logged for a step that was done twice."""
    return {event["step"]: event["loss"] for event in events(run, "train")}
