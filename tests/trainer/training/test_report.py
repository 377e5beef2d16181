"""What a run leaves for people: the report, however it ended."""

import json
import pathlib

import pytest

from manifests.base.errors import OpenwitError
from manifests.format import Manifest
from tests.trainer.toy import events, losses, plan_for
from trainer import jobs
from trainer.run_dir import RunDir
from trainer.training.report import write_report


def test_a_run_ends_with_its_report(trained: pathlib.Path) -> None:
    report = json.loads((trained / "report" / "report.json").read_text())
    assert (report["run"]["status"], report["run"]["step"]) == ("finished", 12)
    assert {row["step"]: row["value"] for row in report["curves"]["loss"]} == losses(trained)
    assert [row["coverage"] for row in report["epochs"]] == [
        event["coverage"] for event in events(trained, "epoch")
    ]
    assert report["config"]["model"]["name"] == "micro-64"
    text = (trained / "report" / "report.md").read_text()
    assert "| status | finished |" in text
    assert "| 0 |  |  | 1 | " in text  # the start
    page = (trained / "report" / "report.html").read_text()
    assert page.count('data-chart="') == 7


def test_the_report_of_a_run_that_failed_says_why(
    toy: Manifest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OpenwitError("a cable was cut")

    monkeypatch.setattr("trainer.training.step.Stepper.backward", fail)
    with pytest.raises(OpenwitError, match="a cable was cut"):
        jobs.train(plan_for(toy), tmp_path / "run")
    assert not (tmp_path / "run" / "report" / "report.html").exists()  # it has nothing to draw
    text = (tmp_path / "run" / "report" / "report.md").read_text()
    assert "| reason | a cable was cut |" in text


def test_a_report_that_cannot_be_written_is_a_warning(
    toy: Manifest, trained: pathlib.Path, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "metrics.jsonl").write_text("{")
    jobs._report(plan_for(toy), RunDir(tmp_path))
    assert "warning: " in capsys.readouterr().err
    with pytest.raises(ValueError, match="Expecting"):
        write_report(toy, RunDir(tmp_path))


def test_markdown_has_one_line_a_row_whatever_is_in_it(
    toy: Manifest, trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    for name in ("metrics.jsonl", "config.toml"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    status = {"status": "failed", "reason": "a|b\n<b>\\"}
    (tmp_path / "run.json").write_text(json.dumps(status))
    write_report(toy, RunDir(tmp_path))
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| reason | a\\|b\\u{a}&lt;b>\\\\ |".replace("\\u", "\\\\u") in text
