"""The manifest command against sha256sum, Pillow and json: `python -m benchmarks.manifests`.

Ours and the peer read the same warm files, taking turns, one process each, as CPU seconds with
children included, best of the rounds. Ours is the whole command with the start of its worker.
"""

import argparse
import dataclasses
import hashlib
import io
import json
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmarks.datasets import new_manifest
from benchmarks.harness import MissingError, alternate, report, run
from benchmarks.manifests_rows import memory, reading, writing
from manifests.format import Layout, Manifest, Samples, ShardRecord, ShardWriter, commit, load
from manifests.format.ids import pair_id
from manifests.format.records import StoredFile
from manifests.format.schema import sample_schema
from manifests.inspection.stats import stats
from manifests.inspection.verify import verify
from manifests.report.page import write_report

PIXELS = 512
DISTINCT = 64
"""Images that are made; they are stored again and again under other names."""
PER_SHARD = 1_000
MIB = 1 << 20
SCHEMA = sample_schema(dedup_columns=False)


def pictures() -> list[bytes]:
    """Return JPEG files of about 28 KiB: waves with noise, as photographs compress."""
    x, y = np.meshgrid(np.arange(PIXELS), np.arange(PIXELS))
    found = []
    for number in range(DISTINCT):
        random = np.random.default_rng(number)
        planes = [
            127 + 90 * np.sin((x * (1 + number % 7) + y * (plane + 1)) / 60) for plane in range(3)
        ]
        pixels = np.stack(planes, axis=-1) + random.normal(0, 6, (PIXELS, PIXELS, 3))
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=75)
        found.append(file.getvalue())
    return found


