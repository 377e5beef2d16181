"""Zero-shot classification: whose name is nearest to an image, of classes never trained for."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from manifests.base.errors import RefusedError
from trainer.evals.class_files import Classes
from trainer.evals.features import CHUNK, Features, evaluating
from trainer.evals.retrieval import rank_true
from trainer.model.towers import Model

KIND = "openwit-zero-shot"
AT = (1, 5)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ZeroShot:
    """What was measured."""

    result: dict[str, Any]
    """`n`, `classes`, `top_1`, `top_5`, `mean_per_class_recall`, each beside chance."""
    by_class: pa.Table
    """`class`, `n` and `recall` of each class that has samples."""


def measure(found: Features, model: Model, classes: Classes) -> ZeroShot:
    """Give each labelled sample the class whose vector is nearest; ties count against it.

    Raises:
        RefusedError: if no sample has a label.
    """
    labels = [
        classes.labels.get(pair, classes.labels.get(key, -1))
        for pair, key in zip(found.pair_ids, found.keys, strict=True)
    ]
    chosen = np.flatnonzero(np.array(labels) >= 0)
    if not len(chosen):
        raise RefusedError(
            f"labels: none of {len(labels)} samples is among the {len(classes.labels)} labelled "
            "ones: use the labels of this dataset"
        )
    label = np.array(labels)[chosen]
    vectors = class_vectors(model, classes)
    parts = []
    for start in range(0, len(chosen), CHUNK):
        here = slice(start, start + CHUNK)
        scores = (found.images[chosen[here]] @ vectors.T).numpy()
        parts.append(rank_true(scores, label[here, None] == np.arange(len(vectors))))
    return summarise(np.concatenate(parts), label, classes)


def class_vectors(model: Model, classes: Classes) -> Tensor:
    """Return the mean text feature of each class over names and templates, of length 1.

    Returns:
        Shape (classes, d), float32, on the CPU.
    """
    texts = [
        (number, text) for number in range(len(classes.classes)) for text in classes.texts(number)
    ]
    with evaluating(model.towers.module), torch.no_grad():
        width = model.towers.encode_text(model.tokenize([""])).shape[1]
        sums = torch.zeros(len(classes.classes), width)
        for start in range(0, len(texts), CHUNK):
            owners, part = zip(*texts[start : start + CHUNK], strict=True)
            features = model.towers.encode_text(model.tokenize(list(part))).cpu()
            sums.index_add_(0, torch.tensor(owners), features)
    return torch.nn.functional.normalize(sums, dim=1)  # the mean and the sum point the same way


def summarise(ranks: NDArray[np.int64], label: NDArray[np.int64], classes: Classes) -> ZeroShot:
    """Return accuracies beside what guessing would give.

    Args:
        ranks: of the true class of each sample, from 1, shape (n,).
        label: position of the true class.
        classes: all of them.
    """
    count = len(classes.classes)
    n = np.bincount(label, minlength=count)
    right = np.bincount(label, weights=ranks == 1, minlength=count)
    present = np.flatnonzero(n)
    recall = right[present] / n[present]
    result: dict[str, Any] = {"n": len(ranks), "classes": count}
    for k in AT:
        result[f"top_{k}"] = float((ranks <= k).mean())
        result[f"chance_top_{k}"] = min(k, count) / count
    result["mean_per_class_recall"] = float(recall.mean())
    result["chance_mean_per_class_recall"] = 1 / count
    names = [classes.classes[place].id for place in present.tolist()]
    return ZeroShot(result, pa.table({"class": names, "n": n[present], "recall": recall}))
