"""Batches as tensors: the same for any number of workers, with bad samples masked."""

import contextlib
import gc
import hashlib
import itertools
import multiprocessing
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from manifests.base.errors import OpenwitError
from manifests.format import Manifest
from tests.trainer.data.conftest import DatasetMaker, huge_png, noise_jpeg
from trainer.data.bad_samples import BadReason
from trainer.data.loader import Chunk, ChunkDataset, ChunkLoader, Planned, one_ahead
from trainer.data.order import Rows, chunk_rows
from trainer.data.requests import Request
from trainer.data.shards import ShardTable, ShardTables
from trainer.data.stream import START, Ahead, SampleOrder
from trainer.data.transforms import channels_first, decode, own_randomness

T = TypeVar("T")
SEED, BATCH, MICRO, OPEN_SHARDS = 5, 12, 4, 2
SIZES = (14, 3, 9, 1, 20, 6)
STEPS = 10
SIDE = 8
ROOT = pathlib.Path(__file__).parents[3]
MOST = 1_000_000
DAMAGED = {3: "", 10: " \t", 17: b"no image", 30: noise_jpeg(30)[:-60], 41: huge_png(1001, 1000)}
"""Sample numbers, of 53: empty texts, undecodable images, a bomb."""


def crop(image: Image.Image) -> Image.Image:
    """Draw from every generator that transforms use."""
    left = int(torch.randint(image.width - SIDE, ()))
    top = random.randrange(image.height - SIDE)  # noqa: S311
    cut = image.crop((left, top, left + SIDE, top + SIDE))
    return cut.rotate(90 * int(np.random.randint(4)))  # noqa: NPY002


def tokenize(texts: list[str]) -> Tensor:
    """Each text as its first 24 bytes."""
    rows = [list(text.encode()[:24].ljust(24, b"\0")) for text in texts]
    return torch.tensor(rows, dtype=torch.int64)


def make_chunks_dataset() -> ChunkDataset:
    return ChunkDataset(crop, tokenize, image_px=SIDE, max_pixels=MOST)


def make_order(manifest: Manifest, batch: int = BATCH) -> SampleOrder[ShardTable]:
    tables = ShardTables(manifest, seed=SEED, keep=2 * OPEN_SHARDS)
    return SampleOrder(
        tables.samples, tables.read, seed=SEED, global_batch=batch, open_shards=OPEN_SHARDS
    )


def planned(manifest: Manifest, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Planned]:
    before = [START, *(at for _, at in itertools.islice(make_order(manifest).batches(), start))]
    batches = make_order(manifest).batches(before[-1], ahead=one_ahead)
    for step, (batch, _) in enumerate(batches, start):
        for number, rows in chunk_rows(batch, BATCH // MICRO, rank, world):
            yield step, number, rows


def load(chunks: Iterator[Planned], workers: int, count: int) -> list[Chunk]:
    loader = ChunkLoader(make_chunks_dataset(), chunks, seed=SEED, workers=workers, prefetch=2)
    return list(itertools.islice(loader, count))


def keys_of(rows: Rows[ShardTable]) -> list[str]:
    return rows.gather(lambda table: table.keys).tolist()


def contents(chunk: Chunk) -> tuple[object, ...]:
    """All that must not depend on who made the chunk."""
    tensors = chunk.tensors
    arrays = [tensors.images.numpy(), tensors.tokens.numpy(), tensors.valid.numpy()]
    digests = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
    return (chunk.step, chunk.number, *keys_of(chunk.rows), *digests, *tensors.bad)


@pytest.fixture(scope="module")
def manifest(make_dataset: DatasetMaker) -> Manifest:
    return make_dataset(SIZES, DAMAGED)


@pytest.fixture(scope="module")
def chunks(manifest: Manifest) -> dict[int, list[Chunk]]:
    """The first steps, by number of workers."""
    count = STEPS * BATCH // MICRO
    return {workers: load(planned(manifest), workers, count) for workers in (0, 1, 2)}


@pytest.mark.parametrize("workers", [1, 2])
def test_chunks_are_equal_bit_by_bit_for_any_number_of_workers(
    chunks: dict[int, list[Chunk]], workers: int
) -> None:
    assert len(chunks[0]) == 30
    assert [*map(contents, chunks[workers])] == [*map(contents, chunks[0])]


def test_chunks_are_those_of_the_order(manifest: Manifest, chunks: dict[int, list[Chunk]]) -> None:
    batches = itertools.islice(make_order(manifest).batches(), STEPS)
    keys = [key for rows, _ in batches for key in keys_of(rows)]
    assert [key for chunk in chunks[0] for key in keys_of(chunk.rows)] == keys
    assert [(chunk.step, chunk.number) for chunk in chunks[0][:4]] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
    ]


def test_a_resumed_run_gets_the_same_chunks(
    manifest: Manifest, chunks: dict[int, list[Chunk]]
) -> None:
    resumed = load(planned(manifest, start=4), 0, 18)
    assert [*map(contents, resumed)] == [*map(contents, chunks[0][12:])]


