import json
import pathlib

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from manifests.base.errors import RefusedError
from manifests.derivation.filter import filter_dataset
from manifests.format import Manifest
from tests.trainer.many import run_ranks
from tests.trainer.toy import write_dataset
from trainer.data.shards import read_shard
from trainer.evals.features import chunks_of, encode
from trainer.evals.score import BINS, percentiles
from trainer.trained import open_trained, score


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """12 samples in 3 shards, two of them bad."""
    return write_dataset(tmp_path_factory.mktemp("scored") / "d", 12, 5, {3: b"no image", 4: ""})


def read(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_sample_has_its_cosine_or_a_reason(
    trained: pathlib.Path, dataset: Manifest, tmp_path: pathlib.Path
) -> None:
    done = score(trained, dataset.root, str(tmp_path / "s"), batch=2)
    assert (done["scored"], done["found"], done["missing"]) == (3, 0, [])
    model, statuses = open_trained(trained), list[str]()
    for shard in dataset.shards:
        table = pq.read_table(tmp_path / "s" / f"scores-{shard.id:08d}.parquet")
        source = read_shard(dataset, shard)
        assert table["pair_id"].to_pylist() == source.pair_ids.to_pylist()
        assert table["key"].to_pylist() == source.keys.tolist()
        statuses += table["status"].to_pylist()
        chunks = enumerate(chunks_of(shard, source, 100))
        [whole] = encode(chunks, model.model, model.settings.data)
        expected = torch.nn.functional.cosine_similarity(whole.images, whole.texts).tolist()
        for found, cosine, reason in zip(
            table["clip_score"].to_pylist(), expected, whole.reasons, strict=True
        ):
            assert (found is None) == bool(reason)
            assert found is None or found == pytest.approx(cosine, abs=1e-6)
    summary = json.loads((tmp_path / "s" / "scores.json").read_text())
    assert summary == done["summary"]
    assert summary["status"] == {"decode_error": 1, "empty_text": 1, "ok": 10}
    assert sorted(statuses) == ["decode_error", "empty_text", *["ok"] * 10]
    assert (summary["rows"], summary["dataset"], summary["step"]) == (12, dataset.digest, 12)
    assert list(summary["percentiles"].values()) == sorted(summary["percentiles"].values())


def test_what_is_scored_is_not_done_again(
    trained: pathlib.Path, dataset: Manifest, tmp_path: pathlib.Path
) -> None:
    part, whole = tmp_path / "part", tmp_path / "whole"
    first = score(trained, dataset.root, str(part), batch=4, shards="1-2")
    assert (first["scored"], first["missing"], first["summary"]) == (2, [0], None)
    assert not (part / "scores.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in part.iterdir()}
    rest = score(trained, dataset.root, str(part), batch=4)
    assert (rest["scored"], rest["found"]) == (1, 2)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    score(trained, dataset.root, str(whole), batch=4)
    assert read(part) == read(whole)


def test_processes_share_the_shards_and_write_the_same_bytes(
    trained: pathlib.Path, dataset: Manifest, tmp_path: pathlib.Path
) -> None:
    torch.set_num_threads(1)
    alone, together = str(tmp_path / "alone"), str(tmp_path / "together")
    score(trained, dataset.root, alone, batch=4)
    score(trained, dataset.root, together, batch=4, shards="1")
    first, second = run_ranks(2, score, trained, dataset.root, together, batch=4)
    assert first == second
    assert (first["scored"], first["found"], first["missing"]) == (2, 1, [])
    assert read(tmp_path / "together") == read(tmp_path / "alone")


def test_a_dataset_is_filtered_by_its_scores(
    trained: pathlib.Path, dataset: Manifest, tmp_path: pathlib.Path
) -> None:
    summary = score(trained, dataset.root, str(tmp_path / "s"), batch=4)["summary"]
    made = filter_dataset(
        dataset.root,
        str(tmp_path / "out"),
        where=f"clip_score > {summary['percentiles']['50'] + 1e-4}",
        extra=str(tmp_path / "s"),
    )
    assert 3 <= made.rows_out <= 5  # of 10 that have a score


def test_scores_of_another_model_are_not_mixed(
    trained: pathlib.Path, dataset: Manifest, tmp_path: pathlib.Path
) -> None:
    score(trained, dataset.root, str(tmp_path), batch=4, shards="0")
    with pytest.raises(RefusedError, match="scores of another model"):
        score(trained / "checkpoints" / "step_000000004", dataset.root, str(tmp_path), batch=4)


@pytest.mark.parametrize(("shards", "message"), [
    ("3-9", "none of the dataset's, which are 0 to 2"), ("a", "must be A-B"), ("1-", "must be A-B"),
])  # fmt: skip
def test_shards_that_are_not_there_are_refused(
    dataset: Manifest, tmp_path: pathlib.Path, shards: str, message: str
) -> None:
    with pytest.raises(RefusedError, match=message):
        score(tmp_path, dataset.root, str(tmp_path), batch=4, shards=shards)


def test_percentiles_are_those_of_the_histogram() -> None:
    scores = np.linspace(-0.5, 0.4, 901)
    histogram = np.bincount(((scores + 1) * BINS / 2).astype(int), minlength=BINS)
    for percent, value in percentiles(histogram).items():
        assert value == pytest.approx(np.percentile(scores, int(percent)), abs=0.0011)
    assert percentiles(np.zeros(BINS, np.int64)) == {}
