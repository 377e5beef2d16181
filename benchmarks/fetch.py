"""Fetching images beside img2dataset: CPU per image, quality, memory; and 200 slow hosts.

    python -m benchmarks.fetch [--quick] [--json OUT] --peer PYTHON

PYTHON is that of an environment with img2dataset 1.47.0, which needs other versions of libraries.
"""

import argparse
import io
import json
import math
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.fetch_web import authority, pictures, serving
from benchmarks.harness import MissingError, report, run
from pipeline.fetch.image import Prepared, prepare
from pipeline.fetch.settings import FetchSettings

ROOT = pathlib.Path(__file__).parent.parent
SIDE_PX = 256


def main(*, quick: bool, path: str, peer: str) -> None:
    """Measure both tools, the quality of what they store, and how a run meets slow hosts.

    Raises:
        MissingError: if the peer is not there.
    """
    version = "import importlib.metadata as m; print(m.version('img2dataset'))"
    found = subprocess.run([peer, "-c", version], capture_output=True, text=True, check=False)  # noqa: S603
    if found.returncode:
        raise MissingError("img2dataset: not in this environment: name another with --peer PYTHON")
    sizes, repeats = ((200, 600), 1) if quick else ((1000, 4000), 3)
    metrics: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        bodies = pictures(60 if quick else 400)
        pem, bundle = authority(folder)
        for scheme, key in (("http", None), ("https", pem)):
            with serving(bodies, key) as port:
                url = f"{scheme}://127.0.0.1:{port}"
                measured = compare(folder / scheme, url, sizes, repeats, peer, bundle)
            metrics |= measured
            rows.append({"transport": scheme, **_columns(scheme, measured)})
        metrics |= quality(bodies, folder / "http")
        metrics |= slow_hosts(folder, quick=quick)
    report(list(rows[0]), rows, metrics, path)


def _columns(scheme: str, measured: dict[str, float]) -> dict[str, float]:
    return {
        "CPU-ms an image": measured[f"{scheme}_cpu_ms"],
        "img2dataset": measured[f"{scheme}_peer_cpu_ms"],
        "times": measured[f"{scheme}_ratio"],
        "peak MiB": measured["peak_mib"],
        "img2dataset MiB": measured["peer_peak_mib"],
    }


def compare(
    folder: pathlib.Path,
    url: str,
    sizes: tuple[int, int],
    repeats: int,
    peer: str,
    bundle: pathlib.Path,
) -> dict[str, float]:
    """Return CPU-ms an image of both, from the slope between two sizes, and their ratio."""
    costs: dict[str, dict[int, list[float]]] = {"ours": {}, "peer": {}}
    peaks: dict[str, list[float]] = {"ours": [], "peer": []}
    for repeat in range(repeats):
        for size in sizes:
            listed = folder / f"{repeat}-{size}.txt"
            listed.parent.mkdir(exist_ok=True)
            listed.write_text("".join(f"{url}/{number}.jpg\n" for number in range(size)))
            for tool, measure in (("ours", run_ours), ("peer", run_peer)):
                out = folder / f"{tool}-{repeat}-{size}"
                cpu, peak = measure(listed, out, size, peer, bundle)
                costs[tool].setdefault(size, []).append(cpu)
                peaks[tool].append(peak)
    scheme = url.partition(":")[0]
    slopes = {
        tool: (statistics.median(found[sizes[1]]) - statistics.median(found[sizes[0]]))
        / (sizes[1] - sizes[0])
        for tool, found in costs.items()
    }
    return {
        f"{scheme}_cpu_ms": 1000 * slopes["ours"],
        f"{scheme}_peer_cpu_ms": 1000 * slopes["peer"],
        f"{scheme}_ratio": slopes["peer"] / slopes["ours"],
        "memory_ratio": max(peaks["peer"]) / max(peaks["ours"]),
        "peak_mib": max(peaks["ours"]) / (1 << 20),
        "peer_peak_mib": max(peaks["peer"]) / (1 << 20),
    }


def run_ours(
    listed: pathlib.Path, out: pathlib.Path, size: int, peer: str, bundle: pathlib.Path
) -> tuple[float, float]:
    """Return CPU-seconds and peak bytes of our process."""
    made = json.loads(_call_ours(listed, out, "--bundle", str(bundle)))
    if made["kept"] != size:
        raise RuntimeError(f"ours kept {made['kept']} of {size}")
    return made["cpu_s"], made["peak_bytes"]


