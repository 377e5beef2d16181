"""Which edited copies dedup finds, and what else it takes for copies, beside other libraries.

`python -m benchmarks.dedup_quality [--quick] [--half report|tune] [--json OUT]`. Pictures of Debian
packages, one of each family, edited in every way of `dedup_edits`; unrelated pictures and tiles of
the large ones stand between. All methods see the same files. A pair is right if both are of one
picture. Limits were chosen on the half `tune`; the figures are those of `report`. The rows with
won, tied, lost compare the 20 kinds of edits with each library, whatever its precision.
"""

import dataclasses
import functools
import itertools
import pathlib
import warnings
from collections.abc import Callable

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from benchmarks import harness
from benchmarks.dedup_edits import (
    CACHE,
    COPYDAYS,
    EDITS,
    GRAPHICS,
    PHOTOGRAPHS,
    SMALL_TILE_PX,
    encoded,
    families,
    is_reported,
    load,
    package_images,
    tiles,
)
from benchmarks.dedup_kernel import near_pairs
from benchmarks.dedup_peers import Edges, peers_of, rgb_of
from filters.hashes.matching import Counts, Probes
from filters.hashes.perceptual import FLAT, GRAPHIC, HashRecord, record
from manifests.base.console import say
from pipeline.dedup.settings import DedupSettings
from pipeline.hashes.sources import canonical_image

ALIKE_LEVELS = 4.0
"""Pictures of two files count as one if their 64 x 64 forms differ by less in the mean."""

KINDS = {"thumbnail": "resize"}
"""Edits that count with others of another name."""


@dataclasses.dataclass
class Pictures:
    """Files, the picture each shows, and how it was edited; unedited ones come first."""

    files: list[bytes] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)
    edits: list[str] = dataclasses.field(default_factory=list)

    def add(self, name: str, edit: str, data: bytes) -> None:
        """Add one file."""
        self.files.append(data)
        self.names.append(name)
        self.edits.append(edit)


def main(
    quick: bool = False,
    half: str = "report",
    images: str = str(CACHE),
    json_out: str = typer.Option("", "--json"),
) -> None:
    """Measure, print a table, and write the metrics."""
    harness.run(lambda: _measure(quick, half, pathlib.Path(images), json_out))


def _measure(quick: bool, half: str, cache: pathlib.Path, json_out: str) -> None:
    warnings.simplefilter("ignore")  # remarks on metadata of pictures
    methods = {
        "openwit": _ours(DedupSettings()),
        "high": _ours(DedupSettings(recall="high")),
        **peers_of(),
    }
    peers = list(methods)[2:]
    photographs, graphics = _pictures(cache, half, quick)
    tables = {
        name: _compare(name, pictures, methods)
        for name, pictures in (("photos", photographs), ("graphics", graphics))
    }
    metrics: dict[str, float] = {}
    rows = []
    for name, (recall, precision, wrong) in tables.items():
        rows += [
            {"pictures": name, "edit": edit, **{n: round(100 * r, 1) for n, r in each.items()}}
            for edit, each in recall.items()
        ]
        for title, values in (("(precision %)", precision), ("(wrong pairs)", wrong)):
            shown = {n: round(100 * v, 2) if title[1] == "p" else v for n, v in values.items()}
            rows.append({"pictures": name, "edit": title, **shown})
        metrics[f"precision_{name}"] = precision["openwit"]
        metrics[f"peer_precision_{name}"] = max(precision[peer] for peer in peers)
    recall = tables["photos"][0]
    metrics |= {f"recall_{edit}": each["openwit"] for edit, each in recall.items()}
    ours = metrics["precision_photos"]
    as_precise = [peer for peer in peers if tables["photos"][1][peer] >= ours]
    kinds = _kinds(recall)
    metrics |= {"edits": len(kinds), "edits_best": _best(kinds, "openwit", as_precise)}
    for name in ("openwit", "high"):
        metrics[f"edits_best_of_all_{name}"] = _best(kinds, name, peers)
        scores = {peer: _score(kinds, name, peer) for peer in peers}
        rows.append({"pictures": "photos", "edit": f"({name}: won, tied, lost)", **scores})
    metrics |= _tiles(cache, methods["openwit"], 500 if quick else 10_000)
    harness.report(list(rows[0]), rows, metrics, json_out)


def _kinds(recall: dict[str, dict[str, float]]) -> list[dict[str, float]]:
    """Return the mean recall of the 20 kinds of edits: JPEGs, crops of all sizes are one kind."""
    kinds: dict[str, list[dict[str, float]]] = {}
    for edit, each in recall.items():
        kind = edit.partition("_")[0]
        if edit not in COPYDAYS:
            kinds.setdefault(KINDS.get(kind, kind), []).append(each)
    return [
        {each: sum(edit[each] for edit in edits) / len(edits) for each in edits[0]}
        for edits in kinds.values()
    ]


def _best(kinds: list[dict[str, float]], name: str, peers: list[str]) -> int:
    """Return on how many kinds of edits none of the peers finds more."""
    return sum(all(kind[name] >= kind[peer] for peer in peers) for kind in kinds)


def _score(kinds: list[dict[str, float]], name: str, peer: str) -> str:
    won = sum(kind[name] > kind[peer] for kind in kinds)
    lost = sum(kind[name] < kind[peer] for kind in kinds)
    return f"{won}, {len(kinds) - won - lost}, {lost}"


