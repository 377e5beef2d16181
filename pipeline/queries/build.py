"""Builds a list of queries from its sources and writes it: equal inputs, equal bytes."""

import dataclasses
import functools
import heapq
import json
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from filters.queries.query_list import (
    MAX_QUERIES,
    METADATA_KEY,
    SCHEMA,
    SCHEMA_VERSION,
    list_digest,
)
from filters.text.categories import unicode_version
from manifests.base import storage
from manifests.base.console import progress, say
from manifests.base.errors import RefusedError
from manifests.base.version import __version__
from manifests.format.table import TableWriter
from pipeline.queries.bigrams import (
    PairTally,
    Vocabulary,
    best_bigrams,
    count_pairs,
    vocabulary_bounds,
    write_vocabulary,
)
from pipeline.queries.corpus import Corpus, ordered_map, read_corpus
from pipeline.queries.counts import Tally
from pipeline.queries.credit import Candidate, Drops, Row, merge_sources
from pipeline.queries.settings import (
    QueriesSettings,
    Thresholds,
    as_paths,
    thresholds_for,
    with_unigrams,
)
from pipeline.queries.titles import ranked_titles
from pipeline.queries.wordnet import read_names, wordnet_paths

__all__ = ["BuildSummary", "QueriesSettings", "build_list"]

