"""What is read of a training run, without the trainer."""

import json
import pathlib

import pytest

from manifests.base.errors import RefusedError
from manifests.report.training import read_training, training_section


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
    assert names == ["loss", "lr", "evaluation: held_out"]
    assert found["curves"]["evaluation: held_out"][1] == {
        "step": 3, "value": 0.3, "line": "recall at 1"}  # fmt: skip
    assert found["evaluations"][0]["title"] == "test/retrieval"
    assert found["evaluations"][0]["rows"][1] == {
        "measure": "image to text.recall at 1", "value": 0.5, "by chance": 0.1}  # fmt: skip


def test_steps_done_again_after_a_resume_count_once(tmp_path: pathlib.Path) -> None:
    def steps(first: int, last: int, loss: float) -> list[dict[str, object]]:
        return [{"event": "train", "step": step, "loss": loss, "samples": 8 * step,
                 "samples_per_s": 4.0 * loss, "data_wait_share": loss / 4}
                for step in range(first, last + 1)]  # fmt: skip

    change = {"step": 2, "setting": "optim.lr", "before": 0.1, "after": 0.2}
    events = [
        {"event": "start", "step": 0, "steps": 4, "processes": 1, "history": []},
        *steps(1, 3, 2.0),
        {"event": "epoch", "step": 3, "epoch": 0, "coverage": "0a"},
        {"event": "start", "step": 2, "steps": 4, "processes": 2, "history": [change]},
        *steps(3, 4, 1.0),
        {"event": "epoch", "step": 3, "epoch": 0, "coverage": "0a"},
        {"event": "queries", "step": 4, "1-9": {"seen": 5, "loss": 0.5}},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, events)))
    bad = [{"reason": reason} for reason in ("read_short", "empty_text", "read_short")]
    (tmp_path / "bad_samples.jsonl").write_text("\n".join(map(json.dumps, bad)))
    (tmp_path / "run.json").write_text('{"status": "stopped", "reason": "SIGTERM"}')
    (tmp_path / "config.toml").write_text("[train]\nseed = 3")
    found = read_training(str(tmp_path))
    assert [row["value"] for row in found["curves"]["loss"]] == [2.0, 2.0, 1.0, 1.0]
    assert [row["step"] for row in found["starts"]] == [0, 2]
    assert found["run"]["step"] == found["run"]["steps"] == 4
    assert (found["run"]["status"], found["run"]["processes"]) == ("stopped", 2)
    assert found["epochs"] == [{"step": 3, "epoch": 0, "coverage": "0a"}]
    assert found["changed"] == [change]
    assert found["bad"] == {"empty_text": 1, "read_short": 2}
    assert found["queries"] == [{"pairs of the query": "1-9", "seen": 5, "loss": 0.5}]
    assert found["config"] == {"seed": 3}
    # 16 samples at 8 a second, half of the time waiting; then 16 at 4 a second, a quarter of it.
    assert found["speed"] == pytest.approx({"samples_per_s": 32 / 6, "data_wait_share": 2 / 6})


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
