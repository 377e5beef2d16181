"""First pass over dumps and texts: words counted, and each block kept as word numbers."""

import array
import collections
import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.queries.match_form import is_unspaced, match_form
from filters.text.categories import ranges, regex_class
from manifests.base.console import Progress
from pipeline.queries.counts import SortedTable, Tally
from pipeline.queries.lines import read_lines
from pipeline.queries.processes import ordered_map
from pipeline.queries.settings import Profile, QueriesSettings, as_paths
from pipeline.queries.sources.dump import Dump, Page
from pipeline.queries.sources.inflate import Inflater
from pipeline.queries.sources.multistream import StreamRange, stream_ranges
from pipeline.queries.sources.ngrams import NgramCounts, read_ngrams
from pipeline.queries.sources.wikitext import DROPPED_LINKS, link_title, plain_page

BLOCK_CHARS = 1 << 22
"""Wikitext or text in one block: the work of some seconds."""
NO_WORD = -1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Text that one process counts at once."""

    number: int
    folder: str
    profile: Profile
    pages: list[str]
    """Wikitext."""
    segments: list[str]
    """Plain text."""
    dropped_links: frozenset[str]
    streams: StreamRange | None = None
    """In place of both: where the process reads pages itself."""
    namespaces: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BlockCounts:
    """What a block adds to the corpus."""

    path: str
    words: dict[str, int]
    links: dict[str, int]
    pages: dict[str, int]
    """Pages by class, as far as the process that counted them knows."""
    titles: list[str]
    redirects: list[tuple[str, str]]


@dataclasses.dataclass(kw_only=True)
class Corpus:
    """What the first pass found."""

    words: Tally
    links: Tally
    """Pages that link to a title."""
    titles: Tally
    """Titles of kept pages, all counted 0."""
    redirects: SortedTable
    pages: collections.Counter[str]
    """Pages by class."""
    blocks: list[str]
    """Paths for the second pass."""
    ngrams: NgramCounts

    @property
    def total(self) -> int:
        """N: all words, of files of counts as many as they say."""
        return self.words.total + self.ngrams.total


def read_corpus(settings: QueriesSettings, folder: str, workers: int, progress: Progress) -> Corpus:
    """Read all dumps and texts.

    Args:
        settings: names them.
        folder: for temporary files.
        workers: processes.
        progress: is told MiB read and pages.

    Raises:
        RefusedError: if an input is missing or is not what its setting says.
        OpenwitError: if one is damaged.
    """
    new = functools.partial(Tally, folder, max_types=settings.max_types)
    corpus = Corpus(
        words=new("words"),
        links=new("links"),
        titles=new("titles"),
        redirects=SortedTable(folder, "redirects", settings.max_types),
        pages=collections.Counter(),
        blocks=[],
        ngrams=NgramCounts(),
    )
    blocks = _number(_read_blocks(settings, folder, corpus, progress))
    for counts in ordered_map(count_block, blocks, workers):
        corpus.words.add_all(counts.words)
        corpus.links.add_all(counts.links)
        corpus.pages.update(counts.pages)
        corpus.titles.add_all(dict.fromkeys(counts.titles, 0))
        for title, target in counts.redirects:
            corpus.redirects.add(title, target)
        corpus.blocks.append(counts.path)
    _add_ngrams(settings, corpus)
    return corpus


def _add_ngrams(settings: QueriesSettings, corpus: Corpus) -> None:
    is_word = word_test(settings.profile)
    before = corpus.words.total
    for fields in read_ngrams(as_paths(settings.ngrams), corpus.ngrams):
        if len(fields) == 2 and is_word(fields[0]):
            corpus.words.add(fields[0], int(fields[1]))
    if corpus.ngrams.total:
        corpus.ngrams.total -= corpus.words.total - before


def _read_blocks(
    settings: QueriesSettings, folder: str, corpus: Corpus, progress: Progress
) -> Iterator[Block]:
    new = functools.partial(Block, number=0, folder=folder, profile=settings.profile)
    done = 0
    indexes = as_paths(settings.index) or (None,) * len(as_paths(settings.dump))
    for path, index in zip(as_paths(settings.dump), indexes, strict=True):
        if index is not None:
            for streams, names in _ranges(path, index):
                yield new(
                    pages=[],
                    segments=[],
                    dropped_links=names,
                    streams=streams,
                    namespaces=settings.namespaces,
                )
                progress.update(done + streams.position >> 20, corpus.pages.total())
            done += streams.position
            continue
        dump = Dump(path, settings.namespaces, allow_truncated=settings.allow_truncated)
        for texts in _blocks_of(_judged(dump, corpus, progress, done)):
            names = DROPPED_LINKS | dump.media_names
            yield new(pages=texts, segments=[], dropped_links=names)
        done += dump.position
    for path in as_paths(settings.text):
        source = Inflater(path)
        for texts in _blocks_of(read_lines(source, path)):
            progress.update(done + source.position >> 20, corpus.pages.total())
            yield new(pages=[], segments=texts, dropped_links=DROPPED_LINKS)
        done += source.position


def _judged(dump: Dump, corpus: Corpus, progress: Progress, done: int) -> Iterator[str]:
    """Yield the wikitext of kept pages; note titles, redirects and classes of all."""
    for page in dump:
        corpus.pages[page.kind] += 1
        progress.update(done + dump.position >> 20, corpus.pages.total())
        if page.kind == "kept":
            corpus.titles.add(page.title, 0)
            yield page.text
        elif page.kind == "redirect" and (redirect := _redirect(page)):
            corpus.redirects.add(*redirect)


def _ranges(path: str, index: str) -> Iterator[tuple[StreamRange, frozenset[str]]]:
    """Yield the ranges of a dump, each with the prefixes of links that go."""
    ranges = stream_ranges(path, index)
    dump = Dump(path, (), source=dataclasses.replace(ranges[0], is_last=len(ranges) == 1))
    next(iter(dump), None)  # the site's names come before the first page
    for streams in ranges:
        yield streams, DROPPED_LINKS | dump.media_names


def _redirect(page: Page) -> tuple[str, str] | None:
    target = link_title(page.target)
    return (page.title, target) if target and page.title else None


def _blocks_of(texts: Iterable[str]) -> Iterator[list[str]]:
    pending: list[str] = []
    size = 0
    for text in texts:
        pending.append(text)
        size += len(text)
        if size >= BLOCK_CHARS:
            yield pending
            pending, size = [], 0
    if pending:
        yield pending


def _number(blocks: Iterable[Block]) -> Iterator[Block]:
    for number, block in enumerate(blocks):
        yield dataclasses.replace(block, number=number)


def count_block(block: Block) -> BlockCounts:
    """Count the words of a block and write it as word numbers for the second pass."""
    segments, links = list(block.segments), collections.Counter[str]()
    found = _Found()
    for wikitext in found.read(block.streams, block.namespaces) if block.streams else block.pages:
        page = plain_page(wikitext, block.dropped_links)
        if page is None:
            found.pages.update({"not_parsed": 1, "kept": -1})
            continue
        segments.extend(page.segments)
        links.update(page.links)
    numbering = _Numbering()
    numbers = array.array("i")
    for segment in segments:
        numbers.extend(map(numbering.__getitem__, match_form(segment).split()))
        numbers.append(numbering[""])  # ends the segment: no token, so no word
    words, places = _words(numbering, block.profile)
    ids = places[np.frombuffer(numbers, np.int32)] if len(numbers) else np.zeros(0, np.int32)
    counts = np.bincount(ids[ids >= 0], minlength=len(words))
    path = f"{block.folder}/block-{block.number:08d}.arrow"
    write_block(path, words, ids)
    return BlockCounts(
        path=path,
        words=dict(zip(words, counts.tolist(), strict=True)),
        links=dict(links),
        pages=dict(found.pages),
        titles=found.titles,
        redirects=found.redirects,
    )


class _Found:
    """What a process notes of the pages that it reads itself."""

    def __init__(self) -> None:
        self.pages = collections.Counter[str]()
        self.titles: list[str] = []
        self.redirects: list[tuple[str, str]] = []

    def read(self, streams: StreamRange, namespaces: tuple[int, ...]) -> Iterator[str]:
        """Yield the wikitext of kept pages."""
        for page in Dump(streams.path, namespaces, source=streams):
            self.pages[page.kind] += 1
            if page.kind == "kept":
                self.titles.append(page.title)
                yield page.text
            elif page.kind == "redirect" and (redirect := _redirect(page)):
                self.redirects.append(redirect)


class _Numbering(dict[str, int]):
    """Numbers strings in the order in which they are first asked for."""

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        return number


def _words(numbering: dict[str, int], profile: Profile) -> tuple[list[str], NDArray[np.int32]]:
    """Return the tokens that are words, and each token's place among them or `NO_WORD`."""
    is_word = word_test(profile)
    places = np.full(len(numbering), NO_WORD, np.int32)
    words: list[str] = []
    for token, number in numbering.items():
        if token and is_word(token):
            places[number] = len(words)
            words.append(token)
    return words, places


@functools.cache
def word_test(profile: Profile) -> Callable[[str], bool]:
    """Return what tells whether a token is a word.

    Scripts without blanks have no n-grams: their runs of letters are no words.
    """
    groups = [*ranges("L"), *(ranges("N") if profile == "metaclip" else ())]
    holds_letter = re.compile(f"[{regex_class(groups)}]").search
    return lambda token: holds_letter(token) is not None and not is_unspaced(token[0])


def write_block(path: str, words: list[str], ids: NDArray[np.int32]) -> None:
    """Write a block: its distinct words, and its text as their places, `NO_WORD` in between."""
    batch = pa.record_batch(
        {
            "words": pa.array([words], pa.list_(pa.string())),
            "ids": pa.ListArray.from_arrays(pa.array([0, len(ids)], pa.int32()), pa.array(ids)),
        }
    )
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(path, batch.schema, options=options) as writer:
        writer.write_batch(batch)


def read_block(path: str) -> tuple[pa.Array, NDArray[np.int32]]:
    """Return what `write_block` wrote: words, and places of shape (tokens and breaks,)."""
    with pa.OSFile(path) as file:
        batch = pa.ipc.open_file(file).get_batch(0)
    return batch["words"].flatten(), batch["ids"].flatten().to_numpy()
