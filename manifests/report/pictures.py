"""Thumbnails of samples: few, small, encoded anew."""

import base64
import bisect
import dataclasses
import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from manifests.base.errors import OpenwitError
from manifests.format.checks.members import MAX_PIXELS
from manifests.format.manifest import Manifest

THUMB_PX = 160
QUALITY = 70
COLUMNS = ("pair_id", "key", "caption", "url", "width", "height", "duplicates")


@dataclasses.dataclass(frozen=True)
class Picture:
    """A sample as the page shows it."""

    row: dict[str, Any]
    src: str
    """A `data:` URL; empty if the image cannot be shown."""
    problem: str = ""


def gallery(manifest: Manifest, count: int) -> list[Picture]:
    """Return samples whose pair ids are evenly spaced: one ranged read each."""
    shards = list(manifest.shards)
    ends = [shard.pair_id_max for shard in shards]
    wanted: dict[int, list[str]] = {}
    for number in range(count):
        target = f"{(number << 128) // count:032x}"
        at = bisect.bisect_left(ends, target)
        if at < len(shards):
            wanted.setdefault(at, []).append(target)
    found = []
    for at, targets in wanted.items():
        reader = manifest.reader(shards[at])
        ids = reader.table(["pair_id"])["pair_id"].to_pylist()
        order = sorted(range(len(ids)), key=ids.__getitem__)
        names = [ids[place] for place in order]
        places = {order[min(bisect.bisect_left(names, target), len(names) - 1)]
                  for target in targets}  # fmt: skip
        found += pictures(manifest, at, sorted(places))
    return found


def pictures(manifest: Manifest, shard: int, places: Sequence[int]) -> list[Picture]:
    """Return samples of the shard at a position of the manifest's list."""
    reader = manifest.reader(manifest.shards[shard])
    rows = reader.table(COLUMNS).take(pa.array(places, pa.int64())).to_pylist()
    try:
        images = reader.read(places)
    except OpenwitError as error:
        return [Picture(row, "", str(error)[:200]) for row in rows]
    return [picture(row, image) for row, image in zip(rows, images, strict=True)]


def find(manifest: Manifest, ids: Sequence[str]) -> list[Picture]:
    """Return the samples with these pair ids, in their order; ids that are not there are left out.

    Only datasets in pair-id order are looked up.
    """
    found: dict[str, Picture] = {}
    for number, shard in enumerate(manifest.shards if manifest.order == "pair_id" else ()):
        inside = [each for each in ids if shard.pair_id_min <= each <= shard.pair_id_max]
        if inside:
            here = manifest.reader(shard).table(["pair_id"])["pair_id"].to_pylist()
            places = sorted({here.index(each) for each in inside if each in here})
            found |= {each.row["pair_id"]: each for each in pictures(manifest, number, places)}
    return [found[each] for each in ids if each in found]


def largest(manifest: Manifest, count: int) -> list[Picture]:
    """Return the samples that most near-duplicates were dropped for, most first."""
    best: list[tuple[int, str, int, int]] = []
    for number, shard in enumerate(manifest.shards):
        table = manifest.reader(shard).table(["duplicates", "pair_id"])
        top = np.argsort(-table["duplicates"].to_numpy(), kind="stable")[:count].tolist()
        for place in top:
            size = table["duplicates"][place].as_py()
            if size:
                best.append((-size, table["pair_id"][place].as_py(), number, place))
        best = sorted(best)[:count]
    return [pictures(manifest, number, [place])[0] for _, _, number, place in best]


def picture(row: dict[str, Any], data: bytes) -> Picture:
    """Return an image as a thumbnail, or why it is none."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked here
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
                if image.width * image.height > MAX_PIXELS:
                    return Picture(row, "", "too many pixels")
                image.draft("RGB", (THUMB_PX, THUMB_PX))
                small = image.convert("RGB")
        small.thumbnail((THUMB_PX, THUMB_PX))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=QUALITY)
    except Exception as error:  # whatever a decoder raises, the page goes on
        return Picture(row, "", f"{type(error).__name__}: cannot be decoded")
    return Picture(row, f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}")
