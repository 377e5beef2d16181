"""What is read of a training run, without the trainer."""

import json
import pathlib

import pytest

from manifests.base.errors import RefusedError
from manifests.report.training import training_section


def test_curves_and_evaluations_beside_chance(tmp_path: pathlib.Path) -> None:
    events = [{"event": "train", "step": step, "loss": 1 / step, "lr": 0.1, "epoch": 0}
              for step in range(1, 4)]  # fmt: skip
    events += [{"event": "eval", "step": step, "time": 1.0, "held_out": {"recall_at_1": step / 10}}
               for step in (1, 3)]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, events)))
    (tmp_path / "eval" / "test").mkdir(parents=True)
    measures = {"n": 5, "image_to_text": {"recall_at_1": 0.5, "chance_at_1": 0.1, "mean_rank": 2.0}}
    (tmp_path / "eval" / "test" / "retrieval.json").write_text(json.dumps(measures))
    found = training_section(str(tmp_path))
    names = [chart["title"] for chart in found["charts"]]
    assert names == ["loss", "lr", "evaluation: held_out.recall_at_1"]
    assert found["evaluations"][0]["title"] == "test/retrieval"
    assert found["evaluations"][0]["rows"][1] == {
        "measure": "image to text.recall at 1", "value": 0.5, "by chance": 0.1}  # fmt: skip


@pytest.mark.parametrize("line", ["{", '"text"', '{"event": "train", "loss": 1}'])
def test_damaged_metrics_raise_what_the_page_takes_for_damage(
    tmp_path: pathlib.Path, line: str
) -> None:
    (tmp_path / "metrics.jsonl").write_text(line)
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        training_section(str(tmp_path))


def test_a_run_without_steps_says_so(tmp_path: pathlib.Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"event": "start", "step": 0}\n')
    with pytest.raises(RefusedError, match="no step of training"):
        training_section(str(tmp_path))
