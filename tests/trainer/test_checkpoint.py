import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable

import pytest
import torch

from manifests.base.errors import OpenwitError
from trainer.checkpoint import (
    MODEL,
    OPTIM,
    CheckpointConfig,
    State,
    list_steps,
    newest,
    open_checkpoint,
    save,
)

TENSORS = {MODEL: {"w": torch.arange(6.0).reshape(2, 3)}, OPTIM: {"exp_avg.w": torch.ones(2, 3)}}


def state(step: int = 10) -> State:
    return State(
        step=step,
        identity={"dataset": "sha256:aa", "seed": 0, "data.crop_scale": [0.9, 1.0]},
        position={"epoch": 1, "offset": 2},
        coverage={"epoch": 1, "used": (1 << 64) - 1},
        bad={"seen": 80, "bad": 1, "in_row": 0},
        config={"threads": 1, "optim": {"lr": 0.1}, "data": {"workers": 4, "max_pixels": 9}},
    )


def write(folder: pathlib.Path, *steps: int, keep: int = 3) -> None:
    for step in steps:
        save(folder, state(step), TENSORS, keep=keep)


def test_what_is_saved_is_found_again(tmp_path: pathlib.Path) -> None:
    path = save(tmp_path, state(), TENSORS, keep=1)
    assert path.name == "step_000000010"
    assert (tmp_path / "latest").read_text() == "step_000000010\n"
    found = open_checkpoint(path)
    assert found.state == state()
    assert torch.equal(found.tensors(MODEL)["w"], TENSORS[MODEL]["w"])
    assert torch.equal(found.tensors(OPTIM)["exp_avg.w"], TENSORS[OPTIM]["exp_avg.w"])
    assert {each.name for each in tmp_path.iterdir()} == {"latest", "step_000000010"}


def test_the_state_names_versions_and_the_other_files(tmp_path: pathlib.Path) -> None:
    value = json.loads((save(tmp_path, state(), TENSORS, keep=1) / "state.json").read_text())
    assert (value["kind"], value["schema_version"]) == ("openwit-checkpoint", 2)
    assert value["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert set(value["versions"]) == {"openwit", "python", "torch", "numpy", "open_clip_torch"}
    assert set(value["files"]) == {MODEL, OPTIM}


def test_equal_states_have_equal_bytes(tmp_path: pathlib.Path) -> None:
    paths = [save(tmp_path / name, state(), TENSORS, keep=1) for name in ("a", "b")]
    for name in (MODEL, OPTIM, "state.json"):
        assert (paths[0] / name).read_bytes() == (paths[1] / name).read_bytes()


def test_the_newest_are_kept_and_a_course_given_up_is_not(tmp_path: pathlib.Path) -> None:
    write(tmp_path, 1, 2, 3, 4, keep=2)
    assert list_steps(tmp_path) == [3, 4]
    write(tmp_path, 1, keep=2)
    assert list_steps(tmp_path) == [1]


def test_a_step_that_is_done_again_replaces_the_old_one(tmp_path: pathlib.Path) -> None:
    write(tmp_path, 5)
    changed = dataclasses.replace(state(5), bad={"seen": 0})
    save(tmp_path, changed, TENSORS, keep=3)
    found = newest(tmp_path)
    assert found is not None
    assert found.state == changed


def flip(path: pathlib.Path) -> None:
    data = bytearray((path / MODEL).read_bytes())
    data[-1] ^= 1
    (path / MODEL).write_bytes(data)


def cut(path: pathlib.Path) -> None:
    (path / OPTIM).write_bytes((path / OPTIM).read_bytes()[:-1])


def lose(path: pathlib.Path) -> None:
    (path / OPTIM).unlink()


def garble(path: pathlib.Path) -> None:
    (path / "state.json").write_text('{"kind": "openwit-checkpoint", "schema_version": 2}')


DAMAGES: list[tuple[Callable[[pathlib.Path], None], str]] = [
    (flip, r"model.safetensors: another sha256 than state.json says: is damaged"),
    (cut, r"optim.safetensors: \d+ bytes, not \d+: is damaged"),
    (lose, r"step_000000020: no whole checkpoint: .*No such file"),
    (garble, r"state.json: is damaged: KeyError: 'step'"),
    (shutil.rmtree, r"step_000000020: no whole checkpoint: .*No such file"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_latest_gives_way_to_the_one_before_loudly(
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[pathlib.Path], None],
    message: str,
) -> None:
    write(tmp_path, 10, 20)
    damage(tmp_path / "step_000000020")
    with pytest.raises(OpenwitError, match=message):
        open_checkpoint(tmp_path / "step_000000020")
    found = newest(tmp_path)
    assert found is not None
    assert found.state.step == 10
    warning, end = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {tmp_path}/step_000000020")
    assert end == f"warning: {tmp_path}/step_000000010: is whole: going on from there"


def test_latest_decides_when_it_is_whole(tmp_path: pathlib.Path) -> None:
    write(tmp_path, 10, 20)
    (tmp_path / "latest").write_text("step_000000010\n")
    found = newest(tmp_path)
    assert found is not None
    assert found.state.step == 10


def test_without_a_whole_checkpoint_nothing_is_begun_anew(tmp_path: pathlib.Path) -> None:
    assert newest(tmp_path / "checkpoints") is None
    write(tmp_path / "checkpoints", 10, 20)
    for path in (tmp_path / "checkpoints").glob("step_*"):
        flip(path)
    with pytest.raises(OpenwitError, match="no checkpoint is whole"):
        newest(tmp_path / "checkpoints")


def test_a_run_stands_for_its_latest_checkpoint(tmp_path: pathlib.Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(OpenwitError, match="has no checkpoint yet"):
        open_checkpoint(tmp_path)
    write(tmp_path / "checkpoints", 10)
    assert open_checkpoint(tmp_path).state.step == 10


def test_a_checkpoint_of_another_version_is_refused(tmp_path: pathlib.Path) -> None:
    path = save(tmp_path, state(), TENSORS, keep=1) / "state.json"
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    with pytest.raises(OpenwitError, match="openwit-checkpoint version 1: this openwit reads"):
        open_checkpoint(path.parent)


def test_a_write_that_fails_leaves_no_trace(tmp_path: pathlib.Path) -> None:
    write(tmp_path, 10)
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path, state(20), {MODEL: _Full()}, keep=1)
    assert {each.name for each in tmp_path.iterdir()} == {"latest", "step_000000010"}


class _Full(dict[str, torch.Tensor]):
    def items(self) -> None:  # type: ignore[override]
        raise OSError("disk full")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"every_s": -1.0}, "every_s must be at least 0"),
        ({"every_steps": -1}, "every_steps must be at least 0"),
        ({"keep": 0}, "keep must be at least 1"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CheckpointConfig(**values)
