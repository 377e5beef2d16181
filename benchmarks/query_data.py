"""Data of the benchmark of queries: WordNet, a sample of Wikipedia, and made-up surviving pairs."""

import bz2
import hashlib
import itertools
import json
import os
import pathlib
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.harness import MissingError
from filters.queries.match_form import match_form
from filters.queries.query_list import METADATA_KEY, SCHEMA_VERSION, from_queries
from filters.queries.select import ALL
from manifests.format.table import write_table
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.units import FileRecord, UnitRecord
from pipeline.queries.sources.dump import Dump
from pipeline.queries.sources.wikitext import plain_page
from pipeline.queries.sources.wordnet import read_names
from pipeline.records import DEDUPED
from pipeline.selection.quotas import quota_rows

CACHE = pathlib.Path.home() / ".cache/openwit"
SHORTEST, LONGEST = 3, 14
"""Words of a text."""
MATCHES = 3.5
"""Queries of a pair. Published: MetaCLIP."""
ROWS_OF_PART = 65_536
"""As in buckets of 64 MiB and 1 KiB a row."""


def wordnet() -> str:
    """Return the folder of WordNet 3.0.

    Raises:
        MissingError: if it is nowhere.
    """
    folder = os.environ.get("OPENWIT_WORDNET") or str(CACHE / "wordnet")
    if not pathlib.Path(folder, "data.noun").exists():
        raise MissingError(
            f"{folder}: no WordNet: unpack data.* of Debian's wordnet-base there, or set "
            "OPENWIT_WORDNET"
        )
    return folder


def wikipedia() -> str:
    """Return the path of a sample of the English Wikipedia.

    Raises:
        MissingError: if it is nowhere.
    """
    path = os.environ.get("OPENWIT_DUMP") or str(CACHE / "enwiki-shortened.xml.bz2")
    if not pathlib.Path(path).exists():
        raise MissingError(
            f"{path}: no dump: take enwiki-latest-pages-articles1...shortened.bz2 from gensim's "
            "source distribution, or set OPENWIT_DUMP"
        )
    return path


def _segments() -> list[str]:
    pages = (plain_page(page.text) for page in Dump(wikipedia(), (0,)) if page.kind == "kept")
    return [segment for page in pages if page for segment in page.segments]


def texts_and_queries(texts: int, queries: int) -> tuple[list[str], list[str]]:
    """Return different texts of 3 to 14 words, and as many different queries as asked for.

    Queries are all words of WordNet, all words of the sample, then its most frequent bigrams and
    trigrams.
    """
    segments = _segments()
    found = dict.fromkeys(read_names(wordnet(), "all"))
    grams: list[Counter[str]] = [Counter(), Counter(), Counter()]
    for segment in segments:
        tokens = match_form(segment).split()
        for size, counts in enumerate(grams):
            runs = zip(*(tokens[start:] for start in range(size + 1)), strict=False)
            counts.update(" ".join(run) for run in runs if all(each[0].isalnum() for each in run))
    for counts in grams:
        ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        found.update(dict.fromkeys((gram for gram, _ in ranked)))
    if len(found) < queries:
        raise MissingError(f"the sample gives {len(found)} queries, {queries} are needed")
    return list(itertools.islice(_cut(segments), texts)), list(found)[:queries]


def _cut(segments: list[str]) -> Iterator[str]:
    seen: set[str] = set()
    for offset in range(LONGEST):  # other cuts of the same segments are other texts
        size = SHORTEST + offset % (LONGEST - SHORTEST + 1)
        for segment in segments:
            words = segment.split()[offset:]
            while len(words) >= SHORTEST:
                text, words = " ".join(words[:size]), words[size:]
                size = SHORTEST + (7 * size + 5) % (LONGEST - SHORTEST + 1)
                if text not in seen:
                    seen.add(text)
                    yield text


def copies(path: str, count: int, target: pathlib.Path) -> str:
    """Write a dump with the pages of `path` so many times, and return where it is."""
    head, *pages = bz2.decompress(pathlib.Path(path).read_bytes()).split(b"<page>")
    pages[-1] = pages[-1].replace(b"</mediawiki>", b"")
    body = b"".join(b"<page>" + page for page in pages)
    target.write_bytes(bz2.compress(head + body * count + b"</mediawiki>"))
    return str(target)


