"""Gradients over ranks and chunks against those of one process with the whole batch."""

import functools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from tests.trainer.many import run_ranks
from trainer.distributed import joined
from trainer.losses.accum import backward
from trainer.losses.config import Kind, LossConfig
from trainer.losses.contrastive import LossOutput, batch_loss
from trainer.losses.gather import Gather
from trainer.model.build import build
from trainer.model.config import ModelConfig
from trainer.model.towers import Towers

MASKED = (0, 7, 23)
SIZES = {1: 32, 2: 32, 3: 24, 4: 32}
"""Batch by ranks."""


def make_towers(kind: Kind) -> Towers:
    settings = ModelConfig(name="micro-64", patch_dropout=0.5)
    model = build(settings, seed=0, precision="fp32", crop_scale=(0.9, 1), siglip=kind == "siglip")
    return model.towers


def make_batch(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (rows, 3, 64, 64), dtype=torch.uint8, generator=generator)
    tokens = torch.randint(1, 49408, (rows, 24), generator=generator)
    valid = torch.ones(rows, dtype=torch.bool)
    valid[list(MASKED)] = False
    return images, tokens, valid


def gradients(
    towers: Towers, settings: LossConfig, gather: Gather, rows: int, pieces: int
) -> tuple[dict[str, Tensor], float]:
    """The gradients of a batch cut into chunks; dropout is that of `pieces` equal parts of it."""
    images, tokens, valid = make_batch(rows)
    chunks = gather.world * gather.chunks
    size, piece_size = rows // chunks, rows // pieces
    mine = range(gather.rank, chunks, gather.world)

    def piece_numbers(chunk: int) -> Iterator[int]:
        return iter(range(chunk * pieces // chunks, (chunk + 1) * pieces // chunks))

    def encode(place: int) -> tuple[Tensor, Tensor]:
        parts = []
        for piece in piece_numbers(mine[place]):
            torch.default_generator.manual_seed(piece)
            here = slice(piece * piece_size, (piece + 1) * piece_size)
            parts.append(towers(images[here], tokens[here]))
        image_features, text_features = zip(*parts, strict=True)
        return torch.cat(image_features), torch.cat(text_features)

    own_valid = torch.cat([valid[c * size : (c + 1) * size] for c in mine])

    def loss(image_features: Tensor, text_features: Tensor) -> LossOutput:
        return batch_loss(
            settings, gather, image_features, text_features, own_valid,
            towers.logit_scale.exp(), towers.logit_bias,
        )  # fmt: skip

    parameters = [each for each in (towers.logit_scale, towers.logit_bias) if each is not None]
    for _ in range(2):  # DDP orders its buckets anew after the first pass
        towers.module.zero_grad()
        output = backward(
            encode, gather.chunks, loss, parameters=parameters, unsynced=towers.unsynced
        )
    found = {
        name: each.grad.clone()
        for name, each in towers.module.named_parameters()
        if each.grad is not None
    }
    return found, float(output.loss.detach())


def errors_of_a_rank(
    whole: dict[str, Tensor], settings: LossConfig, rows: int, chunks: int, pieces: int
) -> tuple[dict[str, float], float]:
    """The relative errors of a rank's gradients, and the loss over all ranks."""
    with joined(20) as ranks:
        towers = make_towers(settings.kind)
        if ranks.world > 1:
            towers.exchange_gradients()
        gather = Gather(ranks.rank, ranks.world, chunks)
        found, loss = gradients(towers, settings, gather, rows, pieces)
        assert set(found) == set(whole)
        errors = {
            name: float((found[name] - each).norm() / each.norm().clamp(min=1e-9))
            for name, each in whole.items()
        }
        return errors, sum(ranks.gather(loss)) / ranks.world


@pytest.fixture(scope="module")
def one_process() -> Callable[[Kind, int, int], tuple[dict[str, Tensor], float]]:
    """Gradients and loss of one process with the whole batch, by loss, rows and pieces."""

    @functools.cache
    def compute(kind: Kind, rows: int, pieces: int) -> tuple[dict[str, Tensor], float]:
        torch.set_num_threads(1)
        return gradients(make_towers(kind), LossConfig(kind=kind), Gather(), rows, pieces)

    return compute


OneProcess = Callable[[Kind, int, int], tuple[dict[str, Tensor], float]]
CASES = [
    (1, 4, "clip", 0),
    (1, 4, "siglip", 5),
    (2, 2, "clip", 0),
    (2, 1, "siglip", 0),
    *(
        pytest.param(world, chunks, kind, row_chunk, marks=pytest.mark.slow)
        for kind in ("clip", "siglip")
        for world, chunks, row_chunk in [(2, 1, 3), (2, 4, 0), (3, 1, 0), (3, 2, 5), (4, 2, 0)]
    ),
]


@pytest.mark.parametrize(("world", "chunks", "kind", "row_chunk"), CASES)
def test_gradients_are_those_of_one_process_with_the_whole_batch(
    one_process: OneProcess, world: int, chunks: int, kind: Kind, row_chunk: int
) -> None:
    rows, pieces = SIZES[world], world * 4
    whole, loss = one_process(kind, rows, pieces)
    assert {"logit_scale", "visual.conv1.weight", "token_embedding.weight"} <= set(whole)
    settings = LossConfig(kind=kind, row_chunk=row_chunk)
    for errors, total in run_ranks(world, errors_of_a_rank, whole, settings, rows, chunks, pieces):
        assert total == pytest.approx(loss, rel=1e-6)
        assert ("logit_bias" in errors) == (kind == "siglip")
        assert max(errors.values()) < 1e-5, max(errors, key=errors.__getitem__)


def places_of_a_rank(chunks: int, rows: int) -> tuple[list[int], list[int]]:
    with joined(20) as ranks:
        gather = Gather(ranks.rank, ranks.world, chunks)
        places = gather.places(rows)
        return places.tolist(), gather.rows(places).tolist()


def test_rows_are_gathered_in_the_order_of_the_batch() -> None:
    found = run_ranks(2, places_of_a_rank, 3, 6)
    assert [places for places, _ in found] == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]
    assert all(rows == list(range(12)) for _, rows in found)
