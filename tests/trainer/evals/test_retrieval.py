import itertools
import json
import pathlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.base.errors import OpenwitError
from manifests.format import Manifest
from tests.trainer.many import run_ranks
from tests.trainer.toy import picture, write_dataset
from trainer.evals.features import compute_features
from trainer.evals.retrieval import chance_recall, measure, rank_true, summarise
from trainer.evals.sets import EvalSet, load_set
from trainer.trained import evaluate, open_trained

SCORES = np.array([[3, 1, 2], [3, 2, 1], [0, 5, 4]], np.float32)


def test_ranks_are_those_of_the_specification() -> None:
    own = np.eye(3, dtype=bool)
    assert rank_true(SCORES, own).tolist() == [1, 2, 2]
    assert rank_true(SCORES.T, own).tolist() == [2, 2, 1]


def test_equal_scores_rank_last() -> None:
    scores = np.zeros((1, 10), np.float32)
    assert rank_true(scores, np.arange(10)[None] == 3).tolist() == [10]


def test_other_true_candidates_do_not_stand_before() -> None:
    true = np.array([[False, True, True], [True, False, True], [True, True, True]])
    assert rank_true(SCORES, true).tolist() == [2, 1, 1]


def test_chance_with_one_true_candidate_is_k_of_n() -> None:
    assert chance_recall(np.ones(8, np.int64)).tolist() == [k / 8 for k in range(1, 9)]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(4, 6))
def test_chance_is_the_mean_over_all_orders(trues: list[int], n: int) -> None:
    counts = np.array([trues[row % len(trues)] for row in range(n)])
    expected = np.zeros(n)
    for true in counts:
        orders = list(itertools.combinations(range(n), true))  # places of the true candidates
        for order in orders:
            expected[min(order) :] += 1 / n / len(orders)
    np.testing.assert_allclose(chance_recall(counts), expected, atol=1e-9)


def test_recalls_stand_beside_chance() -> None:
    result = summarise(np.array([1, 2, 6, 10] * 3), np.ones(12, np.int64))
    assert result == {
        "recall_at_1": 0.25,
        "chance_at_1": round(1 / 12, 12),
        "recall_at_5": 0.5,
        "chance_at_5": round(5 / 12, 12),
        "recall_at_10": 1.0,
        "chance_at_10": round(10 / 12, 12),
        "median_rank": 4.0,
        "chance_median_rank": 6.0,
        "mean_rank": 4.75,
    }
    assert summarise(np.array([1, 1]), np.ones(2, np.int64))["chance_at_10"] == 1


def on(dataset: Manifest) -> EvalSet:
    return EvalSet(name="toy", manifest=dataset.root)


def test_a_checkpoint_is_evaluated_and_bad_samples_are_left_out(
    trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    held_out = write_dataset(tmp_path / "d", 12, 5, {3: b"no image", 4: "", 9: picture(8)[0]})
    result = evaluate(trained, on(held_out), str(tmp_path / "eval"))["retrieval"]
    assert json.loads((tmp_path / "eval" / "retrieval.json").read_text()) == result
    assert (result["n"], result["bad"]) == (10, {"decode_error": 1, "empty_text": 1})
    assert (result["dataset"], result["step"]) == (held_out.digest, 12)
    assert {path.name for path in (tmp_path / "eval").iterdir()} == {"retrieval.json"}
    for direction in ("image_to_text", "text_to_image"):
        assert result[direction]["recall_at_10"] == 1
        # Samples 8 and 9 have one image: either text is right, so chance is a little better.
        assert 0.1 < result[direction]["chance_at_1"] < 0.13
    again = evaluate(trained, on(held_out), str(tmp_path / "again"))["retrieval"]
    assert again == result


def test_a_dataset_with_queries_is_told_by_query(
    trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    held_out = write_dataset(tmp_path / "d", 15, 5, with_queries=True)
    result = evaluate(trained, on(held_out), str(tmp_path / "eval"))["retrieval"]
    assert result["by_decade"]["1-9"]["queries"] == 7
    assert result["by_decade"]["1-9"]["n"] == result["n"] == 15
    assert result["by_decade"]["1-9"]["image_to_text"] == pytest.approx(
        result["image_to_text"]["recall_at_1"]
    )
    table = pq.read_table(tmp_path / "eval" / "queries.parquet")
    assert table.column_names == ["query_id", "n", "image_to_text", "text_to_image"]
    assert table["n"].to_pylist() == [3, 2, 2, 2, 2, 2, 2]


def test_of_a_large_dataset_a_fixed_random_part_is_ranked(
    trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    whole, model = open_trained(trained), load_set(on(write_dataset(tmp_path / "d", 30, 7)))
    found = [
        compute_features(model.manifest, whole.model, whole.settings.data, most=most)
        for most in (30, 11)
    ]
    assert [len(each.keys) for each in found] == [30, 11]
    smallest = np.sort(found[0].prints)[:11]
    assert sorted(found[1].prints) == smallest.tolist()
    assert measure(found[0], most=11).result == measure(found[1], most=11).result
    labelled = frozenset(found[0].keys[:3])
    more = compute_features(
        model.manifest, whole.model, whole.settings.data, most=5, labelled=labelled
    )
    assert set(more.keys) >= labelled
    assert measure(more, most=5).result["n"] == 5


def test_ranks_share_the_work_and_agree(trained: pathlib.Path, tmp_path: pathlib.Path) -> None:
    dataset = write_dataset(tmp_path / "d", 30, 7, {3: b"no image"})
    alone = evaluate(trained, on(dataset), str(tmp_path / "alone"))
    both = run_ranks(2, evaluate, trained, on(dataset), str(tmp_path / "both"))
    assert both == [alone, alone]
    assert (tmp_path / "both" / "retrieval.json").read_bytes() == (
        tmp_path / "alone" / "retrieval.json"
    ).read_bytes()


def test_a_dataset_without_a_usable_sample_is_refused(
    trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    held_out = write_dataset(tmp_path / "d", 2, 2, {0: b"x", 1: b"y"})
    with pytest.raises(OpenwitError, match="none of 2 samples can be used"):
        evaluate(trained, on(held_out), str(tmp_path / "eval"))
