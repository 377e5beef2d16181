import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from manifests.base.errors import RefusedError
from manifests.format import Manifest
from tests.trainer.toy import picture, write_dataset
from trainer.evals.class_files import Class, Classes
from trainer.evals.sets import EvalSet
from trainer.evals.zero_shot import class_vectors, summarise
from trainer.model.build import build
from trainer.model.config import ModelConfig
from trainer.trained import evaluate


def classes(count: int) -> Classes:
    return Classes(tuple(Class(str(n), (f"thing {n}",)) for n in range(count)), ("{}",), {})


def test_accuracies_stand_beside_chance() -> None:
    label, ranks = np.array([0, 0, 0, 1]), np.array([1, 2, 6, 1])
    found = summarise(ranks, label, classes(8))
    assert found.result == {
        "n": 4,
        "classes": 8,
        "top_1": 0.5,
        "chance_top_1": 1 / 8,
        "top_5": 0.75,
        "chance_top_5": 5 / 8,
        "mean_per_class_recall": pytest.approx((1 / 3 + 1) / 2),
        "chance_mean_per_class_recall": 1 / 8,
    }
    assert found.by_class["class"].to_pylist() == ["0", "1"]  # the others have no sample
    assert summarise(ranks, label, classes(3)).result["chance_top_5"] == 1


@pytest.mark.usefixtures("nano")
def test_a_class_vector_is_the_mean_of_its_normalised_texts() -> None:
    model = build(ModelConfig(name="nano-16"), seed=1, precision="fp32", crop_scale=(0.9, 1))
    two = Classes((Class("a", ("cat", "kitty")), Class("b", ("dog",))), ("a {}", "{} here"), {})
    vectors = class_vectors(model, two)
    texts = ["a cat", "cat here", "a kitty", "kitty here"]
    with torch.no_grad():
        module = model.towers.module
        each = torch.stack([module.encode_text(model.tokenize([t]))[0] for t in texts])  # type: ignore[operator]
    mean = (each / each.norm(dim=1, keepdim=True)).mean(0)
    torch.testing.assert_close(vectors[0], mean / mean.norm(), atol=1e-6, rtol=0)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1, 1])


def write_files(folder: pathlib.Path, dataset: Manifest, count: int) -> EvalSet:
    """Classes are the captions of the first `count` pictures; the labels are theirs."""
    captions = [picture(number)[1] for number in range(count)]
    (folder / "classes.txt").write_text("\n".join(captions))
    table = dataset.reader(dataset.shards[0]).table(["pair_id", "caption"])
    chosen = table.filter(pa.compute.is_in(table["caption"], pa.array(captions)))
    pq.write_table(chosen.rename_columns(["pair_id", "class"]), folder / "labels.parquet")
    return EvalSet(
        name="toy",
        manifest=dataset.root,
        classes=str(folder / "classes.txt"),
        labels=str(folder / "labels.parquet"),
    )


def test_a_checkpoint_classifies_what_has_a_label(
    trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    dataset = write_dataset(tmp_path / "d", 12, 12, {3: b"no image"})
    found = evaluate(trained, write_files(tmp_path, dataset, 10), str(tmp_path / "eval"))
    told = found["zero_shot"]
    assert told == json.loads((tmp_path / "eval" / "zero_shot.json").read_text())
    assert (told["n"], told["classes"], told["bad"]) == (9, 10, {"decode_error": 1})
    assert (found["retrieval"]["n"], told["dataset"]) == (11, dataset.digest)
    assert pq.read_table(tmp_path / "eval" / "classes.parquet").num_rows == 9


def test_labels_of_another_dataset_are_refused(
    trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    dataset = write_dataset(tmp_path / "d", 4, 4)
    wanted = write_files(tmp_path, dataset, 4)
    pq.write_table(pa.table({"key": ["x"], "class": [picture(0)[1]]}), wanted.labels)
    with pytest.raises(RefusedError, match="none of 4 samples is among the 1 labelled ones"):
        evaluate(trained, wanted, str(tmp_path / "eval"))
