"""Retrieval: how early the right text comes for an image, and the right image for a text."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.distributed import ALONE, Ranks
from trainer.evals.features import CHUNK, Features, smallest

KIND = "openwit-retrieval"
AT = (1, 5, 10)
DIRECTIONS = ("image_to_text", "text_to_image")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """What was measured."""

    result: dict[str, Any]
    """`n`, and per direction recalls, ranks, and what chance would give."""
    query_ids: list[list[int]]
    """Of each sample."""
    first: dict[str, NDArray[np.bool_]]
    """Per direction whether the sample's rank is 1, shape (n,)."""


def measure(found: Features, *, most: int, ranks: Ranks = ALONE) -> Retrieval:
    """Rank all texts for each image, and all images for each text.

    A candidate is right if it is the sample's own, or has an equal text or an equal image.

    Args:
        found: features of samples.
        most: how many of them take part: those with the smallest prints.
        ranks: share out the work; each returns all.
    """
    chosen = np.flatnonzero(found.prints <= smallest(found.prints, most))
    images, texts = found.images[chosen], found.texts[chosen]
    text_ids = _number([found.captions[place] for place in chosen])
    image_ids = _number([found.image_hashes[place] for place in chosen])
    n = len(chosen)
    result: dict[str, Any] = {"n": n}
    first = dict[str, NDArray[np.bool_]]()
    for name, queries, candidates in zip(DIRECTIONS, (images, texts), (texts, images), strict=True):
        mine = dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]()
        for start in range(ranks.rank * CHUNK, n, ranks.world * CHUNK):
            here = slice(start, start + CHUNK)
            true = (text_ids[here, None] == text_ids) | (image_ids[here, None] == image_ids)
            scores = (queries[here] @ candidates.T).numpy()
            mine[start] = rank_true(scores, true), true.sum(1)
        every = {start: part for each in ranks.gather(mine) for start, part in each.items()}
        places, trues = (
            np.concatenate([every[start][side] for start in sorted(every)]) for side in (0, 1)
        )
        result[name], first[name] = summarise(places, trues), places == 1
    return Retrieval(result, [found.query_ids[place] for place in chosen], first)


def rank_true(scores: NDArray[np.float32], true: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the rank of the best true candidate of each query, from 1.

    Ties count against it: a model that gives all pairs one score so ranks last, not first.

    Args:
        scores: shape (queries, candidates).
        true: the same shape; True for a right candidate, at least one in each row.

    Returns:
        Shape (queries,): candidates that score at least as high, it included, other true ones not.
    """
    best = np.where(true, scores, -np.inf).max(1, keepdims=True)
    return 1 + ((scores >= best) & ~true).sum(1)


def summarise(ranks: NDArray[np.int64], trues: NDArray[np.int64]) -> dict[str, float]:
    """Return recalls and ranks, each beside its expectation for a random order.

    Args:
        ranks: shape (n,), of each query among n candidates.
        trues: shape (n,), how many candidates are true for it.
    """
    chance = chance_recall(trues)
    result: dict[str, float] = {}
    for k in AT:
        result[f"recall_at_{k}"] = float((ranks <= k).mean())
        result[f"chance_at_{k}"] = float(chance[min(k, len(ranks)) - 1])
    result["median_rank"] = float(np.median(ranks))
    result["chance_median_rank"] = float(np.argmax(chance > 0.5 - 1e-9) + 1)
    result["mean_rank"] = float(ranks.mean())
    return result


def chance_recall(trues: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the expected recall at 1, 2, ... n of a random order; k / n with one true candidate.

    Of n candidates, t true, none is among the first k with probability C(n-t, k) / C(n, k).
    """
    n = len(trues)
    places = np.arange(n)
    missed = np.zeros(n)
    for true, count in zip(*np.unique(trues, return_counts=True), strict=True):
        factors = np.maximum(n - true - places, 0) / (n - places)
        missed += count / n * np.cumprod(factors)
    return np.round(1 - missed, 12)


def _number(values: list[str]) -> NDArray[np.int64]:
    return np.unique(np.array(values, dtype=np.str_), return_inverse=True)[1].reshape(-1)
