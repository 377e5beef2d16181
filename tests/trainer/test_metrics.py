import json
import math
import pathlib
from typing import Any

import pytest

from trainer.metrics import LogConfig, Metrics, StepResult, Window


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def result(loss: float) -> StepResult:
    return StepResult(
        loss=loss, loss_i2t=loss + 1, loss_t2i=loss - 1, top1_i2t=0.5, top1_t2i=0.25, grad_norm=2.0
    )


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_events_are_appended_one_a_line(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "metrics.jsonl"
    Metrics(path).event("start", 0, steps=7)
    Metrics(path).event("nonfinite", 3, loss=math.nan, row_losses=[[math.inf, 1.0]])
    first, second = read(path)
    assert (first["event"], first["step"], first["steps"]) == ("start", 0, 7)
    assert (second["loss"], second["row_losses"]) == ("nan", [["inf", 1.0]])


def test_a_window_has_means_and_speed() -> None:
    clock = Clock()
    window = Window(clock)
    for number in range(20):
        window.step_begins()
        clock.now += 0.25
        window.batch_came()
        clock.now += 0.75 if number < 19 else 1.75
        window.step_ends(result(float(number)), 8)
    assert window.age_s == 21
    values = window.close()
    assert (values["loss"], values["loss_i2t"], values["loss_t2i"]) == (9.5, 10.5, 8.5)
    assert (values["top1_i2t"], values["grad_norm"]) == (0.5, 2.0)
    assert values["samples_per_s"] == pytest.approx(160 / 21)
    assert values["data_wait_share"] == pytest.approx(5 / 21)
    assert (values["step_ms_p50"], values["step_ms_p95"]) == (1000, 1000)
    assert window.age_s == 0


def test_tensorboard_gets_the_events_of_training(tmp_path: pathlib.Path) -> None:
    from tensorboard.backend.event_processing import event_accumulator  # type: ignore[import-untyped]

    metrics = Metrics(tmp_path / "metrics.jsonl", tmp_path / "tb")
    for step in (1, 2):
        metrics.event("train", step, loss=1 / step, samples=8 * step)
    metrics.event("checkpoint", 2, seconds=0.1)
    metrics.close()
    found = event_accumulator.EventAccumulator(str(tmp_path / "tb")).Reload()
    assert found.Tags()["scalars"] == ["train/loss", "train/samples"]
    assert [(each.step, each.value) for each in found.Scalars("train/loss")] == [(1, 1), (2, 0.5)]


def test_a_log_that_cannot_be_written_stops_nothing(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    metrics = Metrics(tmp_path / "file" / "metrics.jsonl", tmp_path / "file" / "tb")
    metrics.event("train", 1, loss=1.0)
    metrics.event("train", 2, loss=1.0)
    metrics.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "TensorBoard: NotADirectoryError" in lines[0]
    assert "metrics.jsonl: cannot be written: Not a directory: going on" in lines[1]


def test_a_board_that_breaks_is_left_alone(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl", tmp_path / "tb")
    metrics.event("train", 1, loss="no number")
    metrics.event("train", 2, loss=1.0)
    metrics.close()
    assert capsys.readouterr().err.count("going on without") == 1
    assert len(read(tmp_path / "metrics.jsonl")) == 2


def test_a_setting_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="every_s must be at least 0, got -1"):
        LogConfig(every_s=-1)
