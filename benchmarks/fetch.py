"""Fetching images beside img2dataset: CPU per image, quality, memory; and 200 slow hosts.

    python -m benchmarks.fetch [--quick] [--json OUT] [--peer PYTHON]

PYTHON has img2dataset 1.47.0; `make img2dataset` installs it apart, for it needs older libraries.
Costs and memory are of made-up pictures in the mix of the web, quality is also of photographs.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import pycurl

from benchmarks.dedup_edits import CACHE, families, package_images
from benchmarks.fetch_quality import quality
from benchmarks.fetch_web import authority, pictures, serving
from benchmarks.harness import MissingError, report, run
from manifests.base.console import say

ROOT = pathlib.Path(__file__).parent.parent
PEER = pathlib.Path(sys.prefix, "img2dataset", "bin", "python")
PHOTOGRAPHS = ("lomiri-wallpapers-16.04", "mate-backgrounds", "palapeli-data/usr/share/palapeli")
"""Debian packages with photographs as JPEG, 512 to 3,172 px high; 66 MB."""


def main(*, quick: bool, path: str, peer: str) -> None:
    """Measure both tools, the quality of what they store, and how a run meets slow hosts.

    Raises:
        MissingError: if the peer is not there.
    """
    if not _peer_value(peer, "importlib.metadata", "m.version('img2dataset')"):
        raise MissingError(
            f"img2dataset: {peer} has none: make img2dataset, or name another with --peer PYTHON"
        )
    # img2dataset begins with 8 to 11 CPU-s, give or take 1: between fewer images nothing is seen.
    sizes, repeats = ((200, 1200), 1) if quick else ((800, 4000), 3)
    metrics: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        bodies = pictures(200 if quick else 400)
        pem, bundle = authority(folder)
        say(f"TLS: {pycurl.version}; peer: {_peer_value(peer, 'ssl', 'm.OPENSSL_VERSION')}")
        say(f"TLS: {bundle.read_text('utf-8').count('BEGIN CERT')} certificates to trust")
        for scheme, key in (("http", None), ("https", pem)):
            with serving(bodies, key) as port:
                url = f"{scheme}://127.0.0.1:{port}"
                measured = compare(folder / scheme, url, sizes, repeats, peer, bundle)
            metrics |= measured
            rows.append({"transport": scheme, **_columns(scheme, measured)})
        made_up = quality(bodies, folder / "http")
        metrics |= {f"made_up_{name}": value for name, value in made_up.items()}
        metrics |= photograph_quality(folder / "photographs", 12 if quick else 38, peer, bundle)
        metrics |= slow_hosts(folder, quick=quick)
    report(list(rows[0]), rows, metrics, path)


def _peer_value(peer: str, module: str, expression: str) -> str:
    """Return what an expression of a module m is for the peer's Python; nothing if it raises."""
    code = f"import {module} as m; print({expression})"
    try:
        done = subprocess.run([peer, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def _columns(scheme: str, measured: dict[str, float]) -> dict[str, float]:
    return {
        "CPU-ms an image": measured[f"{scheme}_cpu_ms"],
        "with pHash-64 only": measured[f"{scheme}_short_cpu_ms"],
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
    tools = {"ours": run_ours, "short": run_short, "peer": run_peer}
    costs: dict[str, dict[int, list[float]]] = {tool: {} for tool in tools}
    peaks: dict[str, list[float]] = {tool: [] for tool in tools}
    for repeat in range(repeats):
        for size in sizes:
            listed = folder / f"{repeat}-{size}.txt"
            listed.parent.mkdir(exist_ok=True)
            listed.write_text("".join(f"{url}/{number}.jpg\n" for number in range(size)))
            for tool, measure in tools.items():
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
        f"{scheme}_short_cpu_ms": 1000 * slopes["short"],
        f"{scheme}_peer_cpu_ms": 1000 * slopes["peer"],
        f"{scheme}_ratio": slopes["peer"] / slopes["ours"],
        f"{scheme}_short_ratio": slopes["peer"] / slopes["short"],
        "memory_ratio": max(peaks["peer"]) / max(peaks["ours"]),
        "peak_mib": max(peaks["ours"]) / (1 << 20),
        "peer_peak_mib": max(peaks["peer"]) / (1 << 20),
    }


def run_ours(
    listed: pathlib.Path, out: pathlib.Path, size: int, peer: str, bundle: pathlib.Path
) -> tuple[float, float]:
    """Return CPU-seconds and peak bytes of our process."""
    return _run_ours(listed, out, size, "--bundle", str(bundle))


def run_short(
    listed: pathlib.Path, out: pathlib.Path, size: int, peer: str, bundle: pathlib.Path
) -> tuple[float, float]:
    """Return the same with imagehash's 64-bit pHash in place of the whole hash record."""
    return _run_ours(listed, out, size, "--bundle", str(bundle), "--short")


def _run_ours(
    listed: pathlib.Path, out: pathlib.Path, size: int, *options: str
) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks.fetch_ours", str(listed), str(out), *options]
    made = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout  # noqa: S603
    )
    if made["kept"] != size:
        raise RuntimeError(f"ours kept {made['kept']} of {size}")
    return made["cpu_s"], made["peak_bytes"]


def run_peer(
    listed: pathlib.Path, out: pathlib.Path, size: int, peer: str, bundle: pathlib.Path
) -> tuple[float, float]:
    """Return CPU-seconds and peak bytes of img2dataset with its children."""
    code = (
        "import sys, resource, json, re\n"
        "from img2dataset import download\n"
        "if __name__ == '__main__':\n"
        "    download(url_list=sys.argv[1], output_folder=sys.argv[2], processes_count=1,\n"
        "             thread_count=64, image_size=256, resize_mode='keep_ratio',\n"
        "             resize_only_if_bigger=True, encode_quality=95, output_format='webdataset',\n"
        "             input_format='txt', number_sample_per_shard=5000, retries=0, timeout=30)\n"
        "    own = int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])\n"
        "    used = max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "    open(sys.argv[2] + '/peak.json', 'w').write(json.dumps(used))\n"
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


def photograph_quality(
    folder: pathlib.Path, count: int, peer: str, bundle: pathlib.Path
) -> dict[str, float]:
    """Return the quality of photographs of Debian packages; nothing if they cannot be had."""
    try:
        paths = [path for package in PHOTOGRAPHS for path in package_images(package, CACHE)]
    except MissingError as error:
        say(str(error))
        return {}
    photographs = [path for path in families(paths).values() if path.suffix in (".jpg", ".jpeg")]
    bodies = [path.read_bytes() for path in photographs[:: -(-len(photographs) // count)]]
    folder.mkdir()
    listed = folder / "list.txt"
    with serving(bodies, None) as port:
        urls = [f"http://127.0.0.1:{port}/{number}.jpg\n" for number in range(len(bodies))]
        listed.write_text("".join(urls))
        run_peer(listed, folder / "peer-0-photographs", len(bodies), peer, bundle)
    return quality(bodies, folder)


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
    parser.add_argument("--peer", default=str(PEER), help="Python that has img2dataset")
    given = parser.parse_args()
    run(lambda: main(quick=given.quick, path=given.json, peer=given.peer))