def test_three_ranks_get_the_chunks_of_one(
    manifest: Manifest, chunks: dict[int, list[Chunk]]
) -> None:
    ranks = [load(planned(manifest, rank=rank, world=3), 0, STEPS) for rank in range(3)]
    merged = [chunk for step in zip(*ranks, strict=True) for chunk in step]
    assert [*map(contents, merged)] == [*map(contents, chunks[0])]


def test_every_sample_is_what_the_dataset_holds(chunks: dict[int, list[Chunk]]) -> None:
    """Keys number samples within shards; captions number them through."""
    for chunk in chunks[0][:10]:
        request = Request.make(chunk.rows, SEED)
        texts = tokenize(request.texts)
        for row in np.flatnonzero(chunk.tensors.valid.numpy()):
            number = int(request.texts[row].split()[-1])
            with own_randomness() as seed:
                seed(int(request.seeds[row]))
                expected = np.array(crop(decode(noise_jpeg(number), MOST)))[None]
            assert torch.equal(chunk.tensors.images[[row]], channels_first(expected))
            assert torch.equal(chunk.tensors.tokens[row], texts[row])


def test_augmentation_differs_between_epochs(chunks: dict[int, list[Chunk]]) -> None:
    seen: dict[str, list[bytes]] = {}
    for chunk in chunks[0]:
        for key, image in zip(keys_of(chunk.rows), chunk.tensors.images, strict=True):
            seen.setdefault(key, []).append(image.numpy().tobytes())
    again = [images for images in seen.values() if len(images) > 1 and any(images[0])]
    assert len(again) > 40
    assert sum(images[0] == images[1] for images in again) < 5


def bad_samples(chunks: list[Chunk]) -> dict[str, tuple[BadReason, str]]:
    return {
        keys_of(chunk.rows)[bad.row]: (bad.reason, bad.detail)
        for chunk in chunks
        for bad in chunk.tensors.bad
    }


def test_bad_samples_are_masked_with_their_reason(chunks: dict[int, list[Chunk]]) -> None:
    # The key of the first sample of shard s is 20 s.
    assert {key: reason for key, (reason, _) in bad_samples(chunks[0]).items()} == {
        "000000003": "empty_text",
        "000000010": "empty_text",
        "000000040": "decode_error",
        "000000083": "decode_error",
        "000000094": "decode_bomb",
    }
    details = [detail for _, detail in bad_samples(chunks[0]).values() if detail]
    assert "OSError: not one of JPEG, PNG, WEBP" in details
    assert "TooManyPixelsError: 1001 x 1000 px, at most 1000000" in details
    assert all(len(detail) <= 200 for detail in details)


def test_bad_samples_keep_their_row_and_hold_nothing(chunks: dict[int, list[Chunk]]) -> None:
    for chunk in chunks[0]:
        rows = [bad.row for bad in chunk.tensors.bad]
        assert np.flatnonzero(~chunk.tensors.valid.numpy()).tolist() == rows
        assert chunk.tensors.images.shape == (MICRO, 3, SIDE, SIDE)
        assert not chunk.tensors.images[rows].any()
        assert not chunk.tensors.tokens[rows].any()


def request_for(path: pathlib.Path | str, *places: tuple[int, int]) -> Request:
    offsets, lengths = np.array(places, np.int64).T
    return Request(
        paths=[str(path)],
        slots=np.zeros(len(places), np.int64),
        offsets=offsets,
        lengths=lengths,
        texts=["text"] * len(places),
        seeds=np.arange(len(places), dtype=np.uint64),
    )


@pytest.mark.parametrize(
    ("place", "reason", "detail"),
    [
        ((512, 10**6), "read_short", r"\d+ of 1000000 bytes at offset 512"),
        ((512, 2**62), "read_short", r"\d+ of 4611686018427387904 bytes"),
        ((10**9, 100), "read_short", "0 of 100 bytes at offset 1000000000"),
        ((512, 0), "read_short", "0 of 0 bytes"),
        ((512, -7), "read_short", "0 of -7 bytes"),
        ((-7, 100), "read_error", "OSError: "),
        ((0, 512), "decode_error", "OSError: not one of JPEG, PNG, WEBP$"),
    ],
)
def test_a_place_that_holds_no_image_is_a_bad_sample(
    manifest: Manifest, place: tuple[int, int], reason: str, detail: str
) -> None:
    dataset = make_chunks_dataset()
    tensors = dataset[request_for(manifest.path("shards/00000000.tar"), place)]
    dataset.close()
    assert tensors.valid.tolist() == [False]
    assert [(bad.row, bad.reason) for bad in tensors.bad] == [(0, reason)]
    assert re.match(detail, tensors.bad[0].detail)


