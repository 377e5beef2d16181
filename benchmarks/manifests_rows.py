"""Commands that read rows alone, against pyarrow and DuckDB; and shard writing against webdataset.

Datasets of made metadata: their Parquet files are there, their tars are not.
"""

import functools
import hashlib
import json
import math
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import alternate, need
from manifests.derivation.copying.rewrite import KEPT, Derivation, judged
from manifests.derivation.merge import count_rows
from manifests.derivation.sample import draw
from manifests.format import Layout, Manifest, Samples, ShardRecord, ShardWriter, commit
from manifests.format.records import StoredFile
from manifests.format.schema import DICTIONARY
from manifests.inspection.diff import diff
from manifests.inspection.stats import ASPECTS, DISTINCT, HOST, POWERS, VALUES, stats

ROWS_PER_SHARD = 50_000
Parts = tuple[list[dict[str, Any]], dict[str, float]]
Describe = Callable[[str, list[ShardRecord]], Manifest]


def made_rows(schema: pa.Schema, first: int, ids: list[str], changed: bool) -> pa.Table:
    """Return rows of metadata; `changed` gives every hundredth another width."""
    count = len(ids)
    numbers = np.arange(first, first + count)
    hosts = (numbers * 2654435761 % 4_999).tolist()
    wide = np.where(changed & (numbers % 100 == 0), 500, 512).astype(np.int32)
    columns: dict[str, Any] = {
        "key": [f"{number % 10**9:09d}" for number in numbers.tolist()],
        "pair_id": ids,
        "url": [
            f"http://h{host}.example/{each}.jpg" for host, each in zip(hosts, ids, strict=True)
        ],
        "caption": [f"a picture of {host} waves {each[:8]}" for host, each in
                    zip(hosts, ids, strict=True)],
        "caption_source": ["alt"] * count,
        "lang": ["en"] * count,
        "width": wide,
        "sha256": [each * 2 for each in ids],
        "phash": [each[:16] for each in ids],
        "image_source": ["web"] * count,
        "original_format": ["jpeg"] * count,
    }  # fmt: skip
    arrays = []
    for field in schema:
        if field.name in columns:
            arrays.append(pa.array(columns[field.name], field.type))
        elif field.nullable:
            arrays.append(pa.nulls(count, field.type))
        elif pa.types.is_list(field.type):
            arrays.append(pa.array([[]] * count, field.type))
        else:
            arrays.append(pa.array(np.full(count, 256), pa.int64()).cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def made_dataset(
    root: pathlib.Path, rows: int, schema: pa.Schema, describe: Describe, *, changed: bool = False
) -> Manifest:
    """Write the Parquet files of so many rows, and their root."""
    (root / "shards").mkdir(parents=True)
    random = np.random.default_rng(rows)
    whole = np.sort(random.integers(0, 2**62, rows, dtype=np.uint64))
    whole += np.arange(rows, dtype=np.uint64)  # distinct
    shards = []
    for number, first in enumerate(range(0, rows, ROWS_PER_SHARD)):
        ids = [f"{each:016x}" * 2 for each in whole[first : first + ROWS_PER_SHARD].tolist()]
        name = f"shards/{number:08d}.parquet"
        table = made_rows(schema, first, ids, changed)
        pq.write_table(table, root / name, compression="zstd", use_dictionary=list(DICTIONARY))
        data = (root / name).read_bytes()
        tar = StoredFile(f"shards/{number:08d}.tar", 1, "0" * 64)
        stored = StoredFile(name, len(data), hashlib.sha256(data).hexdigest())
        keys = [table["key"][place].as_py() for place in (0, -1)]
        shards.append(
            ShardRecord(id=number, samples=len(ids), key_first=keys[0], key_last=keys[1],
                        pair_id_min=ids[0], pair_id_max=ids[-1], tar=tar, parquet=stored)
        )  # fmt: skip
    manifest = describe(str(root), shards)
    commit(str(root), manifest)
    return manifest


def read_columns(columns: list[str], *manifests: Manifest) -> None:
    """Read columns with pyarrow alone, shard after shard, as the peer of a streaming command."""
    for manifest in manifests:
        for shard in manifest.shards:
            pq.ParquetFile(manifest.path(shard.parquet.path)).read(columns, use_threads=False)


def plain_stats(manifest: Manifest) -> None:
    """The aggregates of `stats`, in DuckDB without anything around."""
    duckdb = need("duckdb", "duckdb")
    files = [manifest.path(shard.parquet.path) for shard in manifest.shards]
    connection = duckdb.connect(config={"memory_limit": "1GiB", "threads": 1})
    connection.execute(f"CREATE VIEW samples AS SELECT * FROM read_parquet({files!r})")  # noqa: S608 (ours)
    distinct = ", ".join(f"count(DISTINCT hash({name}))" for name in DISTINCT)
    connection.execute(f"SELECT count(*), {distinct} FROM samples").fetchall()  # noqa: S608 (ours)
    steps = " + ".join(f"(width / height >= {edge!r})::INTEGER" for edge in ASPECTS)
    logs = [f"floor(log2(greatest({sql}, 1)))" for sql in POWERS.values()]
    host = f"regexp_extract(url, '{HOST}', 1)"
    for sql in [*logs, *VALUES.values(), host, steps]:
        query = f"SELECT {sql}, count(*) AS n FROM samples GROUP BY 1 ORDER BY n DESC"  # noqa: S608 (ours)
        connection.execute(query).fetchmany(50)
    connection.close()


def reading(
    folder: pathlib.Path, counts: list[int], schema: pa.Schema, describe: Describe, rounds: int
) -> Parts:
    """Time diff, merge, sample and stats on datasets of so many rows, beside their peers."""
    table: list[dict[str, Any]] = []
    seconds: dict[int, dict[str, float]] = {}
    compared = [
        "pair_id", *(field.name for field in schema
                     if field.name not in ("key", "pair_id")
                     and not field.name.endswith(("_offset", "_bytes"))),
    ]  # fmt: skip
    for count in counts:
        left, right = (
            made_dataset(folder / f"{name}{count}", count, schema, describe, changed=name == "b")
            for name in "ab"
        )
        works: dict[str, Callable[[], object]] = {
            "diff": functools.partial(diff, left, right),
            "its columns": functools.partial(read_columns, [*compared, "key"], left, right),
            "merge": functools.partial(count_rows, [left, right]),
            "ids of both": functools.partial(read_columns, ["pair_id"], left, right),
            "sample": functools.partial(_draw, left),
            "all columns": functools.partial(read_columns, schema.names, left),
            "stats": functools.partial(stats, left),
            "plain DuckDB": functools.partial(plain_stats, left),
        }
        seconds[count] = alternate(works, rounds)
        table += [{"what": f"{name}, {count} rows", "CPU s": each, "per CPU s": count / each,
                   "unit": "rows"} for name, each in seconds[count].items()]  # fmt: skip
    last, first = seconds[counts[-1]], seconds[counts[0]]
    step = math.log(counts[-1] / counts[0])
    metrics = {
        "diff_ratio": last["its columns"] / last["diff"],
        "merge_ratio": last["ids of both"] / last["merge"],
        "sample_ratio": last["all columns"] / last["sample"],
        "stats_ratio": last["stats"] / last["plain DuckDB"],
    }
    slopes = {f"{name}_slope": math.log(last[name] / first[name]) / step
              for name in ("diff", "merge", "sample", "stats")}  # fmt: skip
    return table, metrics | slopes


def _draw(source: Manifest) -> None:
    """Draw a tenth and take its rows, as `sample` does before it copies members."""
    job = Derivation(sources=(source,), choose=draw(source, fraction="0.1"), name="", op="sample",
                     params={})  # fmt: skip
    for table, verdicts in judged(job, None):
        table.filter(pa.array(verdicts == KEPT))


def writing(folder: pathlib.Path, samples: Samples, layout: Layout, rounds: int) -> Parts:
    """Write one shard, and the same members with webdataset's writer, which hashes nothing."""
    webdataset = need("webdataset", "webdataset")
    captions = samples.rows["caption"].to_pylist()
    jsons = [json.dumps({"uid": each}) for each in samples.rows["pair_id"].to_pylist()]

    def ours() -> None:
        ShardWriter(0, str(folder / "ours"), [samples], layout=layout).write()

    def peer() -> None:
        with webdataset.TarWriter(str(folder / "peer.tar")) as writer:
            for number, image in enumerate(samples.images):
                writer.write({"__key__": f"{number:09d}", "jpg": image, "txt": captions[number],
                              "json": jsons[number].encode()})  # fmt: skip

    seconds = alternate({"ShardWriter": ours, "webdataset.TarWriter": peer}, rounds)
    count = len(samples.images)
    rows = [{"what": name, "CPU s": each, "per CPU s": count / each, "unit": "samples"}
            for name, each in seconds.items()]  # fmt: skip
    return rows, {"write_ratio": seconds["webdataset.TarWriter"] / seconds["ShardWriter"]}


PEAK = """
import pathlib, re, resource, sys
from manifests.inspection.verify import verify
verify(sys.argv[1], "deep", jobs=1)
# Linux: `ru_maxrss` of a process counts the one that started it.
status = pathlib.Path("/proc/self/status")
own = int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) if status.exists() else 0
usages = [resource.getrusage(each).ru_maxrss
          for each in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(own or usages[0], usages[1])
"""


def memory(roots: dict[int, str]) -> Parts:
    """Peak memory of `verify --deep` over datasets of so many equal shards: driver and worker."""
    unit = 1 if sys.platform == "darwin" else 1 << 10
    rows: list[dict[str, Any]] = []
    metrics: dict[str, float] = {}
    for count, root in roots.items():
        words = [sys.executable, "-c", PEAK, root]
        done = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603 (ours)
        driver, worker = (int(each) * unit / 2**20 for each in done.stdout.split())
        rows.append({"what": f"verify --deep, {count} shards", "driver MiB": driver,
                     "worker MiB": worker})  # fmt: skip
        metrics |= {f"verify_{count}_driver_mib": driver, f"verify_{count}_worker_mib": worker}
    return rows, metrics
