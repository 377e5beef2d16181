"""Drawings of emoji by several vendors, and datasets of them."""

import dataclasses
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from benchmarks import datasets
from benchmarks.harness import MissingError
from manifests.format import Layout, Manifest
from manifests.format.ids import pair_id
from manifests.format.records import ListedFile
from manifests.format.schema import QUERIES

CACHE = pathlib.Path.home() / ".cache" / "openwit" / "emoji"
VERSION = "16.0.0"
PIXELS = 64
THUMB_PX = 16
PER_SHARD = 1_000
TONES = {
    "1F3FB": "light",
    "1F3FC": "medium-light",
    "1F3FD": "medium",
    "1F3FE": "medium-dark",
    "1F3FF": "dark",
}
"""Fitzpatrick modifiers, as Unicode names their tones."""
TONED = "Skin tones"
"""Category of drawings with one modifier."""
CAPTIONS = ("{}", "an emoji of {}", "a drawing of {}", "{}, a small picture")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Emoji:
    """One emoji, drawn by all vendors that were asked for."""

    name: str
    category: str
    drawings: dict[str, Image.Image]
    """By vendor; RGB on white, 64 px square."""


def load_emoji(vendors: Sequence[str], cache: pathlib.Path = CACHE) -> list[Emoji]:
    """Return the emoji that all vendors draw, also in each single skin tone, by name.

    Args:
        vendors: names of npm's packages `emoji-datasource-<vendor>`.
        cache: where the packages are kept.

    Raises:
        MissingError: if a package cannot be had.
    """
    listed: dict[str, dict[str, str]] = {}
    images: dict[str, dict[str, bytes]] = {}
    for vendor in vendors:
        with tarfile.open(_package(vendor, cache)) as archive:
            folder = f"package/img/{vendor}/{PIXELS}/"
            members = {m.name: m for m in archive if m.isfile()}
            images[vendor] = {
                name.removeprefix(folder): archive.extractfile(member).read()  # type: ignore[union-attr]
                for name, member in members.items()
                if name.startswith(folder)
            }
            table = archive.extractfile(members["package/emoji.json"])
            for name, entry in _listed(json.load(table)):  # type: ignore[arg-type]
                listed.setdefault(name, entry)
    return [
        Emoji(name, entry["category"], {v: _decode(images[v][entry["image"]]) for v in vendors})
        for name, entry in sorted(listed.items())
        if all(entry["image"] in images[vendor] for vendor in vendors)
    ]


def _listed(table: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield name, category and image of each emoji of a package, and of its skin tones."""
    for entry in table:
        name = entry["name"].lower()
        if entry["category"] != "Component":
            yield name, entry
        for code, toned in entry.get("skin_variations", {}).items():
            if code in TONES:
                yield f"{name}, {TONES[code]} skin tone", {**toned, "category": TONED}


def _package(vendor: str, cache: pathlib.Path) -> pathlib.Path:
    name = f"emoji-datasource-{vendor}"
    path = cache / f"{name}-{VERSION}.tgz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", f"{name}@{VERSION}", "--pack-destination", str(cache)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=600)  # noqa: S603 (own words)
        except (OSError, subprocess.SubprocessError) as error:
            raise MissingError(f"{name}: npm pack failed: {error}: install npm") from None
    return path


def _decode(data: bytes) -> Image.Image:
    drawing = Image.open(io.BytesIO(data)).convert("RGBA").resize((PIXELS, PIXELS))
    white = Image.new("RGBA", drawing.size, "white")
    return Image.alpha_composite(white, drawing).convert("RGB")


def thumbnails(emoji: Sequence[Emoji], vendor: str) -> NDArray[np.float32]:
    """Return the drawings of a vendor as 16 x 16 pixels, shape (n, 768)."""
    small = [each.drawings[vendor].resize((THUMB_PX, THUMB_PX), 1) for each in emoji]
    return np.stack([np.asarray(each, np.float32).reshape(-1) for each in small])


def nearest(queries: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the row of `known` that is nearest to each query, by squared difference."""
    distances = (known**2).sum(1) - 2 * queries @ known.T
    return distances.argmin(1)


def hashed(name: str) -> bytes:
    """Return what an order is taken from that has nothing to do with names or categories."""
    return hashlib.sha256(name.encode()).digest()


def write_dataset(
    root: pathlib.Path,
    emoji: Sequence[Emoji],
    vendors: Sequence[str],
    copies: Sequence[int] | None = None,
) -> Manifest:
    """Write each emoji as each vendor draws it, `copies` times; its name is its one query.

    Copies differ in the wording of the text and in the shade of the paper.
    """
    layout = Layout(samples_per_shard=PER_SHARD)
    counts = [len(vendors) * (copies[place] if copies else 1) for place in range(len(emoji))]
    rows = [
        _row(each, vendor, place, number)
        for place, each in enumerate(emoji)
        for vendor in vendors
        for number in range(copies[place] if copies else 1)
    ]
    rows.sort(key=lambda row: str(row[0]["pair_id"]))
    cuts = (rows[start : start + PER_SHARD] for start in range(0, len(rows), PER_SHARD))
    parts = (([row for row, _ in cut], [image for _, image in cut]) for cut in cuts)
    queries = _write_queries(root, [each.name for each in emoji], counts)
    return datasets.write_dataset(str(root), parts, layout, name="emoji", files=[queries])


def _row(emoji: Emoji, vendor: str, query: int, number: int) -> tuple[dict[str, object], bytes]:
    caption = CAPTIONS[number % len(CAPTIONS)].format(emoji.name)
    pixels = np.asarray(emoji.drawings[vendor], np.int16) - number // len(CAPTIONS) % 32
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0).astype(np.uint8)).save(file, "JPEG", quality=95, subsampling=0)
    url = f"http://{vendor}.example/{hashed(emoji.name).hex()}/{number}.jpg"
    row = {
        "pair_id": pair_id(url, caption).hex(),
        "url": url,
        "caption": caption,
        "caption_source": "alt",
        "alternates": [],
        "seen": 1,
        "query_ids": [query],
        "selected_by": [query],
        "width": PIXELS,
        "height": PIXELS,
        "original_width": PIXELS,
        "original_height": PIXELS,
        "sha256": hashlib.sha256(file.getvalue()).hexdigest(),
        "reencoded": True,
        "duplicates": 0,
        "image_source": "web",
    }
    return row, file.getvalue()