def test_an_error_of_ours_is_not_a_bad_sample(manifest: Manifest) -> None:
    def broken(image: Image.Image) -> Image.Image:
        raise KeyError("a bug")

    table = make_order(manifest).plan(0, 0)
    dataset = ChunkDataset(broken, tokenize, image_px=SIDE, max_pixels=MOST)
    with pytest.raises(KeyError, match="a bug"):
        dataset[Request.make(table.take(slice(0, 4)), SEED)]
    dataset.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_tar_that_has_gone_stops_the_run(make_dataset: DatasetMaker, workers: int) -> None:
    manifest = make_dataset([12, 12])
    for name in ("shards/00000000.tar", "shards/00000001.tar"):
        pathlib.Path(manifest.path(name)).unlink()
    with pytest.raises(OpenwitError, match=r"shards/0000000\d.tar: cannot be opened: .*: copy it"):
        load(planned(manifest), workers, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_table_that_has_gone_stops_the_run(make_dataset: DatasetMaker, workers: int) -> None:
    manifest = make_dataset([12, 12])
    pathlib.Path(manifest.path("shards/00000001.parquet")).unlink()
    with pytest.raises(OpenwitError, match=r"shards/00000001.parquet: cannot be read"):
        load(planned(manifest), workers, 1)


def test_nothing_stays_behind_a_loader_that_is_let_go(manifest: Manifest) -> None:
    load(planned(manifest), 1, 1)
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("plan")]
    assert not multiprocessing.active_children()


def test_workers_leave_signals_to_the_main_process(
    manifest: Manifest, chunks: dict[int, list[Chunk]]
) -> None:
    loader = ChunkLoader(make_chunks_dataset(), planned(manifest), seed=SEED, workers=1, prefetch=2)
    with contextlib.closing(iter(loader)) as running:
        next(running)
        [worker] = multiprocessing.active_children()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.kill(worker.pid or 0, number)
        assert [*map(contents, itertools.islice(running, 6))] == [*map(contents, chunks[0][1:7])]


LEFT_OPEN = """
import pathlib, sys
from tests.trainer.data.conftest import write_dataset
from tests.trainer.data.test_loader import ChunkLoader, make_chunks_dataset, planned
chunks = planned(write_dataset(pathlib.Path(sys.argv[1]), [30, 30], {}))
running = iter(ChunkLoader(make_chunks_dataset(), chunks, seed=0, workers=1, prefetch=2))
print(next(running).number)
"""


def test_a_program_ends_though_an_iteration_is_left_open(tmp_path: pathlib.Path) -> None:
    done = subprocess.run(  # noqa: S603 (words of this file)
        [sys.executable, "-c", LEFT_OPEN, str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, timeout=50, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)


def test_chunks_are_planned_no_further_than_prefetched(manifest: Manifest) -> None:
    taken = list[int]()

    def counted() -> Iterator[Planned]:
        for chunk in planned(manifest):
            taken.append(chunk[0])
            yield chunk

    load(counted(), 0, 3)
    assert len(taken) == 3
    taken.clear()
    load(counted(), 1, 3)
    assert len(taken) <= 3 + 2


def test_generators_of_the_training_process_are_left_alone(manifest: Manifest) -> None:
    torch.default_generator.manual_seed(1)
    expected = float(torch.rand(()))
    torch.default_generator.manual_seed(1)
    dataset = make_chunks_dataset()
    dataset[Request.make(make_order(manifest).plan(0, 0), SEED)]
    dataset.close()
    assert float(torch.rand(())) == expected


@pytest.fixture
def only_new_objects() -> Iterator[None]:
    """Let the collector list only what a test makes, which is quick."""
    gc.freeze()
    yield
    gc.unfreeze()


def live_tables() -> int:
    return sum(type(each) is ShardTable for each in gc.get_objects())


def next_at_once(items: Iterator[T]) -> Iterator[T]:
    """What `one_ahead` does when its thread is as fast as can be."""
    following = next(items, None)
    while (item := following) is not None:
        following = next(items, None)
        yield item


@pytest.mark.usefixtures("only_new_objects")
@pytest.mark.parametrize("ahead", [one_ahead, next_at_once])
def test_at_most_two_blocks_of_shards_are_held(
    make_dataset: DatasetMaker, ahead: Ahead[ShardTable]
) -> None:
    manifest = make_dataset([20] * 9)  # 180 samples; two epochs meet within a batch
    batches = make_order(manifest, batch=8).batches(ahead=ahead)
    most = max(live_tables() for _ in itertools.islice(batches, 90))
    assert most == 2 * OPEN_SHARDS


def _numbers() -> Iterator[int]:
    yield from (1, 2)
    raise KeyError("three")


def test_one_ahead_passes_items_and_then_the_error() -> None:
    items = one_ahead(_numbers())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="three"):
        next(items)


def test_one_ahead_makes_one_item_in_advance_in_the_same_order() -> None:
    made = list[int]()

    def numbers() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            yield number

    with_thread = one_ahead(numbers())
    assert next(with_thread) == 0
    assert next(with_thread) == 1
    assert len(made) <= 3
    assert [*with_thread] == [2, 3, 4]