THRESHOLDS = tuple(field.name for field in dataclasses.fields(Thresholds) if field.name != "rank")
Found = dict[str, list[Candidate]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildSummary:
    """What was built; the same as the list's metadata."""

    out: str
    metadata: dict[str, Any]

    @property
    def list_digest(self) -> str:
        """Digest of languages and queries in order."""
        return str(self.metadata["list_digest"])

    def lines(self) -> list[str]:
        """Return the summary for people, one fact a line."""
        made = self.metadata
        lines = [f"{self.out}: {sum(made['rows'].values())} queries, profile {made['profile']}"]
        lines += [f"  {source}: {count}" for source, count in made["rows"].items()]
        if made["pages"]:
            lines.append("pages: " + ", ".join(f"{k} {v}" for k, v in made["pages"].items()))
        lines.append(f"words: {made['words']}, titles ranked by {made['title_rank']}")
        for name, value in made["thresholds"].items():
            lines.append(f"{name}: {value['used']} ({_why(value)})")
        for source, reasons in made["drops"].items():
            dropped = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
            lines.append(f"dropped from {source}: {dropped}")
        return [*lines, f"list_digest: {made['list_digest']}"]


def build_list(
    settings: QueriesSettings,
    out: str,
    workers: int = 0,
    report: Callable[[str], None] = say,
) -> BuildSummary:
    """Build the list and write it to `out`, whole or not at all.

    Args:
        settings: the table `[queries]`, paths resolved.
        out: path of the Parquet file.
        workers: processes; 0 is one per core. They change no byte.
        report: is told which step begins.

    Raises:
        RefusedError: if an input is missing or wrong, or no query is left.
        OpenwitError: if an input is damaged; names file and byte.
    """
    if settings.file:
        raise RefusedError(f"queries.file: {settings.file}: is a ready list, nothing is built")
    if not settings.has_inputs:
        raise RefusedError("[queries]: no input: set dump, text, pageviews or wordnet, or file")
    inputs = _inputs(settings)
    with tempfile.TemporaryDirectory(prefix="openwit-queries-") as folder:
        rows, metadata = _build(settings, folder, workers, report)
    if not 0 < len(rows) <= MAX_QUERIES:
        raise RefusedError(
            f"queries build: {len(rows)} queries: N = {metadata['words']}, thresholds "
            f"{_used(metadata['thresholds'])}, dropped {metadata['drops']}: lower the thresholds "
            "or give more text"
        )
    digest = list_digest([settings.lang] * len(rows), [row.query for row in rows])
    metadata |= {"inputs": inputs, "list_digest": digest}
    _write(out, rows, settings.lang, metadata)
    return BuildSummary(out=out, metadata=metadata)


def _build(
    settings: QueriesSettings, folder: str, workers: int, report: Callable[[str], None]
) -> tuple[list[Row], dict[str, Any]]:
    new = functools.partial(Tally, folder, max_types=settings.max_types)
    corpus = _first_pass(settings, folder, workers, report)
    words = corpus.words.total
    if (settings.dump or settings.text) and not words:
        raise RefusedError(f"queries build: no words in dump and text: pages {corpus.pages}")
    thresholds = thresholds_for(settings, words)
    found: Found = {}
    drops = Drops()
    found["unigram"], unigrams, unigram_drops = _unigrams(corpus, thresholds, settings.budget)
    thresholds = with_unigrams(thresholds, settings, words, unigrams)
    if words:
        report("queries: counting bigrams")
        found["bigram"], passed = _second_pass(corpus, thresholds, settings, folder, workers)
        drops["bigram", "over_max"] = passed - len(found["bigram"])
    if settings.dump or settings.pageviews:
        report("queries: ranking titles")
        found["title"], title_drops = ranked_titles(settings, corpus, thresholds, new)
        drops += title_drops
    if settings.wordnet:
        found["wordnet"] = _wordnet(settings)
    if settings.profile == "metaclip":
        found["digits"] = [Candidate(str(number)) for number in range(100)]
    report("queries: merging the sources")
    rows, merge_drops = merge_sources(found, settings.profile, settings.budget)
    return rows, _metadata(settings, corpus, thresholds, rows, drops + unigram_drops + merge_drops)


def _first_pass(
    settings: QueriesSettings, folder: str, workers: int, report: Callable[[str], None]
) -> Corpus:
    paths = (*as_paths(settings.dump), *as_paths(settings.text))
    size = sum(storage.size_bytes(path) or 0 for path in paths)
    if paths:
        report(f"queries: reading {len(paths)} files, {size >> 20} MiB")
    with progress("queries MiB", max(1, size >> 20)) as shown:
        return read_corpus(settings, folder, workers, shown)


def _unigrams(
    corpus: Corpus, thresholds: Thresholds, most: int
) -> tuple[list[Candidate], int, Drops]:
    """Return the words that occur often enough, best first, how many they are, and drops."""
    least = thresholds.unigram_min_count.used or 1
    drops = Drops()
    passed = 0

    def ranked() -> Iterator[tuple[int, str]]:
        nonlocal passed
        for word, count in corpus.words.items():
            if count >= least:
                passed += 1
                yield -count, word
            else:
                drops["unigram", "below_min_count"] += 1

    best = heapq.nsmallest(most, ranked())
    drops["unigram", "over_budget"] = passed - len(best)
    return [Candidate(word, count=-count) for count, word in best], passed, +drops


def _second_pass(
    corpus: Corpus,
    thresholds: Thresholds,
    settings: QueriesSettings,
    folder: str,
    workers: int,
) -> tuple[list[Candidate], int]:
    words = corpus.words.total
    least, most = vocabulary_bounds(thresholds, words)
    write_vocabulary((item for item in corpus.words.items() if least <= item[1] <= most), folder)
    tally = PairTally(folder, settings.max_types)
    count = functools.partial(count_pairs, folder)
    with progress("queries blocks", len(corpus.blocks)) as shown:
        for done, pairs in enumerate(ordered_map(count, corpus.blocks, workers), 1):
            tally.add(pairs)
            shown.update(done, done)
    return best_bigrams(tally, Vocabulary(folder), thresholds, words)


def _wordnet(settings: QueriesSettings) -> list[Candidate]:
    names = read_names(settings.wordnet, settings.wordnet_lemmas)
    if settings.profile == "metaclip":
        names = sorted({name.partition(".")[0] for name in names} - {""})
    return [Candidate(name) for name in names]


def _inputs(settings: QueriesSettings) -> list[dict[str, Any]]:
    """Return name, bytes and sha256 of each input; missing ones are refused before any work."""
    paths = [
        (kind, path)
        for kind in ("dump", "text", "pageviews")
        for path in as_paths(getattr(settings, kind))
    ]
    if settings.wordnet:
        paths += [("wordnet", path) for path in wordnet_paths(settings.wordnet)]
    inputs = []
    for kind, path in paths:
        size = storage.size_bytes(path)
        if size is None:
            raise RefusedError(f"queries.{kind}: {path}: no such file: check [queries]")
        name = path.rpartition("/")[2]
        digest = storage.sha256_of(path)
        inputs.append({"kind": kind, "name": name, "bytes": size, "sha256": digest})
    return inputs


def _metadata(
    settings: QueriesSettings, corpus: Corpus, thresholds: Thresholds, rows: list[Row], drops: Drops
) -> dict[str, Any]:
    sources = sorted({row.source for row in rows})
    by_source = sorted({source for (source, _), count in drops.items() if count})
    ranks = bool(settings.dump or settings.pageviews)
    return {
        "schema_version": SCHEMA_VERSION,
        "openwit_version": __version__,
        "unicode_version": unicode_version(),
        "profile": settings.profile,
        "lang": settings.lang,
        "words": corpus.words.total,
        "pages": {kind: corpus.pages[kind] for kind in sorted(+corpus.pages)},
        "title_rank": ("views" if settings.pageviews else "inlinks") if ranks else "none",
        "bigram_rank": thresholds.rank,
        "budget": settings.budget,
        "wordnet_lemmas": settings.wordnet_lemmas,
        "namespaces": sorted(settings.namespaces),
        "thresholds": {name: dataclasses.asdict(getattr(thresholds, name)) for name in THRESHOLDS},
        "rows": {source: sum(row.source == source for row in rows) for source in sources},
        "drops": {
            source: {r: n for (s, r), n in sorted(drops.items()) if s == source and n}
            for source in by_source
        },
    }


def _write(out: str, rows: list[Row], lang: str, metadata: dict[str, Any]) -> None:
    text = json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    schema = SCHEMA.with_metadata({METADATA_KEY: text.encode()})
    columns = {
        "query_id": range(len(rows)),
        "lang": [lang] * len(rows),
        **{
            name: [getattr(row, name) for row in rows]
            for name in ("query", "source", "sources", "count", "score", "views")
        },
    }
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    with storage.new_file(out.rpartition("/")[0] or ".") as file:
        writer = TableWriter(file, schema, dictionary=("lang", "source"))
        writer.write(pa.RecordBatch.from_arrays(arrays, schema=schema))
        writer.close()
        file.publish(out)


def _used(thresholds: dict[str, Any]) -> dict[str, Any]:
    return {name: value["used"] for name, value in thresholds.items()}


def _why(value: dict[str, Any]) -> str:
    return f"asked for {value['requested']}, {value['reason']}"
