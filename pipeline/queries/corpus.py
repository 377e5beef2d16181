"""First pass over dumps and texts: words counted, and each block kept as word numbers."""

import array
import collections
import concurrent.futures
import dataclasses
import functools
import multiprocessing
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.queries.match_form import is_unspaced, match_form
from filters.text.categories import ranges, regex_class
from manifests.base.console import Progress
from manifests.base.errors import OpenwitError, RefusedError
from pipeline.queries.counts import SortedTable, Tally
from pipeline.queries.dump import Dump, Inflater, Page
from pipeline.queries.settings import Profile, QueriesSettings, as_paths
from pipeline.queries.wikitext import DROPPED_LINKS, link_title, plain_page

T = TypeVar("T")
R = TypeVar("R")
BLOCK_CHARS = 1 << 22
"""Wikitext or text in one block: the work of some seconds."""
MAX_LINE_BYTES = 1 << 24
"""A longer line of a text file is refused."""
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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BlockCounts:
    """What a block adds to the corpus."""

    path: str
    words: dict[str, int]
    links: dict[str, int]
    not_parsed: int


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
    )
    blocks = _number(_read_blocks(settings, folder, corpus, progress))
    for counts in ordered_map(count_block, blocks, workers):
        corpus.words.add_all(counts.words)
        corpus.links.add_all(counts.links)
        corpus.pages["not_parsed"] += counts.not_parsed
        corpus.pages["kept"] -= counts.not_parsed
        corpus.blocks.append(counts.path)
    return corpus


def _read_blocks(
    settings: QueriesSettings, folder: str, corpus: Corpus, progress: Progress
) -> Iterator[Block]:
    new = functools.partial(Block, number=0, folder=folder, profile=settings.profile)
    done = 0
    for path in as_paths(settings.dump):
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
        elif page.kind == "redirect":
            _add_redirect(page, corpus)


def _add_redirect(page: Page, corpus: Corpus) -> None:
    target = link_title(page.target)
    if target and page.title:
        corpus.redirects.add(page.title, target)


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


def read_lines(blocks: Iterable[bytes], path: str) -> Iterator[str]:
    """Yield the lines of UTF-8 text without their ends.

    Raises:
        RefusedError: if a line is no UTF-8 or longer than `MAX_LINE_BYTES`; names the line.
    """
    number = 0
    for number, line in enumerate(split_lines(blocks), 1):
        if len(line) > MAX_LINE_BYTES:
            raise RefusedError(f"{path} line {number}: {len(line)} bytes: split it into segments")
        try:
            yield (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).decode()
        except UnicodeDecodeError:
            raise RefusedError(f"{path} line {number}: {line[:40]!r}: must be UTF-8") from None


def split_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines without their newline; one longer than `MAX_LINE_BYTES` is cut and the last."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        if len(rest) > MAX_LINE_BYTES:
            break
    if rest:
        yield rest


def count_block(block: Block) -> BlockCounts:
    """Count the words of a block and write it as word numbers for the second pass."""
    segments, links, not_parsed = list(block.segments), collections.Counter[str](), 0
    for wikitext in block.pages:
        page = plain_page(wikitext, block.dropped_links)
        if page is None:
            not_parsed += 1
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
        not_parsed=not_parsed,
    )


class _Numbering(dict[str, int]):
    """Numbers strings in the order in which they are first asked for."""

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        return number


def _words(numbering: dict[str, int], profile: Profile) -> tuple[list[str], NDArray[np.int32]]:
    """Return the tokens that are words, and each token's place among them or `NO_WORD`."""
    is_word = _word_class(profile).search
    places = np.full(len(numbering), NO_WORD, np.int32)
    words: list[str] = []
    for token, number in numbering.items():
        # Scripts without blanks have no n-grams: their runs of letters are no words.
        if token and is_word(token) and not is_unspaced(token[0]):
            places[number] = len(words)
            words.append(token)
    return words, places


@functools.cache
def _word_class(profile: Profile) -> re.Pattern[str]:
    groups = [*ranges("L"), *(ranges("N") if profile == "metaclip" else ())]
    return re.compile(f"[{regex_class(groups)}]")


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


def ordered_map(function: Callable[[T], R], tasks: Iterable[T], workers: int) -> Iterator[R]:
    """Yield `function(task)` in the order of the tasks; few of them are held at once.

    Args:
        function: of a module, for other processes import it.
        tasks: are taken as they are needed.
        workers: processes; 0 is one per core. With one worker or task all happens here.
    """
    workers = workers or os.cpu_count() or 1
    iterator = iter(tasks)
    first = list(_take(iterator, 2))
    if workers == 1 or len(first) < 2:
        yield from map(function, first)
        yield from map(function, iterator)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
        waiting = collections.deque(pool.submit(function, task) for task in first)
        try:
            for task in iterator:
                waiting.append(pool.submit(function, task))
                if len(waiting) > workers + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except concurrent.futures.process.BrokenProcessPool:
            raise OpenwitError(
                "queries build: a worker process died: is memory short? use fewer --workers"
            ) from None


def _take(iterator: Iterator[T], count: int) -> Iterator[T]:
    for _, item in zip(range(count), iterator, strict=False):
        yield item