def _write_queries(root: pathlib.Path, names: Sequence[str], counts: Sequence[int]) -> ListedFile:
    rows = [
        {"query_id": query, "query": name, "theta": 0,
         **dict.fromkeys(("matched", "survived", "selected", "kept"), count)}
        for query, (name, count) in enumerate(zip(names, counts, strict=True))
    ]  # fmt: skip
    root.mkdir(parents=True, exist_ok=True)
    path = root / "queries.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=QUERIES), path)
    data = path.read_bytes()
    return ListedFile(
        path=path.name,
        role="queries",
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        rows=len(rows),
    )


def write_labels(folder: pathlib.Path, manifest: Manifest, names: Sequence[str]) -> dict[str, str]:
    """Write classes and labels of a dataset; return the settings that name the files."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = [manifest.reader(s).table(["pair_id", "query_ids"]) for s in manifest.shards]
    ids = [each for table in tables for each in table["pair_id"].to_pylist()]
    queries = [each[0] for table in tables for each in table["query_ids"].to_pylist()]
    labels = pa.table({"pair_id": ids, "class": [names[query] for query in queries]})
    pq.write_table(labels, folder / "labels.parquet")
    (folder / "classes.json").write_text(json.dumps(list(names)), encoding="utf-8")
    files = {"classes": "classes.json", "labels": "labels.parquet"}
    return {key: str(folder / name) for key, name in files.items()}


def curve_lines(series: dict[str, list[tuple[float, float]]]) -> Iterator[str]:
    """Yield an SVG picture of curves: samples seen to the share that is right, 0 to the most."""
    width, height, left, top, bottom = 720, 320, 60, 20, 50
    most_x = max(x for points in series.values() for x, _ in points)
    most_y = max(max(y for points in series.values() for _, y in points), 1e-9)
    colours = (
        "#2166ac",
        "#67a9cf",
        "#1b7837",
        "#e08214",
        "#9aa0a6",
        "#762a83",
        "#b2182b",
        "#333333",
        "#bf812d",
        "#35978f",
    )
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
    yield '<g font-family="sans-serif" font-size="12">'
    yield '<rect width="100%" height="100%" fill="#fff"/>'
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = height - bottom - share * (height - top - bottom)
        yield f'<path d="M{left} {y:.1f}H{width - 160}" stroke="#ddd"/>'
        yield f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{share * most_y:.1%}</text>'
    for number, (name, points) in enumerate(series.items()):
        colour = colours[number % len(colours)]
        places = [
            (left + x / most_x * (width - 160 - left),
             height - bottom - y / most_y * (height - top - bottom))
            for x, y in points
        ]  # fmt: skip
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield f'<text x="{width - 150}" y="{top + 16 * number + 12}" fill="{colour}">{name}</text>'
    middle = (left + width - 160) // 2
    yield f'<text x="{middle}" y="{height - 16}" text-anchor="middle">samples seen</text>'
    yield f'<text x="{width - 160}" y="{height - 32}" text-anchor="end">{most_x:,.0f}</text>'
    yield "</g></svg>"
