"""How close stored images are to the ideal, ours and img2dataset's: see `benchmarks.fetch`."""

import io
import json
import math
import pathlib
import tarfile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.fetch.image import Prepared, prepare
from pipeline.fetch.settings import FetchSettings


def quality(bodies: list[bytes], folder: pathlib.Path) -> dict[str, float]:
    """Return PSNR and SSIM of stored images against a full decode and area average.

    The area average is img2dataset's own filter; so PSNR against Lanczos is given, too.
    """
    ours, theirs, lanczos, sizes = [], [], [], []
    stored = _peer_images(folder)
    for number, body in enumerate(bodies):
        made = prepare(body, FetchSettings())
        if not isinstance(made, Prepared) or number not in stored:
            continue
        size = made.width, made.height
        ideal = _ideal(body, size)
        ours.append(_compare(ideal, made.stored))
        theirs.append(_compare(ideal, stored[number]))
        sharp = _full(body).resize(size, Image.Resampling.LANCZOS)
        lanczos.append([_compare(sharp, each)[0] for each in (made.stored, stored[number])])
        sizes.append(len(made.stored) / len(stored[number]))
    means = np.mean(ours, axis=0), np.mean(theirs, axis=0)
    return {
        "psnr_db": float(means[0][0]),
        "ssim": float(means[0][1]),
        "peer_psnr_db": float(means[1][0]),
        "peer_ssim": float(means[1][1]),
        "psnr_lanczos_db": float(np.mean(lanczos, axis=0)[0]),
        "peer_psnr_lanczos_db": float(np.mean(lanczos, axis=0)[1]),
        "bytes_ratio": float(np.mean(sizes)),
    }


def _peer_images(folder: pathlib.Path) -> dict[int, bytes]:
    """Return what img2dataset stored, by the number in the URL."""
    found: dict[int, bytes] = {}
    for path in sorted(folder.glob("peer-0-*/*.tar")):
        with tarfile.open(path) as tar:
            files = {each.name: tar.extractfile(each) for each in tar.getmembers()}
        with tarfile.open(path) as tar:
            for name in files:
                if name.endswith(".json"):
                    text, image = tar.extractfile(name), tar.extractfile(f"{name[:-5]}.jpg")
                    if text and image:
                        url = json.loads(text.read())["url"]
                        number = int(url.rpartition("/")[2].partition(".")[0])
                        found[number] = image.read()
    return found


def _ideal(body: bytes, size: tuple[int, int]) -> Image.Image:
    """Return the full decode, each pixel of the result the exact average of its area."""
    planes = []
    for plane in _full(body).split():  # one at a time: a photograph is 100 MB a plane
        levels = np.asarray(plane, np.float64)
        for points in size[::-1]:
            levels = _area_average(levels, points).T
        planes.append(Image.fromarray(np.rint(levels).astype(np.uint8)))
    return Image.merge("RGB", planes)


def _full(body: bytes) -> Image.Image:
    return Image.open(io.BytesIO(body)).convert("RGB")


def _area_average(lines: NDArray[np.float64], points: int) -> NDArray[np.float64]:
    """Average lines, those at an edge by the share inside, from sums up to each edge."""
    sums = np.concatenate([np.zeros_like(lines[:1]), np.cumsum(lines, axis=0)])
    edges = np.arange(points + 1) * len(lines) / points
    whole = np.minimum(edges.astype(np.int64), len(lines) - 1)
    at_edges = sums[whole] + lines[whole] * (edges - whole)[:, None]
    return np.diff(at_edges, axis=0) * points / len(lines)


def _compare(ideal: Image.Image, stored: bytes) -> tuple[float, float]:
    """Return PSNR in dB, and SSIM of the luma over windows of 8 px."""
    other = Image.open(io.BytesIO(stored)).convert("RGB")
    if other.size != ideal.size:
        other = other.resize(ideal.size, Image.Resampling.BOX)
    left, right = (np.asarray(each, np.float64) for each in (ideal, other))
    error = np.mean((left - right) ** 2)
    lumas = (np.asarray(each.convert("L"), np.float64) for each in (ideal, other))
    windows = [_windows(each) for each in lumas]
    means = [each.mean(axis=-1) for each in windows]
    spread = [each.var(axis=-1) for each in windows]
    both = (windows[0] * windows[1]).mean(axis=-1) - means[0] * means[1]
    low, high = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ssim = ((2 * means[0] * means[1] + low) * (2 * both + high)) / (
        (means[0] ** 2 + means[1] ** 2 + low) * (spread[0] + spread[1] + high)
    )
    return 10 * math.log10(255**2 / max(float(error), 1e-9)), float(ssim.mean())


def _windows(luma: Any) -> Any:
    return np.lib.stride_tricks.sliding_window_view(luma, (8, 8)).reshape(-1, 64)
