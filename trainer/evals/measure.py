"""All measures of a model on one dataset, from one pass over its samples."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from manifests.base import storage
from manifests.format.table import TableWriter
from trainer.data.shards import DataConfig
from trainer.distributed import ALONE, Ranks
from trainer.evals import retrieval, zero_shot
from trainer.evals.features import compute_features
from trainer.evals.per_query import by_decade, query_table
from trainer.evals.sets import LoadedSet
from trainer.model.towers import Model


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was measured on a dataset."""

    documents: dict[str, dict[str, Any]]
    """`retrieval`, and `zero_shot` if there are classes."""
    tables: dict[str, pa.Table]
    """`queries` and `classes`, as far as the dataset has them."""

    def headline(self) -> dict[str, float]:
        """Return the few numbers that are worth a curve."""
        ranked, told = self.documents["retrieval"], self.documents.get("zero_shot", {})
        return {
            **{f"{name}_recall_at_1": ranked[name]["recall_at_1"] for name in retrieval.DIRECTIONS},
            **{name: told[name] for name in ("top_1", "mean_per_class_recall") if name in told},
        }

    def write(self, folder: str, facts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Write a JSON file for each document, and a Parquet file for each table.

        Args:
            folder: path or URI; files of the same names are replaced.
            facts: put into each document.

        Returns:
            The documents as written.
        """
        whole = {name: {**value, **facts} for name, value in self.documents.items()}
        for name, value in whole.items():
            data = json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"
            storage.write_atomic(storage.join(folder, f"{name}.json"), data)
        for name, table in self.tables.items():
            write_parquet(storage.join(folder, f"{name}.parquet"), table)
        return whole


def measure(
    loaded: LoadedSet, model: Model, data: DataConfig, *, most: int, ranks: Ranks = ALONE
) -> Measured:
    """Measure retrieval, by query too, and zero-shot classification if there are classes.

    Args:
        loaded: the dataset.
        model: trained towers.
        data: how samples are read.
        most: samples among which is ranked.
        ranks: share out the work; all call this together, and each returns all.

    Raises:
        OpenwitError: if no sample can be used, or a shard has gone away.
    """
    classes = loaded.classes
    found = compute_features(
        loaded.manifest,
        model,
        data,
        most=most,
        labelled=frozenset(classes.labels) if classes else frozenset(),
        ranks=ranks,
    )
    ranked = retrieval.measure(found, most=most, ranks=ranks)
    facts = {"bad": found.bad, "dataset": loaded.manifest.digest}
    documents = {"retrieval": {"kind": retrieval.KIND, **ranked.result, **facts}}
    tables = {}
    if loaded.query_pairs is not None and any(ranked.query_ids):
        tables["queries"] = query_table(ranked.query_ids, ranked.first)
        documents["retrieval"]["by_decade"] = by_decade(tables["queries"], loaded.query_pairs)
    if classes:
        told = zero_shot.measure(found, model, classes)
        documents["zero_shot"] = {"kind": zero_shot.KIND, **told.result, **facts}
        tables["classes"] = told.by_class
    return Measured(documents, tables)


def write_parquet(path: str, table: pa.Table) -> None:
    """Write a table that appears under its name whole, or not at all."""
    with storage.new_file(path.rpartition("/")[0] or ".") as file:
        writer = TableWriter(file, table.schema)
        for batch in table.to_batches():
            writer.write(batch)
        writer.close()
        file.publish(path)
