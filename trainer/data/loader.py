"""Chunks of samples to tensors, in worker processes, in the same order for any number of them."""

import atexit
import collections
import concurrent.futures
import contextlib
import dataclasses
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import IO, Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from manifests.base import storage
from manifests.base.errors import OpenwitError
from trainer.data.bad_samples import MAX_DETAIL, BadReason, BadSample
from trainer.data.requests import Request, Samples
from trainer.data.shards import Text
from trainer.data.texts import with_quick_clean
from trainer.data.transforms import (
    DECODE_ERRORS,
    ImageTransform,
    TooManyPixelsError,
    channels_first,
    decode,
    own_randomness,
)
from trainer.data.workers import default_workers, fetch, sigchld_kept, start_worker

T = TypeVar("T")
Tokenize = Callable[[list[str]], Tensor]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Tensors:
    """One chunk, ready for the model."""

    images: Tensor
    """Shape (n, 3, height, width), uint8; zero where a sample is bad."""
    tokens: Tensor
    """Shape (n, context length), int64; the empty text where a sample is bad."""
    valid: Tensor
    """Shape (n,), bool."""
    bad: list[BadSample]
    fault: str = ""
    """Why the dataset cannot be read at all, which stops the run."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Consecutive samples of a global batch, with their tensors."""

    step: int
    number: int
    """Place in the global batch, in chunks."""
    rows: Samples
    tensors: Tensors


class ChunkDataset(Dataset[Tensors]):
    """Turns requests into tensors; runs in the workers."""

    def __init__(
        self,
        transform: ImageTransform,
        tokenize: Tokenize,
        *,
        image_px: int,
        max_pixels: int,
        draws_text: bool = False,
    ) -> None:
        """Take what makes tensors of an image and of texts; images end up `image_px` square.

        The first may draw, each sample from a seed of its own; the second too, if `draws_text`.
        """
        self._transform = transform
        self._tokenize: Tokenize = with_quick_clean(tokenize)
        self._image_px = image_px
        self._max_pixels = max_pixels
        self._draws_text = draws_text
        self._files = collections.OrderedDict[str, IO[bytes]]()

    def __getitem__(self, request: Request) -> Tensors:
        """Read, decode and tokenize the samples of one chunk."""
        count = len(request.texts)
        pixels = np.zeros((count, self._image_px, self._image_px, 3), np.uint8)
        valid = torch.ones(count, dtype=torch.bool)
        texts, tokens = list(request.texts), list[Tensor]()
        bad: list[BadSample] = []
        with own_randomness() as seed:
            for row in range(count):
                seed(int(request.seeds[row]))
                try:
                    found = self._image(request, row) if texts[row].strip() else _EMPTY
                except OpenwitError as error:
                    return Tensors(torch.empty(0), torch.empty(0), valid, [], fault=str(error))
                if isinstance(found, tuple):
                    bad.append(BadSample(row, *found))
                    valid[row], texts[row] = False, ""
                else:
                    pixels[row] = np.asarray(found)
                if self._draws_text:
                    tokens.append(self._tokenize([texts[row]]))
        all_tokens = torch.cat(tokens) if self._draws_text else self._tokenize(texts)
        return Tensors(channels_first(pixels), all_tokens, valid, bad)

    def _image(self, request: Request, row: int) -> Image.Image | tuple[BadReason, str]:
        """Return the image of one sample, or why there is none."""
        file = self._open(request.paths[int(request.slots[row])])
        offset, length = int(request.offsets[row]), int(request.lengths[row])
        try:
            # Not `read(length)`, which would make room for any length a damaged row claims.
            [data] = storage.read_file_ranges(file, [(offset, length)])
        except (OSError, ValueError) as error:
            return BadReason.READ_ERROR, _detail(error)
        if len(data) != length or not length:
            return BadReason.READ_SHORT, f"{len(data)} of {length} bytes at offset {offset}"
        try:
            return self._transform(decode(data, self._max_pixels))
        except TooManyPixelsError as error:
            return BadReason.DECODE_BOMB, _detail(error)
        except DECODE_ERRORS as error:
            return BadReason.DECODE_ERROR, _detail(error)

    def _open(self, path: str) -> IO[bytes]:
        file = self._files.pop(path, None)
        if file is None:
            try:
                file = storage.open_read(path)
            except OSError as error:
                raise OpenwitError(f"{path}: cannot be opened: {error}: copy it again") from None
        self._files[path] = file
        while len(self._files) > MAX_OPEN_FILES:
            self._files.popitem(last=False)[1].close()
        return file

    def close(self) -> None:
        """Close the tars opened in this process."""
        while self._files:
            self._files.popitem()[1].close()


MAX_OPEN_FILES = 64
_EMPTY = (BadReason.EMPTY_TEXT, "")


def _detail(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_DETAIL]


Planned = tuple[int, int, Samples]
"""Step, number of the chunk in its global batch, rows."""


class ChunkLoader:
    """Yields chunks once, in the order they are planned, made by 0, 1 or many workers."""

    def __init__(
        self,
        dataset: ChunkDataset,
        chunks: Iterable[Planned],
        *,
        seed: int,
        workers: int,
        prefetch: int,
        text: Text = "caption",
    ) -> None:
        """Read `chunks` lazily: at most `workers * prefetch` of them are made ahead.

        Fewer than 0 workers are as many as the machine has cores for.
        """
        self._dataset = dataset
        self._chunks = chunks
        self._seed = seed
        self._workers = default_workers() if workers < 0 else workers
        self._prefetch = prefetch
        self._text: Text = text

    def __iter__(self) -> Generator[Chunk, None, None]:
        """Yield each chunk once.

        Raises:
            OpenwitError: if a shard has gone away, in place of the chunk that needs it.
        """
        chunks = self._load()
        _running.add(chunks)
        return chunks

    def _load(self) -> Generator[Chunk, None, None]:
        sent, failed = collections.deque[Planned](), list[Exception]()
        # Made here and not kept, so that workers and planning end when the iteration is let go.
        loader: DataLoader[Tensors] = DataLoader(
            self._dataset,
            sampler=self._requests(sent, failed),
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=self._prefetch if self._workers else None,
            collate_fn=_same,
            worker_init_fn=start_worker,
        )
        with contextlib.closing(self._dataset):
            with sigchld_kept():
                results = iter(loader)
            try:
                while (tensors := fetch(results)) is not None:
                    # It delivers in the order of its sampler: what was sent first comes first.
                    step, number, rows = sent.popleft()
                    if tensors.fault:
                        raise OpenwitError(tensors.fault)
                    yield Chunk(step, number, rows, tensors)
            finally:
                del results  # the traceback of an error would keep the workers
        if failed:
            raise failed[0]

    def _requests(
        self, sent: collections.deque[Planned], failed: list[Exception]
    ) -> Iterator[Request]:
        try:
            for planned in self._chunks:
                sent.append(planned)
                yield Request.make(planned[2], self._seed, self._text)
        except Exception as error:  # what was sent before it is still to come back
            failed.append(error)


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items, the next one already being made in a thread.

    The thread starts with the first item, after the workers are forked: a fork copies no thread.
    """
    with concurrent.futures.ThreadPoolExecutor(1, "plan") as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item


_running = weakref.WeakSet[Generator[Chunk, None, None]]()


@atexit.register
def _end_workers() -> None:
    """End the workers of iterations left open: Python would send SIGTERM and wait for ever."""
    for chunks in list(_running):
        chunks.close()


def _same(value: Any) -> Any:
    return value