def _pictures(cache: pathlib.Path, half: str, quick: bool) -> tuple[Pictures, Pictures]:
    """Return photographs and graphics of one half, with their edits, and what stands between.

    Wallpapers that their hash record takes for graphic, and all stamps and clip art, are graphics.
    """
    paths = [path for package in PHOTOGRAPHS for path in package_images(package, cache)]
    walls = families(paths)
    drawings = {p.stem: p for package in GRAPHICS for p in package_images(package, cache)}
    chosen = dict(itertools.islice(drawings.items(), 0, None, 16 if quick else 4))
    photographs, graphics = Pictures(), Pictures()
    for name, path in {**walls, **chosen}.items():
        if is_reported(name) != (half == "report"):
            continue
        base = load(path)
        flags = _record(encoded(base)).flags
        if not flags & FLAT:
            pictures = photographs if name in walls and not flags & GRAPHIC else graphics
            pictures.add(name, "", encoded(base))
            for edit, make in (EDITS | COPYDAYS).items():
                pictures.add(name, edit, make(base))
    for name, path in itertools.islice(drawings.items(), 1, None, 4 if quick else 1):
        if name not in chosen:
            graphics.add(name, "", encoded(load(path)))
    made = (tile for path in walls.values() for tile in tiles(path))
    for number, tile in enumerate(itertools.islice(made, 500 if quick else 2_500)):
        photographs.add(f"tile {number}", "", encoded(tile, "BMP"))
    return photographs, graphics


Table = tuple[dict[str, dict[str, float]], dict[str, float], dict[str, int]]


def _compare(
    title: str, pictures: Pictures, methods: dict[str, Callable[[list[bytes]], Edges]]
) -> Table:
    """Return recall by edit and method, precision and wrong pairs by method, on the same files."""
    originals = {name: row for row, name in enumerate(pictures.names) if not pictures.edits[row]}
    edits = [edit for edit in dict.fromkeys(pictures.edits) if edit]
    recall: dict[str, dict[str, float]] = {edit: {} for edit in edits}
    precision, wrong = {}, {}
    for name, method in methods.items():
        say(f"{title}: {name}: {len(pictures.files)} files")
        edges = method(pictures.files)
        for edit in edits:
            copies = [row for row, each in enumerate(pictures.edits) if each == edit]
            found = [(originals[pictures.names[row]], row) in edges for row in copies]
            recall[edit][name] = sum(found) / len(found)
        others = [pair for pair in edges if len({pictures.names[row] for row in pair}) > 1]
        wrong[name] = sum(not _alike(*(pictures.files[row] for row in pair)) for pair in others)
        precision[name] = 1 - wrong[name] / max(1, len(edges))
    return recall, precision, wrong


@functools.cache
def _small(data: bytes) -> NDArray[np.float32]:
    return np.asarray(rgb_of(data).resize((64, 64), Image.Resampling.BOX)).astype(np.float32)


def _alike(one: bytes, other: bytes) -> bool:
    return float(np.abs(_small(one) - _small(other)).mean()) < ALIKE_LEVELS


def _ours(settings: DedupSettings) -> Callable[[list[bytes]], Edges]:
    """Return the method of this project: candidates by bands, then bits and colours."""

    def method(files: list[bytes]) -> Edges:
        return _edges([_record(data) for data in files], settings)

    return method


@functools.cache
def _record(data: bytes) -> HashRecord:
    return record(canonical_image(data)[0])


def _edges(records: list[HashRecord], settings: DedupSettings) -> Edges:
    rows, probes = [], []
    for row, each in enumerate(records):
        if each.flags & FLAT:
            continue
        rows.append(row)
        probes.append(each.hash + each.chroma + bytes([each.flags]))
        if each.trim is not None:
            rows.append(row)
            probes.append(each.trim)
    data = np.frombuffer(b"".join(probes), np.uint8).reshape(-1, 97)
    numbers = np.array(rows)
    packed = near_pairs(
        Probes(
            hashes=np.ascontiguousarray(data[:, :64]),
            chroma=data[:, 64:96],
            flags=data[:, 96],
            ranks=(numbers + 1).astype(">u4").view("S4").reshape(-1),
            texts=np.zeros(len(rows), np.uint64),
            fixed=np.zeros(len(rows), np.bool_),
        ),
        settings,
        Counts(),
    )
    sides = (packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF))
    pairs = zip(*(numbers[side.astype(np.int64)].tolist() for side in sides), strict=True)
    return {(min(pair), max(pair)) for pair in pairs} | _equal_flats(records)


def _equal_flats(records: list[HashRecord]) -> Edges:
    places: dict[bytes, list[int]] = {}
    for row, each in enumerate(records):
        if each.pixels is not None:
            places.setdefault(each.pixels, []).append(row)
    return {pair for rows in places.values() for pair in itertools.combinations(rows, 2)}


def _tiles(
    cache: pathlib.Path, method: Callable[[list[bytes]], Edges], most: int
) -> dict[str, float]:
    """Return the share of pairs of unrelated small tiles that are taken for copies."""
    walls = families([path for package in PHOTOGRAPHS for path in package_images(package, cache)])
    made = (tile for path in walls.values() for tile in tiles(path, SMALL_TILE_PX))
    files = [encoded(tile, "JPEG", quality=90) for tile in itertools.islice(made, most)]
    wrong = [pair for pair in method(files) if not _alike(*(files[row] for row in pair))]
    pairs = len(files) * (len(files) - 1) / 2
    return {"tiles": len(files), "tiles_wrong": len(wrong), "tile_rate": len(wrong) / pairs}


if __name__ == "__main__":
    typer.run(main)