def write_list(folder: pathlib.Path, queries: int) -> str:
    """Write `list.parquet` of made-up queries and return its sha256."""
    made = from_queries(f"query {number}" for number in range(queries))
    header = {"schema_version": SCHEMA_VERSION, "list_digest": made.digest}
    path = folder / "list.parquet"
    table = made.table.replace_schema_metadata({METADATA_KEY: json.dumps(header)})
    write_table(path, table.to_batches(), table.schema)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_pairs(
    root: pathlib.Path, pairs: int, queries: int
) -> tuple[StageRecord, NDArray[np.int64]]:
    """Write pairs that survived, with 3.5 queries each, of a popularity that falls as 1 / rank.

    Returns them and how many pairs each query has.
    """
    random = np.random.default_rng(1)
    share = np.cumsum(1 / np.arange(1, queries + 1))
    records, counts = [], np.zeros(queries, np.int64)
    for number, start in enumerate(range(0, pairs, ROWS_OF_PART)):
        count = min(ROWS_OF_PART, pairs - start)
        sizes = random.poisson(MATCHES - 1, count) + 1
        drawn = np.searchsorted(share, random.random(sizes.sum()) * share[-1])
        rows = np.repeat(np.arange(count), sizes)
        keys = np.unique(rows << 32 | drawn)  # a query counts once
        sizes = np.bincount(keys >> 32, minlength=count)
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        found = keys & 0xFFFFFFFF
        counts += np.bincount(found, minlength=queries)
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(found.astype(np.int32)))
        ids = random.integers(0, 256, (count, 16), dtype=np.uint8).tobytes()
        name = f"stages/dedup-0/part-{number:05d}.parquet"
        records.append(_write_part(root, name, number, _rows(ids, lists, count)))
    return _record(root, "dedup", {}, records), counts


def write_thresholds(
    root: pathlib.Path, counts: NDArray[np.int64], list_sha256: str
) -> StageRecord:
    """Write thresholds of a preselect that left nothing out."""
    ids = np.flatnonzero(counts)
    rows = quota_rows(ids, counts[ids], counts[ids], np.full(len(ids), ALL, np.uint64))
    part = _write_part(root, "stages/preselect-thresholds-0/part-all.parquet", 0, rows)
    return _record(root, "preselect-thresholds", {"list": list_sha256}, [part])


def _record(
    root: pathlib.Path, step: str, parameters: dict[str, str], units: list[UnitRecord]
) -> StageRecord:
    return StageRecord(
        root=str(root),
        step=step,
        stage=step,
        version=1,
        spec="0" * 64,
        parameters=parameters,
        upstream=(),
        accounts=True,
        units=tuple(units),
    )


def _rows(ids: bytes, lists: pa.ListArray, count: int) -> pa.RecordBatch:
    """Return rows of `DEDUPED` in which all but ids and queries is as plain as it may be."""
    columns = {"pair_id": pa.Array.from_buffers(pa.binary(16), count, [None, pa.py_buffer(ids)])}
    columns["matched_query_ids"] = lists
    for field in DEDUPED:
        if field.name not in columns:
            columns[field.name] = (
                pa.nulls(count, field.type) if field.nullable else _plain(field.type, count)
            )
    return pa.RecordBatch.from_arrays([columns[name] for name in DEDUPED.names], schema=DEDUPED)


def _plain(kind: pa.DataType, count: int) -> pa.Array:
    if pa.types.is_list(kind):
        return pa.array([[]] * count, kind)
    if pa.types.is_fixed_size_binary(kind):
        return pa.repeat(pa.scalar(bytes(kind.byte_width), kind), count)
    if pa.types.is_string(kind):
        return pa.repeat("http://example.com/a.jpg", count)
    return pa.repeat(pa.scalar(0).cast(kind), count)


def _write_part(root: pathlib.Path, name: str, number: int, rows: pa.RecordBatch) -> UnitRecord:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, [rows], rows.schema)
    part = FileRecord(
        role="part", name=name, bytes=path.stat().st_size, sha256=f"{number:064x}",
        rows=rows.num_rows,
    )  # fmt: skip
    count = rows.num_rows
    return UnitRecord(
        unit=f"{number:05d}", spec="", inputs=(), rows_in=count, rows_out=count, drops={},
        files=(part,),
    )  # fmt: skip
