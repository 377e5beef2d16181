"""Exit codes, what is printed where, and that nothing heavy is loaded before it is needed."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from manifests.format import Manifest
from tests.trainer.toy import BASE, events, picture
from trainer import cli

pytestmark = pytest.mark.usefixtures("nano")
SETTINGS = [word for each in (*BASE, "train.model.name=nano-16") for word in ("--set", each)]


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Call the command line; the exit code, what it printed, and what it said on stderr."""
    monkeypatch.setattr("manifests.base.install.check_install", lambda: None)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return call


Run = Callable[..., tuple[int, str, str]]


def target(toy: Manifest) -> str:
    return f"{toy.root}/manifest.json"


def test_a_training_says_how_it_ends(run: Run, toy: Manifest, tmp_path: pathlib.Path) -> None:
    output = str(tmp_path / "run")
    arguments = ("run", target(toy), "--output", output, *SETTINGS, "--set", "train.samples=16")
    code, out, err = run(*arguments)
    assert (code, out) == (0, f"{output}: finished: 2 steps\n")
    assert err.splitlines()[0].startswith("train step 1/2 epoch 0 loss ")
    assert run(*arguments) == (0, f"{output}: already finished: 2 of 2 steps done\n", "")
    assert len(events(tmp_path / "run", "train")) == 2


def test_a_dry_run_writes_nothing(run: Run, toy: Manifest, tmp_path: pathlib.Path) -> None:
    code, out, err = run(
        "run", target(toy), "--output", str(tmp_path / "run"), *SETTINGS, "--dry-run"
    )
    assert (code, err) == (0, "")
    assert out.startswith("[train]\nseed = 0\n")
    assert "# 168 steps of 8 samples in 1 chunks, 32.00 epochs; 1 process\n" in out
    assert list(tmp_path.iterdir()) == []


def test_an_evaluation_is_printed_beside_chance(
    run: Run, toy: Manifest, trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    arguments = ("evaluate", str(trained), "--manifest", toy.root, "--output", str(tmp_path))
    code, out, _ = run(*arguments)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["direction", "R@1", "R@5", "R@10", "median", "rank"]
    assert lines[2].split() == ["image", "to", "text", "chance", "2.38%", "11.90%", "23.81%", "21"]
    assert [line.split()[:4] for line in lines[3:5]] == [
        ["text", "to", "image", who] for who in ("model", "chance")
    ]
    assert lines[5] == "n = 42"
    code, out, _ = run(*arguments, "--json")
    found = json.loads(out)["retrieval"]
    assert found == json.loads((tmp_path / "retrieval.json").read_text())


def test_one_checkpoint_is_evaluated_by_its_path(
    run: Run, toy: Manifest, trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    path = trained / "checkpoints" / "step_000000004"
    arguments = ("--manifest", toy.root, "--output", str(tmp_path / "new"), "--json")
    code, out, _ = run("evaluate", str(path), *arguments)
    found = json.loads(out)["retrieval"]
    assert (code, found["step"], found["checkpoint"]) == (0, 4, str(path))
    code, out, err = run("evaluate", str(tmp_path / "nowhere"), *arguments)
    assert (code, out) == (3, "")
    assert "nowhere: no whole checkpoint" in err


def test_classes_are_told_apart_beside_chance(
    run: Run, toy: Manifest, trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    captions = [picture(number)[1] for number in range(42)]
    (tmp_path / "classes.txt").write_text("\n".join(captions))
    table = toy.reader(toy.shards[0]).table(["pair_id", "caption"])
    labels = tmp_path / "labels.parquet"
    pq.write_table(table.rename_columns(["pair_id", "class"]), labels)
    arguments = ("evaluate", str(trained), "--manifest", toy.root, "--output", str(tmp_path / "e"))
    classes = ("--classes", str(tmp_path / "classes.txt"))
    code, out, _ = run(*arguments, *classes, "--labels", str(labels))
    lines = out.splitlines()[7:]
    assert code == 0
    assert lines[0].split() == ["zero-shot", "top_1", "top_5", "mean_per_class_recall"]
    assert lines[2].split() == ["chance", "2.38%", "11.90%", "2.38%"]
    assert lines[3] == "n = 10 of 42 classes"
    code, _, err = run(*arguments, *classes)
    assert code == 2
    assert "zero-shot classification needs both" in err


def test_scores_are_given_once(
    run: Run, toy: Manifest, trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    arguments = ("score", str(trained), "--manifest", toy.root, "--output", str(tmp_path))
    code, out, _ = run(*arguments, "--shards", "0-3")
    assert (code, out.splitlines()) == (0, [
        f"{tmp_path}: 4 shards scored, 0 were there",
        "1 shards are missing; scores.json comes with the last",
    ])  # fmt: skip
    code, out, _ = run(*arguments)
    assert out.splitlines()[0] == f"{tmp_path}: 1 shards scored, 4 were there"
    assert out.splitlines()[1].startswith("percentiles: 1 % ")


def test_an_export_says_how_it_is_loaded(
    run: Run, trained: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    path = str(tmp_path / "w.safetensors")
    code, out, _ = run("export", str(trained), "--output", path)
    assert (code, out) == (
        0,
        f'{path}: open_clip.create_model("micro-64", pretrained="{path}")\n',
    )
    code, _, err = run("export", str(trained), "--output", path, "--format", "onnx")
    assert code == 2
    assert "onnx" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "train.optim.lrr=1"), "[train.optim] lrr: not a setting: did you mean lr?"),
        (("--set", "select.cap=1"), "--set select.cap=1: not a setting of [train]"),
        (("--set", "train.model.name=nano-17"), "did you mean nano-16?"),
        (("--resume",), "requires an argument"),
    ],
)
def test_what_is_refused_exits_with_2(
    run: Run, toy: Manifest, tmp_path: pathlib.Path, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = run("run", target(toy), "--output", str(tmp_path / "run"), *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_a_resume_that_is_refused_exits_with_6(
    run: Run, toy: Manifest, trained: pathlib.Path
) -> None:
    code, _, err = run("run", target(toy), "--output", str(trained), *SETTINGS)
    assert code == 6
    assert "model: the checkpoint has 'micro-64', this run 'nano-16'" in err


@pytest.mark.parametrize("command", ["run", "evaluate", "score", "export"])
def test_each_command_has_help_with_an_example(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"Example: openwit-train {command} " in out


LIGHT = """
import sys
from trainer import cli

for line in sys.stdin:
    try:
        cli.main(line.split())
    except SystemExit as end:
        heavy = {"torch", "open_clip", "apache_beam"} & set(sys.modules)
        print("exit", end.code, *sorted(heavy))
"""


def test_torch_is_not_loaded_for_help_wrong_settings_and_a_dry_run(
    toy: Manifest, tmp_path: pathlib.Path
) -> None:
    run = f"run {target(toy)} --output run --set train.model.name=micro-64"
    lines = [
        "run --help",
        f"{run} --set train.seed=-1",
        f"{run} --set train.model.name=ViT-B-33",
        f"{run} --set train.global_batch=40",
        f"{run} --set train.global_batch=4 --dry-run",
    ]
    done = subprocess.run(  # noqa: S603 (words of this file)
        [sys.executable, "-c", LIGHT],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    ends = [line for line in done.stdout.splitlines() if line.startswith("exit")]
    assert ends == ["exit 0", "exit 2", "exit 2", "exit 2", "exit 0"]
    assert list(tmp_path.iterdir()) == []