def write_dataset(root: pathlib.Path, total_bytes: int) -> Manifest:
    """Write a dataset whose images have at least so many bytes together."""
    images = pictures()
    count = -(-total_bytes // (sum(map(len, images)) // len(images)))
    names = _names(count)
    layout = Layout(samples_per_shard=PER_SHARD, schema=SCHEMA)
    shards = [
        ShardWriter(number, str(root), _windows(names[start : start + PER_SHARD], images, layout),
                    layout=layout).write()
        for number, start in enumerate(range(0, count, PER_SHARD))
    ]  # fmt: skip
    manifest = _manifest(str(root), shards)
    commit(str(root), manifest)
    return manifest


def _names(count: int) -> list[tuple[str, int]]:
    """Return pair ids and numbers, in the order of the ids."""
    return sorted(
        (pair_id(f"http://h{n % 97}.example/{n}.jpg", f"a picture of waves {n}").hex(), n)
        for n in range(count)
    )


def _windows(
    names: list[tuple[str, int]], images: list[bytes], layout: Layout
) -> Iterator[Samples]:
    rows, chosen = [], []
    for identity, n in names:
        image = images[n % len(images)]
        digest = hashlib.sha256(image).hexdigest()
        chosen.append(image)
        rows.append(
            {
                "pair_id": identity, "url": f"http://h{n % 97}.example/{n}.jpg",
                "caption": f"a picture of waves {n}", "caption_source": "alt", "alternates": [],
                "lang": "en", "seen": 1, "query_ids": [], "selected_by": [], "width": PIXELS,
                "height": PIXELS, "original_width": PIXELS, "original_height": PIXELS,
                "original_format": "jpeg", "original_sha256": digest, "sha256": digest,
                "reencoded": False, "duplicates": 0, "image_source": "web",
            }
        )  # fmt: skip
    yield Samples(pa.RecordBatch.from_pylist(rows, schema=layout.given_schema), chosen)


def _manifest(root: str, shards: list[ShardRecord]) -> Manifest:
    layout = Layout(samples_per_shard=PER_SHARD, schema=SCHEMA)
    return new_manifest(root, shards, layout, name="benchmark")


def hashing(manifest: Manifest, rounds: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Compare `verify --sha256` with sha256sum of the same files."""
    tool = shutil.which("sha256sum")
    if tool is None:
        raise MissingError("sha256sum: not installed: install coreutils")
    paths = [manifest.path(file.path) for shard in manifest.shards
             for file in (shard.tar, shard.parquet)]  # fmt: skip

    def peer() -> None:
        words = [tool, *paths]
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 (our words)

    def ours() -> None:
        verify(manifest.root, "sha256", jobs=1)

    seconds = alternate({"verify --sha256": ours, "sha256sum": peer}, rounds)
    size = sum(pathlib.Path(path).stat().st_size for path in paths) / MIB
    rows = [{"what": name, "CPU s": each, "per CPU s": size / each, "unit": "MiB"}
            for name, each in seconds.items()]  # fmt: skip
    return rows, {"verify_ratio": seconds["sha256sum"] / seconds["verify --sha256"]}


def decoding(manifest: Manifest, rounds: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Compare `verify --deep` with a loop that only decodes the same images."""
    data = [
        image
        for shard in manifest.shards
        for image in manifest.reader(shard).read(range(shard.samples))
    ]

    def bare() -> None:
        for image in data:
            Image.open(io.BytesIO(image)).load()

    seconds = alternate(
        {"verify --deep": lambda: verify(manifest.root, "deep", jobs=1), "Pillow alone": bare},
        rounds,
    )
    rows = [{"what": name, "CPU s": each, "per CPU s": len(data) / each, "unit": "images"}
            for name, each in seconds.items()]  # fmt: skip
    return rows, {"deep_ratio": seconds["Pillow alone"] / seconds["verify --deep"]}


def loading(
    folder: pathlib.Path, count: int, rounds: int
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Time the load of a root with so many shards, and the bare parsing of its JSON."""
    shards = []
    for number in range(count):
        digest = hashlib.sha256(number.to_bytes(4, "little")).hexdigest()
        low = f"{number:08x}" + "0" * 24
        shards.append(
            ShardRecord(
                id=number,
                samples=PER_SHARD,
                key_first=f"{number * PER_SHARD:09d}",
                key_last=f"{(number + 1) * PER_SHARD - 1:09d}",
                pair_id_min=low,
                pair_id_max=low[:8] + "f" * 24,
                tar=StoredFile(f"shards/{number:08d}.tar", 300_000_000, digest),
                parquet=StoredFile(f"shards/{number:08d}.parquet", 6_000_000, digest),
            )
        )
    root = folder / f"root{count}"
    root.mkdir()
    commit(str(root), _manifest(str(root), shards))
    path = root / "manifest.json"
    seconds = alternate(
        {
            f"load {count} shards": lambda: load(str(root)),
            "json.loads": lambda: json.loads(path.read_bytes()),
        },
        rounds,
    )
    rows = [{"what": name, "CPU s": each, "per CPU s": count / each, "unit": "shards"}
            for name, each in seconds.items()]  # fmt: skip
    return rows, {f"load_{count}_s": seconds[f"load {count} shards"]}


def remembering(folder: pathlib.Path) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Measure the memory of a deep check over few and over many shards of one size."""
    layout = Layout(samples_per_shard=10, schema=SCHEMA)
    images = pictures()[:1]
    roots = {}
    for count in (100, 1_000):
        root = folder / f"shards{count}"
        names = _names(10 * count)
        shards = [
            ShardWriter(number, str(root), _windows(names[10 * number : 10 * number + 10], images,
                        layout), layout=layout).write()
            for number in range(count)
        ]  # fmt: skip
        commit(str(root), _manifest(str(root), shards))
        roots[count] = str(root)
    return memory(roots)


def reporting(manifest: Manifest, folder: pathlib.Path) -> dict[str, float]:
    """Return the size of the page about a dataset."""
    page = write_report(manifest, str(folder / "report.html"), stats=lambda: stats(manifest))
    return {"report_mib": len(page.html) / MIB}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    hashed_bytes: int
    decoded_bytes: int
    rows: tuple[int, ...]
    """Rows of the datasets of metadata; the page is made of the last one."""
    rounds: int


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within 4 minutes")
    parser.add_argument("--json", default="", help="where the metrics are written")
    arguments = parser.parse_args()
    sizes = Sizes(2_200 * MIB, 256 * MIB, (100_000, 1_000_000, 10_000_000), 3)
    if arguments.quick:
        sizes = Sizes(512 * MIB, 128 * MIB, (50_000, 500_000), 1)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        large = write_dataset(folder / "large", sizes.hashed_bytes)
        small = write_dataset(folder / "small", sizes.decoded_bytes)
        first = _names(PER_SHARD)
        layout = Layout(samples_per_shard=PER_SHARD, schema=SCHEMA)
        rows, metrics = hashing(large, sizes.rounds)
        for part in (
            decoding(small, sizes.rounds),
            loading(folder, 40_000, sizes.rounds),
            writing(folder, next(_windows(first, pictures(), layout)), layout, sizes.rounds),
            reading(folder, list(sizes.rows), SCHEMA, _manifest, sizes.rounds),
            remembering(folder),
        ):
            rows += part[0]
            metrics |= part[1]
        metrics |= reporting(load(str(folder / f"a{sizes.rows[-1]}")), folder)
    columns = ["what", "CPU s", "per CPU s", "unit", "driver MiB", "worker MiB"]
    report(columns, rows, metrics, arguments.json)


if __name__ == "__main__":
    run(main)
