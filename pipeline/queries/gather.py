"""The queries of one language from all its sources, and how they came to be."""

import dataclasses
import functools
import heapq
from collections.abc import Callable, Iterator
from typing import Any

from manifests.base import storage
from manifests.base.console import progress
from manifests.base.errors import RefusedError
from pipeline.queries.bigrams import (
    PairTally,
    Vocabulary,
    best_bigrams,
    count_pairs,
    listed_pairs,
    vocabulary_bounds,
    write_vocabulary,
)
from pipeline.queries.corpus import Corpus, read_corpus
from pipeline.queries.counts import Tally
from pipeline.queries.credit import Candidate, Drops, Row, merge_sources
from pipeline.queries.processes import ordered_map
from pipeline.queries.settings import QueriesSettings, as_paths
from pipeline.queries.sources.ngrams import NgramCounts, read_ngrams
from pipeline.queries.sources.titles import ranked_titles
from pipeline.queries.sources.wordnet import read_names
from pipeline.queries.thresholds import Thresholds, thresholds_for, with_unigrams

THRESHOLDS = tuple(field.name for field in dataclasses.fields(Thresholds) if field.name != "rank")
Found = dict[str, list[Candidate]]


def gather_rows(
    settings: QueriesSettings, folder: str, workers: int, report: Callable[[str], None]
) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows of one language, sorted by UTF-8 bytes, and what the metadata say of it.

    Args:
        settings: as configured, of one language.
        folder: for temporary files.
        workers: processes; 0 is one per core.
        report: is told which step begins.

    Raises:
        RefusedError: if an input is missing or wrong.
        OpenwitError: if one is damaged.
    """
    new = functools.partial(Tally, folder, max_types=settings.max_types)
    corpus = _first_pass(settings, folder, workers, report)
    words = corpus.total
    if settings.has_words and not words:
        raise RefusedError(
            f"queries build: {settings.lang}: no words in its inputs: pages {dict(corpus.pages)}"
        )
    thresholds = thresholds_for(settings, words, sum(1 for _ in corpus.words.items()))
    found: Found = {}
    drops = Drops()
    found["unigram"], unigram_drops = _unigrams(corpus, thresholds)
    thresholds = with_unigrams(thresholds, settings, words, len(found["unigram"]))
    if words:
        report("queries: counting bigrams")
        found["bigram"], passed = _second_pass(corpus, thresholds, settings, folder, workers)
        drops["bigram", "over_max"] = passed - len(found["bigram"])
    if settings.dump or settings.pageviews:
        report("queries: ranking titles")
        found["title"], thresholds, title_drops = ranked_titles(settings, corpus, thresholds, new)
        drops += title_drops
    if settings.wordnet:
        found["wordnet"] = _wordnet(settings)
    if settings.profile == "metaclip":
        found["digits"] = [Candidate(str(number)) for number in range(100)]
    report("queries: merging the sources")
    rows, merge_drops = merge_sources(found, settings.profile, settings.budget)
    drops = drops + unigram_drops + merge_drops
    return rows, _describe(settings, corpus, thresholds, rows, drops)


def _first_pass(
    settings: QueriesSettings, folder: str, workers: int, report: Callable[[str], None]
) -> Corpus:
    paths = (*as_paths(settings.dump), *as_paths(settings.text))
    size = sum(storage.size_bytes(path) or 0 for path in paths)
    if paths:
        report(f"queries: reading {len(paths)} files, {size >> 20} MiB")
    with progress("queries MiB", max(1, size >> 20)) as shown:
        return read_corpus(settings, folder, workers, shown)


def _unigrams(corpus: Corpus, thresholds: Thresholds) -> tuple[list[Candidate], Drops]:
    """Return the words that occur often enough, best first, and drops."""
    least = thresholds.unigram_min_count.used or 1
    most = int(thresholds.unigram_max.used or 0)
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
    return [Candidate(word, count=-count) for count, word in best], +drops


def _second_pass(
    corpus: Corpus,
    thresholds: Thresholds,
    settings: QueriesSettings,
    folder: str,
    workers: int,
) -> tuple[list[Candidate], int]:
    words = corpus.total
    least, most = vocabulary_bounds(thresholds, words)
    write_vocabulary((item for item in corpus.words.items() if least <= item[1] <= most), folder)
    tally = PairTally(folder, settings.max_types)
    count = functools.partial(count_pairs, folder)
    with progress("queries blocks", len(corpus.blocks)) as shown:
        for done, pairs in enumerate(ordered_map(count, corpus.blocks, workers), 1):
            tally.add(pairs)
            shown.update(done, done)
    lines = read_ngrams(as_paths(settings.ngrams), NgramCounts())
    bigrams = ((line[0], line[1], int(line[2])) for line in lines if len(line) == 3)
    for pairs in listed_pairs(folder, bigrams):
        tally.add(pairs)
    return best_bigrams(tally, Vocabulary(folder), thresholds, words)


def _wordnet(settings: QueriesSettings) -> list[Candidate]:
    names = read_names(settings.wordnet, settings.wordnet_lemmas)
    if settings.profile == "metaclip":
        names = sorted({name.partition(".")[0] for name in names} - {""})
    return [Candidate(name) for name in names]


def _describe(
    settings: QueriesSettings, corpus: Corpus, thresholds: Thresholds, rows: list[Row], drops: Drops
) -> dict[str, Any]:
    sources = sorted({row.source for row in rows})
    by_source = sorted({source for (source, _), count in drops.items() if count})
    ranks = bool(settings.dump or settings.pageviews)
    return {
        "words": corpus.total,
        "pages": {kind: corpus.pages[kind] for kind in sorted(+corpus.pages)},
        "malformed_ngrams": corpus.ngrams.malformed,
        "title_rank": ("views" if settings.pageviews else "inlinks") if ranks else "none",
        "bigram_rank": thresholds.rank,
        "thresholds": {name: dataclasses.asdict(getattr(thresholds, name)) for name in THRESHOLDS},
        "rows": {source: sum(row.source == source for row in rows) for source in sources},
        "drops": {
            source: {r: n for (s, r), n in sorted(drops.items()) if s == source and n}
            for source in by_source
        },
    }
