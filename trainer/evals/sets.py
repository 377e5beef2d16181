"""What a model is measured on: a dataset, and perhaps classes to tell its images apart by."""

import dataclasses
import re

import numpy as np
from numpy.typing import NDArray

from manifests.format.manifest import Manifest, load
from trainer.data.balance import query_counts
from trainer.evals.class_files import Classes, load_classes

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # one bounded class: linear in the text


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EvalSet:
    """A dataset to measure on; one that is not trained on."""

    name: str
    """Of the folder below `eval/` that holds the results; also in metrics.jsonl."""
    manifest: str
    """Folder or `manifest.json`; relative to the folder of the configuration."""
    classes: str = ""
    """File of class names, for zero-shot classification; needs `labels`."""
    templates: str = ""
    """File of texts with `{}` for a class name, one a line; by default the name alone."""
    labels: str = ""
    """Parquet file with the class of each sample."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"name must be lower-case letters, digits, _ and -, at most 64, got {self.name!r}"
            )
        if bool(self.classes) != bool(self.labels):
            raise ValueError(
                f"classes is {self.classes!r} and labels is {self.labels!r}: zero-shot "
                "classification needs both"
            )
        if self.templates and not self.classes:
            raise ValueError(f"templates is {self.templates!r} and there are no classes")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """What is measured while training, and when."""

    every_steps: int = 0
    """Steps between two evaluations; 0: at the end only."""
    max_retrieval: int = 50_000
    """Samples among which is ranked; of a larger dataset a fixed random part. Provisional."""
    sets: tuple[EvalSet, ...] = ()
    """Each a table `[[train.eval.sets]]`."""

    def __post_init__(self) -> None:
        if self.every_steps < 0:
            raise ValueError(f"every_steps must be at least 0, got {self.every_steps}")
        if self.max_retrieval < 1:
            raise ValueError(f"max_retrieval must be at least 1, got {self.max_retrieval}")
        names = [each.name for each in self.sets]
        if len(set(names)) < len(names):
            raise ValueError(f"sets must have different names, got {names}")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LoadedSet:
    """A set whose files were read and found to be sound."""

    name: str
    manifest: Manifest
    classes: Classes | None
    query_pairs: NDArray[np.int64] | None
    """Pairs of each query in this dataset, by its id; None without a query list."""


def load_set(settings: EvalSet) -> LoadedSet:
    """Read all that can be read without torch.

    Raises:
        RefusedError: with file and line of what is wrong in the files of classes.
        OpenwitError: if the dataset is missing or damaged.
    """
    manifest = load(settings.manifest)
    classes = (
        load_classes(settings.classes, settings.templates, settings.labels)
        if settings.classes
        else None
    )
    return LoadedSet(settings.name, manifest, classes, query_counts(manifest, "kept"))
