"""Small real datasets: JPEG files that Pillow made, written by `ShardWriter`."""

import dataclasses
import hashlib
import io
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from manifests.format import Layout, Manifest, Samples, ShardWriter, commit
from manifests.format.ids import pair_id
from manifests.format.ledger import write_ledger
from manifests.format.records import ListedFile
from manifests.format.schema import LEDGER, QUERIES, describe
from manifests.inspection import verify

Rows = list[dict[str, Any]]


def jpeg(number: int, width: int = 24, height: int = 16) -> bytes:
    """A picture whose colours depend on its number."""
    colour = (number * 37 % 256, number * 91 % 256, number * 53 % 256)
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "JPEG", quality=80)
    return file.getvalue()


def make_rows(count: int) -> tuple[Rows, dict[str, bytes]]:
    """Sample rows in pair-id order, and the image of each pair id."""
    rows, images = [], {}
    for number in range(count):
        host = f"host{number % 3}.example"
        url, caption = f"http://{host}/{number}.jpg", f"a photo of dog number {number} café"
        image = jpeg(number)
        sha256 = hashlib.sha256(image).hexdigest()
        identity = pair_id(url, caption).hex()
        images[identity] = image
        rows.append(
            {
                "pair_id": identity,
                "url": url,
                "page_url": f"http://{host}/page{number}.html" if number % 2 else None,
                "caption": caption,
                "caption_source": "alt",
                "alternates": [{"text": f"dog {number}", "source": "title", "url": url}],
                "lang": "en",
                "lang_score": 0.5,
                "seen": 1,
                "query_ids": [0, 1] if number % 2 else [1],
                "selected_by": [1],
                "select_prob": 1.0,
                "width": 24,
                "height": 16,
                "original_width": 48,
                "original_height": 32,
                "original_format": "jpeg",
                "original_bytes": len(image),
                "original_sha256": sha256,
                "sha256": sha256,
                "reencoded": False,
                "phash": f"{number:016x}",
                "duplicates": number % 2,
                "image_source": "web",
                "dedup_hash": bytes(64),
                "dedup_chroma": bytes(32),
                "dedup_quality": 60,
                "dedup_flags": 0,
            }
        )
    return sorted(rows, key=lambda row: row["pair_id"]), images


def sample_batch(rows: Rows, layout: Layout) -> pa.RecordBatch:
    """Rows as the writer wants them."""
    return pa.RecordBatch.from_pylist(rows, schema=layout.given_schema)


@dataclasses.dataclass
class DatasetMaker:
    """Writes datasets below a temporary folder."""

    folder: pathlib.Path

    def __call__(
        self, count: int = 25, per_shard: int = 10, name: str = "dataset", window: int = 1000
    ) -> Manifest:
        root = self.folder / name
        layout = Layout(samples_per_shard=per_shard, spec="0" * 12 + "-" + "0" * 8)
        rows, images = make_rows(count)
        shards = []
        for number in range(-(-count // per_shard)):
            chosen = rows[number * per_shard : (number + 1) * per_shard]
            windows = (
                Samples(
                    sample_batch(chosen[start : start + window], layout),
                    [images[row["pair_id"]] for row in chosen[start : start + window]],
                )
                for start in range(0, len(chosen), window)
            )
            shards.append(ShardWriter(number, str(root), windows, layout=layout).write())
        files = [write_queries(root, rows), *write_drops(root)]
        manifest = Manifest(
            root=str(root),
            name="toy",
            version="1",
            description="",
            license=None,
            spec=layout.spec,
            tool={"name": "openwit", "version": "0", "git": None, "libraries": {}},
            schema=describe(layout.schema),
            config={"balance": {"cap": 20}},
            samples_per_shard=per_shard,
            hash={"version": "ow1/p12", "basis": "original"},
            query_list={"sha256": "0" * 64, "rows": 2, "cap": 20},
            funnel=[
                {
                    "stage": "match",
                    "rows_in": count + 3,
                    "rows_out": count,
                    "drops": {"no_query_match": 3},
                    "failed_units": 0,
                }
            ],
            files=tuple(files),
            shards=tuple(shards),
        )
        root.mkdir(parents=True, exist_ok=True)
        commit(str(root), manifest)
        return manifest


def listed(root: pathlib.Path, path: str, role: str, rows: int) -> ListedFile:
    """What a manifest says of a table that is there."""
    data = (root / path).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return ListedFile(path=path, role=role, bytes=len(data), sha256=digest, rows=rows)


def write_queries(root: pathlib.Path, rows: Rows) -> ListedFile:
    queries = [
        {
            "query_id": number,
            "query": query,
            "lang": "en",
            "source": "user",
            "matched": len(rows) + 3,
            "survived": len(rows),
            "selected": sum(number in row["selected_by"] for row in rows),
            "kept": sum(number in row["query_ids"] for row in rows),
            "theta": 2**64 - 1,
        }
        for number, query in enumerate(["café", "dog"])
    ]
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(queries, schema=QUERIES), root / "queries.parquet")
    return listed(root, "queries.parquet", "queries", len(queries))


def write_drops(root: pathlib.Path) -> list[ListedFile]:
    drops = pa.schema([field if field.name != "pair_id" else ("pair_id", pa.binary(16))
                       for field in LEDGER])  # fmt: skip
    rows = [
        {"pair_id": bytes([n]) * 16, "stage": "match", "reason": "no_query_match", "count": 1,
         "url": f"http://dropped.example/{n}", "caption": "x"}
        for n in range(3)
    ]  # fmt: skip
    batch = pa.RecordBatch.from_pylist(rows, schema=drops)
    return write_ledger(str(root), "match", lambda: [batch], examples=2)


@pytest.fixture
def make_dataset(tmp_path: pathlib.Path) -> DatasetMaker:
    """Call it with a number of samples; it commits a dataset and returns the manifest."""
    return DatasetMaker(tmp_path)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify contents in a plain loop instead of worker processes: milliseconds, not seconds."""

    def run(
        function: Callable[..., Any], tasks: Sequence[Any], jobs: int, after_death: Any
    ) -> Iterator[tuple[Any, Any]]:
        for task in tasks:
            yield task, function(task, lambda row: None)

    monkeypatch.setattr(verify, "run_isolated", run)
