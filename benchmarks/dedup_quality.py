"""Which edited copies dedup finds, and what else it takes for copies, beside other libraries.

`python -m benchmarks.dedup_quality [--quick] [--half report|tune] [--json OUT]`. Pictures of Debian
packages, one of each family, edited in every way of `dedup_edits`; unrelated pictures and tiles of
the large ones stand between. All methods see the same files. A pair is right if both are of one
picture. Limits were chosen on the half `tune`; the figures are those of `report`. The rows with
won, tied, lost compare the 20 kinds of edits with each library at the limit that it recommends,
whatever its precision, and at the widest limit of those tried at which it is as precise as we are.
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
from pipeline.dedup.audit import wilson
from pipeline.dedup.settings import DedupSettings
from pipeline.hashes.sources import canonical_image

ALIKE_LEVELS = 4.0
"""Pictures of two files count as one if their 64 x 64 forms differ by less in the mean."""

KINDS = {"thumbnail": "resize"}
"""Edits that count with others of another name."""


Table = tuple[dict[str, dict[str, float]], dict[str, tuple[int, int]]]
"""Recall by edit and method; wrong pairs and all found by method."""


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
    libraries = {name.partition(" ")[0] for name in list(methods)[2:]}
    photographs, graphics = _pictures(cache, half, quick)
    tables = {
        name: _compare(name, pictures, methods)
        for name, pictures in (("photos", photographs), ("graphics", graphics))
    }
    recall, found = tables["photos"]
    precision = {name: _precision(*pairs) for name, pairs in found.items()}
    limits = {each: [name for name in methods if name.startswith(f"{each} ")] for each in libraries}
    recommended = [limits[each][0] for each in sorted(libraries)]
    as_precise = [
        next(
            (name for name in limits[each] if precision[name] >= precision["openwit"]),
            limits[each][-1],
        )
        for each in sorted(libraries)
    ]
    shown = list(dict.fromkeys(["openwit", "high", *recommended, *as_precise]))
    rows = [row for name, table in tables.items() for row in _table_rows(name, table, shown)]
    metrics = {f"precision_{n}": _precision(*table[1]["openwit"]) for n, table in tables.items()}
    metrics |= {f"recall_{edit}": each["openwit"] for edit, each in recall.items()}
    kinds = _kinds(recall)
    metrics |= {"edits": len(kinds), "edits_best": _best(kinds, "openwit", as_precise)}
    for name in ("openwit", "high"):
        metrics[f"edits_best_of_all_{name}"] = _best(kinds, name, recommended)
        scores = {peer: _score(kinds, name, peer) for peer in (*recommended, *as_precise)}
        rows.append({"pictures": "photos", "edit": f"({name}: won, tied, lost)", **scores})
    metrics |= _tiles(cache, methods["openwit"], 500 if quick else 10_000)
    harness.report(list(rows[0]), rows, metrics, json_out)


def _table_rows(title: str, table: Table, shown: list[str]) -> list[dict[str, object]]:
    """Return recall by edit, then precision and wrong pairs, of the methods that are shown."""
    recall, found = table
    rows: list[dict[str, object]] = [
        {"pictures": title, "edit": edit, **{name: round(100 * each[name], 1) for name in shown}}
        for edit, each in recall.items()
    ]
    for measure, value in (
        ("precision %", lambda wrong, every: round(100 * _precision(wrong, every), 2)),
        ("at least, 95 %", lambda wrong, every: round(100 - 100 * wilson(wrong, every)[1], 2)),
        ("wrong pairs", lambda wrong, _: wrong),
    ):
        row = {name: value(*found[name]) for name in shown}
        rows.append({"pictures": title, "edit": f"({measure})", **row})
    return rows


def _precision(wrong: int, every: int) -> float:
    return 1 - wrong / max(1, every)


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


def _compare(
    title: str, pictures: Pictures, methods: dict[str, Callable[[list[bytes]], Edges]]
) -> Table:
    """Return what each method finds, all of the same files."""
    originals = {name: row for row, name in enumerate(pictures.names) if not pictures.edits[row]}
    edits = [edit for edit in dict.fromkeys(pictures.edits) if edit]
    recall: dict[str, dict[str, float]] = {edit: {} for edit in edits}
    pairs = {}
    for name, method in methods.items():
        say(f"{title}: {name}: {len(pictures.files)} files")
        edges = method(pictures.files)
        for edit in edits:
            copies = [row for row, each in enumerate(pictures.edits) if each == edit]
            found = [(originals[pictures.names[row]], row) in edges for row in copies]
            recall[edit][name] = sum(found) / len(found)
        others = [pair for pair in edges if len({pictures.names[row] for row in pair}) > 1]
        wrong = sum(not _alike(*(pictures.files[row] for row in pair)) for pair in others)
        pairs[name] = wrong, len(edges)
    return recall, pairs


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