def _call_ours(listed: pathlib.Path, out: pathlib.Path, *options: str) -> str:
    command = [sys.executable, "-m", "benchmarks.fetch_ours", str(listed), str(out), *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout  # noqa: S603


def run_peer(
    listed: pathlib.Path, out: pathlib.Path, size: int, peer: str, bundle: pathlib.Path
) -> tuple[float, float]:
    """Return CPU-seconds and peak bytes of img2dataset with its children."""
    code = (
        "import sys, resource, json\n"
        "from img2dataset import download\n"
        "if __name__ == '__main__':\n"
        "    download(url_list=sys.argv[1], output_folder=sys.argv[2], processes_count=1,\n"
        "             thread_count=64, image_size=256, resize_mode='keep_ratio',\n"
        "             resize_only_if_bigger=True, encode_quality=95, output_format='webdataset',\n"
        "             input_format='txt', number_sample_per_shard=5000, retries=0, timeout=30)\n"
        "    used = [resource.getrusage(who).ru_maxrss for who in\n"
        "            (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
        "    open(sys.argv[2] + '/peak.json', 'w').write(json.dumps(max(used)))\n"
    )
    script = listed.with_suffix(".py")
    script.write_text(code)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(  # noqa: S603
        [peer, str(script), str(listed), str(out)],
        capture_output=True,
        text=True,
        env={**os.environ, "SSL_CERT_FILE": str(bundle), "NO_ALBUMENTATIONS_UPDATE": "1"},
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    stats = [json.loads(path.read_text()) for path in out.glob("*_stats.json")]
    kept = sum(each["successes"] for each in stats)
    if kept != size:
        raise RuntimeError(f"img2dataset kept {kept} of {size}: {done.stderr[-500:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, json.loads((out / "peak.json").read_text()) << 10


def quality(bodies: list[bytes], folder: pathlib.Path) -> dict[str, float]:
    """Return PSNR and SSIM of stored images against a full decode and area average."""
    ours, theirs, sizes = [], [], []
    stored = _peer_images(folder)
    for number, body in enumerate(bodies):
        made = prepare(body, FetchSettings())
        if not isinstance(made, Prepared) or number not in stored:
            continue
        ideal = _ideal(body, (made.width, made.height))
        ours.append(_compare(ideal, made.stored))
        theirs.append(_compare(ideal, stored[number]))
        sizes.append(len(made.stored) / len(stored[number]))
    means = np.mean(ours, axis=0), np.mean(theirs, axis=0)
    return {
        "psnr_db": float(means[0][0]),
        "ssim": float(means[0][1]),
        "peer_psnr_db": float(means[1][0]),
        "peer_ssim": float(means[1][1]),
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
    image = Image.open(io.BytesIO(body)).convert("RGB")
    return image.resize(size, Image.Resampling.BOX)


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


def slow_hosts(folder: pathlib.Path, *, quick: bool) -> dict[str, float]:
    """Ask 200 hosts that take their time, by 2 processes; return wall time beside the ideal."""
    after, per_host, hosts = (0.2, 6, 200) if quick else (2.0, 20, 200)
    gap = max(1.0, min(30.0, 5 * after))
    with serving(pictures(4, 100), None, after) as port:
        halves = []
        for half in range(2):
            listed = folder / f"slow-{half}.txt"
            names = [f"127.1.{half}.{number + 1}" for number in range(hosts // 2)]
            urls = [f"http://{name}:{port}/{n}.jpg" for name in names for n in range(per_host)]
            listed.write_text("\n".join(urls))
            halves.append((listed, len(urls)))
        command = [sys.executable, "-m", "benchmarks.fetch_ours"]
        running = [
            subprocess.Popen(  # noqa: S603
                [*command, str(listed), str(folder / f"slow-out-{half}"), "--polite"],
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            for half, (listed, _) in enumerate(halves)
        ]
        made = [json.loads(process.communicate()[0]) for process in running]
    kept = sum(each["kept"] for each in made)
    if kept != sum(count for _, count in halves):
        raise RuntimeError(f"slow hosts: {kept} kept: a host was asked twice at once")
    ideal = (per_host + 1) * (after + gap)  # robots.txt is a request, too
    wall = max(each["wall_s"] for each in made)
    return {
        "slow_wall_s": wall,
        "slow_ratio": wall / ideal,
        "slow_cpu_s": sum(each["cpu_s"] for each in made),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images, short answers")
    parser.add_argument("--json", default="", help="where the metrics go")
    parser.add_argument("--peer", default=sys.executable, help="Python that has img2dataset")
    given = parser.parse_args()
    run(lambda: main(quick=given.quick, path=given.json, peer=given.peer))
