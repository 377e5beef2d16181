"""One bucket of `fetch` from the web, in a process of its own: see `benchmarks.fetch`."""

import argparse
import json
import pathlib
import sys
import time
import unittest.mock
from typing import Any

import certifi
import imagehash
import pyarrow as pa
from PIL import Image

from benchmarks.harness import peak_bytes
from filters.consent.decision import ConsentSettings
from filters.hashes.perceptual import HashRecord
from manifests.format.ids import pair_id
from pipeline.engine.parts import open_sink
from pipeline.engine.units import Unit
from pipeline.fetch import image
from pipeline.fetch.outcomes import HOSTS, LOST, OUTCOMES, WAITING
from pipeline.fetch.settings import FetchSettings
from pipeline.fetch.web import WebKernel, waiting_rows
from pipeline.records import FETCHED, MATCHED
from pipeline.visit.settings import SiteGrant

ROW: dict[str, Any] = {
    "text": "a text", "url_source": "src", "position": 0, "flags": [], "optout": [],
    "source_file": "list", "source_offset": 0, "text_source": "alt", "lang": "en",
    "matched_query_ids": [1], "seen": 1,
}  # fmt: skip


def _short_record(canonical: Image.Image) -> HashRecord:
    """Return a record in which the 64-bit pHash alone is of the image."""
    phash = str(imagehash.phash(canonical))
    return HashRecord(bytes(64), bytes(32), 100, 0, None, None, phash)


def main() -> None:
    """Fetch URLs and print CPU-seconds, wall-seconds, peak memory and rows as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("urls", type=pathlib.Path, help="a file of URLs, one a line")
    parser.add_argument("out", type=pathlib.Path, help="a folder")
    parser.add_argument("--bundle", default="", help="certificates to trust")
    parser.add_argument("--polite", action="store_true", help="keep the default gaps")
    parser.add_argument("--short", action="store_true", help="hash by a 64-bit pHash alone")
    options = parser.parse_args()
    if options.short:
        unittest.mock.patch.object(image, "record", _short_record).start()
    if options.bundle:
        certifi.where = lambda: options.bundle
    urls = options.urls.read_text("utf-8").split()
    rows = [{**ROW, "url": url, "pair_id": pair_id(url, "a text")} for url in urls]
    batch = pa.RecordBatch.from_pylist(rows, schema=MATCHED)
    grant = SiteGrant(match="127.0.0.1", reason="ours", connections=64, delay_s=0.0)
    ports = {int(url.split("/")[2].rpartition(":")[2]) for url in urls}
    settings = FetchSettings(
        source="web",
        contact="https://example.org/bench",
        allow_networks=("127.0.0.0/8",),
        address_connections=64,
        max_in_flight=256 if options.polite else 64,
        site_budget=10**9,
        ports=tuple(ports),
        site=() if options.polite else (grant,),
    )
    kernel = WebKernel(buckets=1, settings=settings, consent=ConsentSettings(tdm_file=False))
    table = pa.Table.from_batches([waiting_rows(batch, 0)]).sort_by(
        [("prio", "ascending"), ("target", "ascending"), ("pair_id", "ascending")]
    )
    began, cpu = time.monotonic(), time.process_time()
    with open_sink(
        root=str(options.out),
        folder="stages/fetch-r1",
        stage="fetch",
        unit=Unit(id="00000", sources=()),
        outputs={"part": FETCHED, "lost": LOST, "hosts": HOSTS},
        content_names=True,
    ) as sink:
        known = OUTCOMES.empty_table()
        kernel.reduce(
            0, {"pair": table.cast(WAITING), "known": known, "kept": known, "copied": known}, sink
        )
        record = sink.close("spec")
    kept = next(file.rows for file in record.files if file.role == "part")
    used = {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.monotonic() - began,
        "peak_bytes": peak_bytes(),
        "kept": kept,
    }
    sys.stdout.write(json.dumps(used))


if __name__ == "__main__":
    main()
